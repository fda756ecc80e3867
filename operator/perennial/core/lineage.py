"""The record of where a version came from: what its steps answered and the kubelet told, beside the inputs in its spec.

`perennial.core.training` notes it as the steps end. What nobody told is said to be not told, never guessed: the labels of an
image (`org.opencontainers.image.revision`) cannot be read from the cluster without the registry's credentials, so the revision of
the code is the trainer's own word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perennial.api.lineage import Lineage
from perennial.api.model import ExistingModel
from perennial.api.task import task_of
from perennial.api.v1alpha1 import ModelVersionSpec, ModelVersionStatus
from perennial.api.version import SplitFound
from perennial.core.answers import prepared_of
from perennial.core.inputs import source_words
from perennial.core.jobpods import newest
from perennial.core.observed import Job
from perennial_runtime.contract import Answer, Container, PrepareResult, TrainResult, decode_answer

NOT_TOLD = "not told"
BY_DIGEST = "@sha256:"
"""In an image that is the same for ever."""


def noted(status: ModelVersionStatus, job: Job, answer: Answer | None) -> dict[str, Any]:
    """The change of the version's status by what a step that has ended tells of its lineage."""
    found = _told(answer)
    if isinstance(answer, TrainResult):
        found["image"] = _image(job)
    return {"lineage": (status.lineage or Lineage()).model_copy(update=found)} if found else {}


def of(status: ModelVersionStatus) -> Lineage:
    """The record; of a version that was made before there was one, what its steps' answers hold."""
    if status.lineage is not None:
        return status.lineage
    found: dict[str, Any] = {}
    for record in status.steps:
        if record.state == "Succeeded" and record.result:
            found |= _told(decode_answer(record.result))
    return Lineage(**found)


def words(spec: ModelVersionSpec, status: ModelVersionStatus) -> Iterator[tuple[str, str]]:
    """The whole record for people, as (what, value): the model card's table."""
    said, found, training = spec.data.provenance, of(status), spec.training
    yield "Owner of the data", (said and said.owner) or NOT_TOLD
    yield "Licence", (said and said.licence) or NOT_TOLD
    yield "Collected by", (said and said.collected_by) or NOT_TOLD
    yield "About the data", (said and said.description) or NOT_TOLD
    yield "Source", source_words(spec.data.source).partition("?")[0]  # what follows may be a signature
    yield "Digest of the rows", found.data or NOT_TOLD
    yield "Digest of the split", found.split or NOT_TOLD
    yield "Why it was made", ": ".join(part for part in (spec.trigger.reason, spec.trigger.message) if part)
    yield "Continues the split of", spec.parent.name if spec.parent else "none: it is the first"
    yield from ((what, value) for what, value in _learnt(spec) if value)
    for line in split_words(spec, status):
        yield "Split", line
    if spec.model is not None:
        yield from _brought(spec.model)
    elif training.recipe is not None:
        given = ", ".join(f"{name}={value:g}" for name, value in training.recipe.hyperparameters.items())
        yield "Recipe", f"{training.recipe.algorithm} ({given or 'defaults'})"
    else:
        yield "Training image", training.image or NOT_TOLD
        yield "Command", " ".join(training.command) or "the image's own"
    if spec.model is None:
        yield from _made(found)
    if (own := spec.evaluation.metrics) is not None:
        yield "Program of its metrics", f"{own.image or training.image}: {' '.join(own.command)}"
    yield "Seed", str(training.seed)
    yield "Digest of model.onnx", found.model or NOT_TOLD
    yield "Inputs", spec.inputs_digest


def _learnt(spec: ModelVersionSpec) -> Iterator[tuple[str, str]]:
    """What is told only where it is not the usual: empty where it is."""
    task, recipe = task_of(spec.data, spec.training), spec.training.recipe
    yield "Task", task if task != "classification" else ""
    yield "Rows count by", next((column.name for column in spec.data.columns if column.role == "weight"), "")
    if recipe is not None and recipe.class_weights is not None:
        given = sorted((recipe.class_weights.weights or {}).items())
        yield "Class weights", ", ".join(f"{name}: {value:g}" for name, value in given) or "balanced"


def split(spec: ModelVersionSpec, answer: PrepareResult) -> SplitFound | None:
    """What came of the split; None where the cut-off says it all."""
    by = spec.data.holdout.by
    if by == "time" and not answer.synthetic:
        return None
    real = answer.train_rows - (answer.synthetic - answer.left_out) + answer.holdout_rows
    return SplitFound(
        by=by,
        column=answer.key,
        share=round(answer.holdout_rows / max(1, real), 6),
        groups=answer.groups,
        held_out_groups=answer.held_out_groups,
        synthetic_rows=answer.synthetic,
        left_out_rows=answer.left_out,
    )


def split_words(spec: ModelVersionSpec, status: ModelVersionStatus) -> Iterator[str]:
    """The same for people, and which columns may not be used."""
    found = status.split
    if found is not None and found.by != "time":
        share = f"{found.share:.1%} of the rows, {spec.data.holdout.fraction:.1%} were asked for"
        column = f"column {found.column}" if found.column else "whole rows"
        groups = f"{found.held_out_groups:,} of {found.groups:,} groups, " if found.groups else ""
        yield f"held out by {'group' if found.groups else 'a hash'} of {column}: {groups}{share}"
    if found is not None and found.synthetic_rows:
        trained = found.synthetic_rows - found.left_out_rows
        yield (
            f"{found.synthetic_rows:,} rows are synthetic: {trained:,} are trained on, {found.left_out_rows:,} on the holdout's "
            "side are left out, none is judged by"
        )
    sensitive = [column.name for column in spec.data.columns if column.role == "sensitive"]
    if sensitive:
        yield f"sensitive, never read: {', '.join(sensitive)}"


def classes_words(status: ModelVersionStatus) -> str:
    """The classes that a version tells apart; empty where it is not of several, or of an earlier release."""
    answer = prepared_of(status)
    if answer is None or not answer.class_count:
        return ""
    if not answer.classes:
        return f"{answer.class_count} classes"
    left = answer.class_count - len(answer.classes)
    named = ", ".join([*answer.classes, *([f"{left} more"] if left else [])])
    return f"{answer.class_count} classes: {named}"


def _brought(model: ExistingModel) -> Iterator[tuple[str, str]]:
    yield "Model that was there already", model.uri
    yield "What trained it", NOT_TOLD


def _made(found: Lineage) -> Iterator[tuple[str, str]]:
    yield "Image that trained", found.image or NOT_TOLD
    yield "Revision of the code", f"{found.revision} (told by the trainer)" if found.revision else NOT_TOLD
    yield "Digest of the environment", found.environment or NOT_TOLD


def _told(answer: Answer | None) -> dict[str, Any]:
    match answer:
        case PrepareResult():
            brought = {"model": answer.model} if answer.model else {}
            return {"data": answer.data, "split": answer.split, **brought}
        case TrainResult():
            return {"model": answer.model or "", "environment": answer.environment or "", "revision": answer.revision[:128]}
        case _:
            return {}


def _image(job: Job) -> str:
    """As the kubelet tells it of the container that trained."""
    pod = newest(job)
    return next((one.image_id for one in pod.containers if one.name == Container.TRAIN), "")[:512] if pod else ""
