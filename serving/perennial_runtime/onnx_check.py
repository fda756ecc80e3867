"""Checks a stranger's model.onnx and scores rows with it, in a process of its own under resource limits.

`perennial_runtime.evaluate_sandbox` starts `python -m perennial_runtime.onnx_check <request.json>`: parsing, checking and running
an ONNX file is native code fed by a file that anybody may have written (`evaluate_child`). Scores lie beside the answer.

What is refused: a file that is no valid ONNX, tensors stored outside the file, operators of domains that are not allowed (in
the graph, its subgraphs and local functions), inputs that are not the schema's features, a missing or odd output `score` (of a
regression `prediction`, of several classes `probabilities`), and scores that are no probabilities, or predictions that are no
finite numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from perennial_runtime.contract import MODEL_BYTES_LIMIT, PREDICTION_OUTPUT, PROBABILITIES_OUTPUT, SCORE_OUTPUT, output_of
from perennial_runtime.evaluate_child import ModelRefused, carry_out
from perennial_runtime.evaluate_columns import Table, taken
from perennial_runtime.scoring import NUMERIC, Schema, ScoreError, Scorer, classes_of, read_schema, task_of

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
_OUTPUTS = {
    SCORE_OUTPUT: ("OnnxScoreMissing", ("probability of 1", "probability")),
    PREDICTION_OUTPUT: ("OnnxPredictionMissing", ("predicted number of a regression", "number")),
    PROBABILITIES_OUTPUT: ("OnnxProbabilitiesMissing", ("probability of each class", "probability of each class")),
}
"""Why a model without one is refused, and what it means."""
_LISTED = 5
TOLERANT_BATCH = 4096


def check(path: Path, schema: Schema, domains: Sequence[str], limit: int = MODEL_BYTES_LIMIT) -> None:
    """All checks that need no run of the model. Raises ModelRefused."""
    model = _load(path, limit)
    _refuse_external_data(model)
    _refuse_domains(model, domains)
    _refuse_invalid(model)
    _refuse_inputs(model, schema)
    _refuse_outputs(model, task_of(schema), len(classes_of(schema)))


def _load(path: Path, limit: int) -> onnx.ModelProto:
    size = path.stat().st_size
    if size > limit:
        raise ModelRefused("OnnxTooLarge", f"model.onnx has {size} bytes; at most {limit} are served: train a smaller model")
    try:
        return onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise ModelRefused(
            "OnnxBroken",
            f"model.onnx ({size} bytes) is no ONNX file ({type(error).__name__}): write it completely, with onnx.save, before "
            "the trainer ends",
        ) from error


def _messages(message: Message) -> Iterator[Message]:
    """The message and every message inside it, however deep: nothing can hide in a field that this code does not know."""
    waiting = [message]
    while waiting:
        current = waiting.pop()
        yield current
        for descriptor, value in current.ListFields():
            if descriptor.message_type is None:
                continue
            waiting.extend([value] if isinstance(value, Message) else value)


def _refuse_external_data(model: onnx.ModelProto) -> None:
    names = [
        item.name or "without a name"
        for item in _messages(model)
        if isinstance(item, onnx.TensorProto) and (item.data_location == onnx.TensorProto.EXTERNAL or len(item.external_data) > 0)
    ]
    if names:
        raise ModelRefused(
            "OnnxExternalData",
            f"model.onnx keeps {len(names)} tensors in other files ({_some(names)}): save it as one file",
        )


def _refuse_domains(model: onnx.ModelProto, allowed: Sequence[str]) -> None:
    found = {
        f"{item.domain}::{item.op_type if isinstance(item, onnx.NodeProto) else item.name}"
        for item in _messages(model)
        if isinstance(item, (onnx.NodeProto, onnx.FunctionProto)) and item.domain not in allowed
    }
    if found:
        known = ", ".join(domain or "ai.onnx" for domain in allowed if domain != "ai.onnx")
        raise ModelRefused(
            "OnnxDomainNotAllowed",
            f"model.onnx uses operators of other domains: {_some(sorted(found))}; allowed are those of {known}: "
            "export the model with these only",
        )


def _refuse_invalid(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ModelRefused("OnnxBroken", f"model.onnx does not pass onnx.checker: {said[:300]}") from error


def _refuse_inputs(model: onnx.ModelProto, schema: Schema) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {item.name: item.type for item in model.graph.input if item.name not in constants}
    wanted = {feature["name"]: feature["kind"] for feature in schema["features"]}
    problems = [f"no input for feature {name!r}" for name in wanted if name not in inputs]
    problems += [f"input {name!r} is no feature" for name in inputs if name not in wanted]
    problems += [
        problem for name, kind in wanted.items() if name in inputs and (problem := _input_problem(name, kind, inputs[name]))
    ]
    if problems:
        raise ModelRefused(
            "OnnxInputsDiffer",
            f"model.onnx: {_some(problems)}; make one input [N, 1] for each feature, float for numbers, string for categories",
        )


def _input_problem(name: str, kind: str, found: onnx.TypeProto) -> str:
    if not found.HasField("tensor_type"):
        return f"input {name!r} is no tensor"
    element = found.tensor_type.elem_type
    if element not in (_FLOATS if kind == NUMERIC else (onnx.TensorProto.STRING,)):
        return f"input {name!r} holds {onnx.TensorProto.DataType.Name(element).lower()}, but the feature is {kind}"
    shape = _shape(found)
    if shape is None:
        return ""
    if len(shape) != 2 or shape[1] not in (1, None):
        return f"input {name!r} has shape {_shown(shape)}, not [N, 1]"
    return f"input {name!r} takes {shape[0]} rows at a time, not any number" if shape[0] is not None else ""


def _refuse_outputs(model: onnx.ModelProto, task: str, classes: int) -> None:
    name = output_of(task)
    reason, meaning = _OUTPUTS[name]
    outputs = {item.name: item.type for item in model.graph.output}
    if name not in outputs:
        raise ModelRefused(
            reason, f"model.onnx has no output named {name!r} (it has {_some(sorted(outputs))}): it is the {meaning[0]}"
        )
    found = outputs[name]
    shape = _shape(found)
    fits = shape is None or (len(shape) == 2 and shape[1] in (classes or 1, None)) or (len(shape) == 1 and not classes)
    if found.tensor_type.elem_type not in _FLOATS or not fits:
        wanted = f"[N, {classes}]" if classes else "[N] or [N, 1]"
        raise ModelRefused(
            reason, f"output {name!r} has shape {_shown(shape)} or holds no floats: make it {wanted}, a {meaning[1]}"
        )


def _shape(found: onnx.TypeProto) -> list[int | None] | None:
    if not found.tensor_type.HasField("shape"):
        return None
    return [item.dim_value if item.HasField("dim_value") and item.dim_value > 0 else None for item in found.tensor_type.shape.dim]


def _shown(shape: list[int | None] | None) -> str:
    return "unknown" if shape is None else "[" + ", ".join("N" if size is None else str(size) for size in shape) + "]"


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(item[:80] for item in items[:_LISTED])
    return f"{shown} and {len(items) - _LISTED} more" if len(items) > _LISTED else shown


def score_tables(
    path: Path, schema: Schema, tables: Mapping[str, Iterable[Table]], tolerant: bool
) -> dict[str, np.ndarray[Any, Any]]:
    """Scores of what the tables hold, by name: [N], or of several classes [N, K]. `tolerant`: a row that the model can't answer
    is NaN instead of a refusal."""
    try:
        scorer = Scorer(path, schema)
    except Exception as error:  # onnxruntime's own classes
        said = " ".join(str(error).split())
        raise ModelRefused("OnnxDoesNotLoad", f"onnxruntime can't load model.onnx: {said[:300]}") from error
    try:
        none = np.empty(_shape_of(schema, 0))
        return {
            name: np.concatenate(
                [_tolerant(scorer, schema, part) if tolerant else scorer.score(part.inputs()) for part in parts] or [none]
            )
            for name, parts in tables.items()
        }
    except ScoreError as error:
        raise ModelRefused("ScoresInvalid", f"model.onnx: {error}") from error


def _shape_of(schema: Schema, rows: int) -> tuple[int, ...]:
    """Of so many rows' scores."""
    classes = len(classes_of(schema))
    return (rows, classes) if classes else (rows,)


def _tolerant(scorer: Scorer, schema: Schema, table: Table) -> np.ndarray[Any, Any]:
    scores = np.full(_shape_of(schema, table.rows), np.nan)
    waiting = [(start, min(start + TOLERANT_BATCH, table.rows)) for start in range(0, table.rows, TOLERANT_BATCH)]
    while waiting:
        start, end = waiting.pop()
        try:
            scores[start:end] = scorer.score(table.inputs(start, end))
        except ScoreError:
            middle = (start + end) // 2
            if end - start > 1:
                waiting += [(start, middle), (middle, end)]
    return scores


def _work(request: Mapping[str, Any], out: Path) -> None:
    model, schema = Path(request["model"]), read_schema(Path(request["schema"]))
    if request["domains"] is not None:
        check(model, schema, request["domains"], int(request["limit"]))
    tables = {name: taken(Path(folder), int(request["giver"])) for name, folder in request["tables"].items()}
    for name, scores in score_tables(model, schema, tables, bool(request["tolerant"])).items():
        np.save(out / f"{name}.npy", scores)


if __name__ == "__main__":
    carry_out(sys.argv[1], _work)
