"""When a new version is made: none exists, data, training or evaluation changed in the spec, a person asked for it, or a trigger
of the spec has something new and nothing holds it back.

What begins a retrain by itself is an ordered chain of small checks, CAUSES, and so is what holds one back, HOLDS: the first that
has something to say decides, and its reason and words go as they are into the version, the condition RetrainDue and the ledger.
Another trigger is another entry of CAUSES. All causes that are there are taken up by one version, whoever began it; until then
they wait: what a cause rests on is in the status, and is marked as taken up when the version is adopted, not when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perennial.api.triggers import AutomaticReason, TriggersStatus
from perennial.api.v1alpha1 import ModelVersionSpec
from perennial.api.version import RuntimePin, StorePin, Trigger, VersionParent
from perennial.core import limits, polling, schedule, window
from perennial.core.actions import CreateVersion
from perennial.core.answers import answer_of
from perennial.core.candidate import HELD, why_paused
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import store_uri
from perennial.core.observed import Version

DUE = "RetrainDue"
"""The condition while a retrain is due and waits."""
_WHY = {"Created": "the ModelDeployment is new", "SpecChanged": "the spec changed", "Requested": "a person asked for it"}


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that a version should be made for."""

    reason: AutomaticReason
    message: str
    due: str | None = None
    listing: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that a retrain waits for."""

    reason: str
    message: str
    seconds: float | None = None
    """Until it is over, where that is known."""


# ---- what begins a retrain by itself -----------------------------------------------------------------------------------------


def _new_data(draft: Draft) -> Cause | None:
    listing = polling.new_listing(draft)
    return Cause("NewData", polling.words(draft), listing=listing) if listing else None


def _scheduled(draft: Draft) -> Cause | None:
    at = schedule.due(draft)
    return Cause("Schedule", schedule.words(draft, at), due=at) if at else None


CAUSES: tuple[Callable[[Draft], Cause | None], ...] = (_new_data, _scheduled)
"""In the order of what they tell about the data; each reads the draft alone."""


# ---- what holds one back -----------------------------------------------------------------------------------------------------


def _paused(draft: Draft) -> Hold | None:
    words = why_paused(draft)
    return Hold("Paused", words) if words else None


def _spec_first(draft: Draft) -> Hold | None:
    if draft.status.latest and draft.status.inputs_digest == draft.wanted_inputs():
        return None
    return Hold("SpecFirst", "no version was made of what the spec asks for: see the conditions Quarantined and Accepted")


def _held(draft: Draft) -> Hold | None:
    return Hold("Held", f"a person returned to an older version: {HELD}") if draft.status.held else None


def _under_way(draft: Draft) -> Hold | None:
    number = draft.status.candidate
    return Hold("CandidateUnderWay", f"v{number} is under way, and one goes after the other") if number is not None else None


def _stopped(draft: Draft) -> Hold | None:
    words = limits.why_stopped(draft, draft.status.triggers)
    return Hold("StopAfterFailures", words) if words else None


def _cooling(draft: Draft) -> Hold | None:
    words, left = limits.cooling(draft)
    return Hold("Cooldown", words, left) if words else None


def _spent(draft: Draft) -> Hold | None:
    words, left = limits.spent(draft)
    return Hold("RunsPerDay", words, left) if words else None


HOLDS: tuple[Callable[[Draft], Hold | None], ...] = (_paused, _spec_first, _held, _under_way, _stopped, _cooling, _spent)


# ---- the passes --------------------------------------------------------------------------------------------------------------


def adopt(draft: Draft) -> None:
    """The version that the last pass asked for is taken up, whoever the operator was then; nothing rests on it before."""
    newest = max(draft.versions, default=0)
    if newest <= draft.status.latest:
        return
    version = draft.versions[newest]
    _take_up(draft, newest, version.spec.inputs_digest)
    _fulfil(draft, version)
    trigger = version.spec.trigger
    why = _WHY.get(trigger.reason, trigger.message)
    facts = {name: value for name, value in (("due", trigger.due), ("listing", trigger.listing)) if value}
    draft.event("Normal", "VersionCreated", f"{version.meta.name}: {why}", newest, facts)
    if version.status.state in FINAL or newest == draft.status.stable:
        draft.set(candidate=None)


def adopted_request(draft: Draft) -> int | None:
    """The number of the version that this pass took up and a retrain request had asked for."""
    newest = max(draft.versions, default=0)
    taken_up = newest > draft.observed.status.latest and draft.versions[newest].spec.trigger.reason == "Requested"
    return newest if taken_up else None


def note(draft: Draft) -> None:
    """What the triggers of the spec rest on, in the status; nothing where there are none."""
    wish, known = draft.observed.spec.triggers, draft.status.triggers
    if (wish.schedule is None and wish.new_data is None) or draft.observed.spec.smoke is not None:
        draft.set(triggers=None)
        return
    fresh = TriggersStatus(counted_after=draft.status.latest)  # what was tried before there were any is not counted
    draft.set(triggers=schedule.settle(draft, known or fresh))


def by_themselves(draft: Draft) -> None:
    """A new version for all that is due, or why it waits."""
    causes = [cause for check in CAUSES if (cause := check(draft)) is not None]
    if not causes or draft.creating:
        return
    words = "; ".join(cause.message for cause in causes)
    hold = next((found for check in HOLDS if (found := check(draft)) is not None), None)
    if hold is None:
        due = next((cause.due for cause in causes if cause.due), None)
        listing = next((cause.listing for cause in causes if cause.listing), None)
        create(draft, Trigger(reason=causes[0].reason, message=words[:1024], due=due, listing=listing))
        return
    draft.find(DUE, True, hold.reason, f"{words}; it waits: {hold.message}")
    draft.wake(hold.seconds)


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
        model=observed.spec.model,
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
        signing=observed.spec.signing,
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


def _fulfil(draft: Draft, version: Version) -> None:
    """A version that begins reads what there is by now: it stands for every trigger that waited, whatever began it."""
    if draft.status.triggers is None:
        return
    status = limits.begun(draft, draft.status.triggers, version)
    status = schedule.taken_up(status, draft.observed.now)
    draft.set(triggers=polling.taken_up(status, version.spec.trigger.listing))


def _parent(draft: Draft) -> VersionParent | None:
    """The newest version that has a split: rows keep the side they have there."""
    for number in sorted(draft.versions, reverse=True):
        version = draft.versions[number]
        if answer_of(version.status, "prepare") is not None:
            return VersionParent(name=version.meta.name, uid=version.meta.uid)
    return None
