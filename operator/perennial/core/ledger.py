"""The ledger: every decision once, in the same status write as the decision itself, and chained by digests.

What is told by an event is a decision; steps, gates, waits and ends that have no event are found by comparing what was observed
with what was drafted. The ModelDeployment's status is written first and holds the entry; each version's status gets a copy of
its own entries after it. A kill between the two makes the pass be decided again: what only a version's status shows is looked up
in the ledger before it is entered, so that it stands there once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Final

from perennial.api.evidence import MetricEvidence
from perennial.api.ledger import MOST_ENTRIES, Ledger, LedgerEntry
from perennial.api.version import StepRecord
from perennial.core.analysis.evidence import short
from perennial.core.draft import Decision, Draft
from perennial.core.inputs import stamp
from perennial.core.observed import Version
from perennial.core.training import answer_of
from perennial_runtime.contract import EvaluateResult, PrepareResult, TrainResult

OF_VERSIONS: Final = frozenset({"StepBegun", "StepEnded", "Gate", "Accepted", "Rejected", "Identical", "Failed", "Superseded"})
"""What only the version's own status shows to have been decided."""
REPEATS: Final = "Request"
"""After a person's request for a version the same may be decided again."""
CAUSES: Final = frozenset({"VersionCreated", "Request", "SpecReverted"})
"""What stands before the rest of its pass."""
WAITS: Final = frozenset({"Inconclusive", "Outage", "ObjectiveMissed", "Paused", "Quarantined", "WritesRefused"})
"""Conditions that say what is waited for; where an event tells the same, the event is the decision."""
WITH_EVIDENCE: Final = frozenset({"Promoted", "RolledBack", "Breached", "Watched", "WatchLeft", "ShadowOver", "Aborted"})


def write(draft: Draft) -> None:
    """Enters what this pass decided, and copies to each version what is its own."""
    before = draft.status.ledger
    causes = [decision for decision in draft.decisions if decision.what in CAUSES]
    effects = [decision for decision in draft.decisions if decision.what not in CAUSES]
    found = [*causes, *_of_versions(draft), *effects, *_waits(draft)]
    entries, length = list(before.entries), before.length
    for decision in found:
        if not _is_known(decision, entries):
            length += 1
            entries.append(_entry(draft, decision, length, entries[-1].digest if entries else ""))
    if length != before.length:
        draft.set(ledger=Ledger(length=length, entries=entries[-MOST_ENTRIES:]))
    for number, version in list(draft.versions.items()):
        seen = max((one.number for one in version.status.ledger), default=0)
        new = [one for one in entries if one.version == number and one.number > seen]
        if new:
            draft.set_version(number, ledger=[*version.status.ledger, *new][-MOST_ENTRIES:])


def digest_of(entry: LedgerEntry) -> str:
    """What `entry.digest` must be: sha256 over `previous` and the entry as canonical JSON without its digest."""
    told = entry.model_dump(mode="json", by_alias=True, exclude={"digest", "previous"})
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{entry.previous}\n{text}".encode()).hexdigest()


def problem(entries: Sequence[LedgerEntry]) -> str:
    """The first entry that was changed, or that does not follow the one before it, in words; empty when the chain holds.

    Entries of one version leave numbers out: those that do follow each other are compared.
    """
    last: LedgerEntry | None = None
    for entry in entries:
        if digest_of(entry) != entry.digest:
            return f"entry {entry.number} ({entry.what}) was changed: its digest is not that of what it says"
        if entry.number == 1 and entry.previous:
            return "entry 1 names an entry before it"
        if last is not None and entry.number <= last.number:
            return f"entry {entry.number} stands behind entry {last.number}"
        if last is not None and entry.number == last.number + 1 and entry.previous != last.digest:
            return f"entry {entry.number} does not follow entry {last.number}: one of them was put in another's place"
        last = entry
    return ""


def gap(entries: Sequence[LedgerEntry], length: int) -> str:
    """What is missing of a whole ledger's newest entries, in words; empty when none is."""
    numbers = {entry.number for entry in entries}
    missing = [number for number in range(max(1, length - MOST_ENTRIES + 1), length + 1) if number not in numbers]
    if missing:
        return f"entry {missing[0]} is missing"
    return f"there are more entries than the {length} that were made" if max(numbers, default=0) > length else ""


def _entry(draft: Draft, decision: Decision, number: int, previous: str) -> LedgerEntry:
    version = draft.versions.get(decision.version or 0)
    facts = dict(decision.facts)
    if decision.what in WITH_EVIDENCE and version is not None:
        shadow = decision.what == "ShadowOver" or not version.status.evidence
        facts |= _statistics(version.status.shadow_evidence if shadow else version.status.evidence)
    made = LedgerEntry(
        number=number,
        at=stamp(draft.observed.now),
        what=decision.what,
        version=decision.version,
        message=decision.message[:512],
        facts={name: value[:128] for name, value in list(facts.items())[:16]},
        previous=previous,
        digest="",
    )
    return made.model_copy(update={"digest": digest_of(made)})


def _statistics(evidence: Sequence[MetricEvidence]) -> dict[str, str]:
    """Of each metric, on which the decision rests."""
    return {
        f"metric {one.name}": f"E {short(one.e)} of {short(one.threshold)}, candidate {one.candidate_bad}/{one.candidate_total}, "
        f"stable {one.stable_bad}/{one.stable_total}"
        if one.threshold
        else one.message
        for one in evidence
    }


def _is_known(decision: Decision, entries: Sequence[LedgerEntry]) -> bool:
    """Whether it was entered by a pass whose write of the version's status did not come about."""
    if decision.what not in OF_VERSIONS:
        return False
    for entry in reversed(entries):
        if entry.version == decision.version:
            if entry.what == REPEATS:
                return False
            if (entry.what, entry.message) == (decision.what, decision.message[:512]):
                return True
    return False


def _of_versions(draft: Draft) -> Iterator[Decision]:
    """Steps, gates and ends, where a version's status was drafted to say more than was observed."""
    for old in draft.observed.versions:
        new = draft.versions[old.number]
        if new.status is old.status:
            continue
        yield from _steps(old, new)
        if new.status.gates != old.status.gates:
            for gate in new.status.gates:
                yield Decision("Gate", f"{gate.verdict}: {gate.message}", new.number)
        if new.status.state == "Superseded" != old.status.state:
            yield Decision("Superseded", new.status.message, new.number)


def _steps(old: Version, new: Version) -> Iterator[Decision]:
    before = {(one.step, one.attempt): one.state for one in old.status.steps}
    for record in new.status.steps:
        was = before.get((record.step, record.attempt))
        if was is None:
            facts = {"inputs": new.spec.inputs_digest, **({"champion": record.key} if record.key else {})}
            yield Decision("StepBegun", f"{record.step}, attempt {record.attempt}", new.number, facts)
        if record.state != "Running" and was in (None, "Running"):
            yield Decision("StepEnded", _ended(record), new.number, _result(new, record))


def _ended(record: StepRecord) -> str:
    said = ": ".join(part for part in (record.reason, record.message) if part)
    return f"{record.step}, attempt {record.attempt}: {record.state}{said and f': {said}'}"


def _result(version: Version, record: StepRecord) -> dict[str, str]:
    """Digests of what a step left in the store."""
    if record.state != "Succeeded":
        return {}
    match answer_of(version.status, record.step):
        case PrepareResult() as answer:
            return {"data": answer.data, "train": answer.train, "holdout": answer.holdout, "split": answer.split}
        case TrainResult(model=str(model), parity=str(parity)):
            return {"model": model, "parity": parity}
        case EvaluateResult() as answer:
            return {"identity": answer.identity, "bento": answer.bento}
        case _:
            return {}


def _waits(draft: Draft) -> Iterator[Decision]:
    """Conditions that begin to say what is waited for."""
    before = {one.type: (one.status, one.reason) for one in draft.observed.status.conditions}
    told = {decision.what for decision in draft.decisions}
    for one in draft.status.conditions:
        begins = one.status == "True" and before.get(one.type) != (one.status, one.reason)
        if one.type in WAITS and begins and one.type not in told and one.reason not in told:
            number = draft.status.candidate or (draft.status.rollout.candidate if draft.status.rollout else None)
            yield Decision("Waits", f"{one.type}/{one.reason}: {one.message}", number)
