"""When a new version is made: none exists, data, training or evaluation changed in the spec, or a person asked for it."""

from __future__ import annotations

from perennial.api.v1alpha1 import ModelVersionSpec
from perennial.api.version import RuntimePin, StorePin, Trigger, VersionParent
from perennial.core import window
from perennial.core.actions import CreateVersion
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import store_uri
from perennial.core.training import answer_of

_WHY = {"Created": "the ModelDeployment is new", "SpecChanged": "the spec changed", "Requested": "a person asked for it"}


def adopt(draft: Draft) -> None:
    """The version that the last pass asked for is taken up, whoever the operator was then; nothing rests on it before."""
    newest = max(draft.versions, default=0)
    if newest <= draft.status.latest:
        return
    version = draft.versions[newest]
    _take_up(draft, newest, version.spec.inputs_digest)
    draft.event("Normal", "VersionCreated", f"{version.meta.name}: {_WHY[version.spec.trigger.reason]}", newest)
    if version.status.state in FINAL or newest == draft.status.stable:
        draft.set(candidate=None)


def adopted_request(draft: Draft) -> int | None:
    """The number of the version that this pass took up and a retrain request had asked for."""
    newest = max(draft.versions, default=0)
    taken_up = newest > draft.observed.status.latest and draft.versions[newest].spec.trigger.reason == "Requested"
    return newest if taken_up else None


def on_spec(draft: Draft) -> None:
    """A new version when there is none, or when its inputs in the spec are others than the newest version's."""
    digest = draft.wanted_inputs()
    if (draft.status.latest and digest == draft.status.inputs_digest) or draft.creating:
        return
    known = next((entry for entry in draft.status.quarantined if entry.inputs_digest == digest), None)
    if known:
        words = (
            f"these inputs made v{known.version}, which was rolled back ({known.reason}): they are not trained again; "
            f"change data, training or evaluation; if v{known.version} was not to blame, kubectl annotate mdep "
            f"{draft.observed.meta.name} perennial.dev/lift={known.version}, and they are; with new data behind the same URI, "
            "perennial.dev/retrain=<why>"
        )
        draft.find("Quarantined", True, "InputsQuarantined", words)
    elif not draft.observed.spec.paused and not window.go_back(draft, digest) and not draft.observed.mirror_problem:
        reason = "SpecChanged" if draft.status.latest else "Created"
        create(draft, Trigger.model_validate({"reason": reason, "message": ""}))


def create(draft: Draft, trigger: Trigger) -> None:
    """Asks for the next version. It is taken up, and what is under way superseded, by the next pass, which finds it there: when
    the cluster refuses it, everything else goes on."""
    observed = draft.observed
    number = max(draft.status.latest, max(draft.versions, default=0)) + 1
    store = observed.defaults.store
    spec = ModelVersionSpec(
        model_deployment=observed.meta.name,
        number=number,
        trigger=trigger,
        inputs_digest=draft.wanted_inputs(),
        parent=_parent(draft),
        data=observed.spec.data,
        training=observed.spec.training,
        evaluation=observed.spec.evaluation,
        runtime=RuntimePin(
            serving_image=observed.defaults.serving_image,
            training_image=observed.defaults.training_image,
            manifest_revision=observed.defaults.manifest_revision,
        ),
        store=StorePin(
            uri=store_uri(store.uri, observed.meta.namespace, observed.meta.uid),
            secret_name=store.secret_name,
            serving_secret_name=store.serving_secret_name,
        ),
        smoke=observed.spec.smoke is not None,
    )
    draft.before.append(CreateVersion(spec))


def _take_up(draft: Draft, number: int, digest: str) -> None:
    previous = draft.status.candidate
    if previous is not None and previous != number and previous in draft.versions and draft.state(previous) not in FINAL:
        draft.finish(previous, "Superseded", f"v{number} took its place before it was rolled out")
    watched = draft.status.rollout if draft.status.rollout and draft.status.rollout.phase == "Watch" else None
    draft.set(latest=number, candidate=number, inputs_digest=digest, rollout=watched)
    if draft.status.held and digest != draft.status.held_digest:
        draft.set(held=False, held_digest="")


def _parent(draft: Draft) -> VersionParent | None:
    """The newest version that has a split: rows keep the side they have there."""
    for number in sorted(draft.versions, reverse=True):
        version = draft.versions[number]
        if answer_of(version.status, "prepare") is not None:
            return VersionParent(name=version.meta.name, uid=version.meta.uid)
    return None
