"""What a pass tells people: conditions, the summary word, and the address. Nothing in here decides anything."""

from __future__ import annotations

from perennial.api.rollout_status import RolloutStatus
from perennial.core import (
    approval,
    borrowing,
    kstatus,
    limits,
    polling,
    providers,
    requests,
    returns,
    routers,
    sameness,
    schedule,
    shadow,
    smoke,
    storing,
)
from perennial.core.actions import KeepRecording
from perennial.core.arms import ready_pods, why_not_ready, workload_of
from perennial.core.candidate import why_not_begun, why_paused
from perennial.core.conditions import with_findings
from perennial.core.draft import FINAL, Draft
from perennial.core.jobs import QUOTA_FIX
from perennial.core.observed import Version
from perennial_runtime.contract import GROUP

CLASS_SECONDS = 10.0
"""How soon to look again at a GatewayClass that cannot do what is asked for: nobody tells when it has changed."""

MOST_NAMED = 5
"""Fields that a message names."""
NOT_FIT = ("Failed", "Rejected", "RolledBack")
"""States of a newest version that somebody has to look at."""
UNTOLD = (storing.ACTION, polling.ACTION, KeepRecording.__name__)
"""Refused writes that are no fault of the model: the last is in the operator's log, the others have conditions of their own."""


def conditions(draft: Draft) -> None:
    """All conditions of this pass; those without a finding are gone."""
    _ready(draft)
    _up_to_date(draft)
    _progressing(draft)
    _paused(draft)
    _refused_writes(draft)
    _misspelled(draft)
    _outdated(draft)
    _accepted(draft)
    approval.tell(draft)
    limits.tell(draft)
    borrowing.tell(draft)
    kstatus.find(draft)
    draft.set(
        conditions=with_findings(draft.status.conditions, draft.findings, draft.observed.meta.generation, draft.observed.now),
        observed_generation=draft.observed.meta.generation,
        summary=summary(draft),
        address=routers.address(draft.observed),
    )


def _paused(draft: Draft) -> None:
    """Told while it lasts, whatever else is under way."""
    if draft.status.paused:
        draft.find("Paused", True, "Requested", why_paused(draft))


def summary(draft: Draft) -> str:
    """One word or two for the printed column."""
    status = draft.status
    if status.returning is not None and status.returning.version != status.stable:
        return f"Returning to v{status.returning.version}"
    if status.rollout is not None and (status.rollout.phase != "Watch" or status.candidate is None):
        return _rolling_out(draft, status.rollout)
    state = draft.state(status.candidate)
    if status.candidate is not None:
        return f"Awaiting approval of v{status.candidate}" if approval.why_waiting(draft) else state or "Pending"
    if draft.observed.spec.paused:
        return "Paused"
    last = _last(draft)
    if status.stable is None:
        return last.status.state if last else "Pending"
    if draft.observed.spec.pin is not None:
        return "Serving (pinned)" if draft.observed.spec.pin == status.stable else "Serving (pin refused)"
    return "Serving (held)" if status.held else _serving(draft, last)


def _serving(draft: Draft, last: Version | None) -> str:
    """With what a person ought to know beside it."""
    if draft.observed.path_taken:
        return "Serving (path taken)"
    told = last is not None and last.status.state in NOT_FIT and not _is_wanted_no_more(draft)
    return f"Serving (v{last.number} {last.status.state})" if last and told else "Serving"


def _last(draft: Draft) -> Version | None:
    """The version whose verdict is the newest."""
    latest = draft.versions.get(draft.status.latest)
    return sameness.stands_for(draft.versions.values(), latest) if latest else None


def _is_wanted_no_more(draft: Draft) -> bool:
    """The spec asks for what serves, and no more for what the newest version was made of."""
    stable, latest = draft.versions.get(draft.status.stable or 0), draft.versions.get(draft.status.latest)
    wanted = draft.wanted_inputs()
    return stable is not None and latest is not None and stable.spec.inputs_digest == wanted != latest.spec.inputs_digest


def _rolling_out(draft: Draft, current: RolloutStatus) -> str:
    if current.breach:
        return f"Breached v{current.candidate}"
    if current.phase == "Watch":
        return f"Watching v{current.candidate}"
    if current.phase == "Shadow":
        mirrored = routers.mirror(draft.observed, current)
        return f"Shadow {mirrored.percent if mirrored else 0} %"
    return f"Canary {0 if current.withheld else current.weight} %"


def _ready(draft: Draft) -> None:
    stable = draft.status.stable
    if draft.observed.invalid:
        words = f"{draft.observed.invalid}; what serves goes on serving, and the rollout is judged by the spec before"
        draft.find("Ready", False, kstatus.UNREADABLE, words)
    elif smoke.is_over(draft):
        smoke.tell(draft)
    elif stable is None:
        draft.find("Ready", False, *_none_serves(draft))
    elif problem := routers.why_not_carried(draft.observed):
        draft.find("Ready", False, *problem)
    elif not ready_pods(workload := workload_of(draft.observed, stable), draft.observed.now):
        why = why_not_ready(workload, draft.versions.get(stable))
        draft.find("Ready", False, "PodsNotReady", f"no pod of v{stable} is ready: {why}")
    else:
        where = routers.where(draft.observed)
        words = (
            f"v{stable} answers at {where}; send a POST with content type application/json and "
            '{"instances": [{"<feature>": <value>, ...}]}'
        )
        draft.find("Ready", True, "Serving", words)


def _none_serves(draft: Draft) -> tuple[str, str]:
    """(reason, message); weights stay in the status until another version serves."""
    if draft.status.weights:
        return "VersionLost", f"the version that served was deleted; {_why_none(draft)}"
    return "NoVersionServes", _why_none(draft)


def _why_none(draft: Draft) -> str:
    latest = draft.versions.get(draft.status.latest)
    if latest is None:
        if refused := shadow.refused(draft.observed, draft.status.rollout):
            return refused
        return _was_deleted(draft) or "the first version is being made"
    on = returns.how_on(draft, latest.number)
    return f"v{latest.number} is {latest.status.state}: {latest.status.message}{on and f'; {on}'}"


def _was_deleted(draft: Draft) -> str:
    """That nothing makes the newest version any more, and the fix; empty while it is being made."""
    number, name = draft.status.latest, draft.observed.meta.name
    if not number or number in draft.versions or draft.status.candidate is not None:
        return ""
    return f"v{number} was deleted; make another: kubectl annotate mdep {name} perennial.dev/retrain=again"


def _up_to_date(draft: Draft) -> None:
    latest, status = draft.versions.get(draft.status.latest), draft.status
    if latest is None and (deleted := _was_deleted(draft)):
        draft.find("UpToDate", False, "VersionMissing", deleted)
    elif latest is None:
        draft.find("UpToDate", False, "Pending", f"v{status.latest} is being made")
    elif _inputs_differ(draft, latest):
        paused = why_paused(draft)
        words = "the spec asks for other data, training or evaluation than any version has"
        draft.find("UpToDate", False, "InputsDiffer", f"{words}{paused and f'; {paused}'}")
    elif satisfied := _satisfied(draft, latest):
        draft.find("UpToDate", True, *satisfied)
    elif sameness.ended_as_same(latest):
        twin = sameness.stands_for(draft.versions.values(), latest)
        serves = twin.number == status.stable or kstatus.is_same_model(draft, twin)
        unfit = not serves and twin.status.state in NOT_FIT  # it still is: somebody was told, and is to know for how long
        draft.find(
            "UpToDate", serves, twin.status.state if unfit else sameness.SAME, f"v{latest.number}: {latest.status.message}"
        )
    else:
        waits = approval.why_waiting(draft) or _why_not_begun(draft, latest)
        back = returns.how_back(draft, latest.number) or returns.how_on(draft, latest.number)
        words = waits or f"{latest.status.message}{back and f'; {back}'}"
        draft.find("UpToDate", False, latest.status.state, f"v{latest.number}: {words}")


def _satisfied(draft: Draft, latest: Version) -> tuple[str, str] | None:
    """(reason, message): how what the spec asks for is there; None when it is not."""
    stable = draft.status.stable
    if smoke.is_over(draft):
        return "Passed", f"v{latest.number} is what the spec asks for"
    if _is_reverted(draft, latest):
        return "Reverted", f"v{stable} is what the spec asks for since it was reverted"
    if latest.number == stable:
        return "NewestServes", f"v{latest.number} is the newest version and serves"
    if kstatus.is_same_model(draft, latest):
        return "SameModel", f"v{latest.number}: {latest.status.message}"
    return None


def _why_not_begun(draft: Draft, latest: Version) -> str:
    return why_not_begun(draft) if latest.status.state in ("Accepted", "Retired") else ""


def _inputs_differ(draft: Draft, latest: Version) -> bool:
    """What serves was up to date, and the spec asks for something else by now."""
    stable, wanted = draft.versions.get(draft.status.stable or 0), draft.wanted_inputs()
    if draft.status.inputs_digest == wanted or stable is None or stable.spec.inputs_digest == wanted:
        return False
    return latest.number == stable.number or _is_reverted(draft, latest) or kstatus.is_same_model(draft, latest)


def _is_reverted(draft: Draft, latest: Version) -> bool:
    """The spec went back to the inputs of the version that serves, which is not the newest."""
    stable, digest = draft.versions.get(draft.status.stable or 0), draft.status.inputs_digest
    return stable is not None and stable.spec.inputs_digest == digest != latest.spec.inputs_digest


def _progressing(draft: Draft) -> None:
    number, returning = draft.status.candidate, draft.status.returning
    version = draft.versions.get(number) if number is not None else None
    if returning is not None:
        held = returns.why_held(draft)
        words = f"v{returning.version} gets all requests as soon as its pods are ready{held and f'; {held}'}"
        draft.find("Progressing", True, "Returning", words)
    elif number is None:
        draft.find("Progressing", False, "Idle", "nothing is under way")
    elif version is None:
        draft.find("Progressing", True, "Pending", f"v{number} is being made")
    else:
        draft.find("Progressing", version.status.state not in FINAL, version.status.state, f"v{number}: {version.status.message}")


def _misspelled(draft: Draft) -> None:
    """An annotation of ours that nobody carries out: in an emergency a typo must not vanish."""
    found = requests.misspelled(draft.observed.meta.annotations)
    if found:
        known = ", ".join(f"{GROUP}/{verb}" for verb in requests.VERBS)
        draft.find("RequestUnknown", True, "UnknownAnnotation", f"{', '.join(found)[:500]}: known are {known}; remove it with -")


def _outdated(draft: Draft) -> None:
    """CRDs older than this operator: the API server drops what they do not have, and says nothing."""
    if fields := draft.observed.defaults.dropped:
        draft.find("CRDsOutdated", True, "FieldsMissing", outdated(fields))


def outdated(fields: tuple[str, ...]) -> str:
    """What is missing, what comes of it, and what to do."""
    more = f" and {len(fields) - MOST_NAMED} more" if len(fields) > MOST_NAMED else ""
    named = f"{', '.join(fields[:MOST_NAMED])}{more}"
    return (
        f"the CRDs in this cluster are older than the operator and do not have {named}: what is written there is dropped, and "
        "written again in every pass; helm upgrade perennial-crds, or apply crds/"
    )


def _accepted(draft: Draft) -> None:
    """What the API server could not know to be wrong, and a wish that the Gateways cannot carry out; told as soon as it is
    applied, before anything is rolled out."""
    if draft.observed.invalid:
        return
    if problem := routers.refused(draft.observed):
        draft.find("Accepted", False, *problem)
        known = any((one.type, one.reason) == ("Accepted", problem[0]) for one in draft.observed.status.conditions)
        if not known and draft.observed.path_taken:
            draft.tell("Warning", *problem)
        draft.wake(borrowing.LOOK_SECONDS)  # nobody tells when the other model goes elsewhere
    elif words := shadow.refused(draft.observed, draft.status.rollout):
        draft.find("Accepted", False, shadow.REFUSED, words)
        draft.wake(CLASS_SECONDS)
    elif words := providers.unknown_sources(draft.observed):
        draft.find("Accepted", False, "MetricSourceUnknown", words)
    elif problem := schedule.problem(draft):
        draft.find("Accepted", False, *problem)


def _refused_writes(draft: Draft) -> None:
    for name, words in [error for error in draft.observed.errors if error[0] not in UNTOLD][:1]:
        fix = f"{QUOTA_FIX}; " if "quota" in words else ""
        draft.find("WritesRefused", True, "RefusedByCluster", f"{name}: {words}; {fix}trying again")
