"""The ledger: every decision once, in the same status write as the decision itself, and chained by digests.

What is told by an event is a decision; steps, gates, waits and ends that have no event are found by comparing what was observed
with what was drafted. The ModelDeployment's status is written first and holds the entry; each version's status gets a copy of
its own entries after it. A kill between the two makes the pass be decided again: what only a version's status shows is looked up
among the entries that have no copy yet, for those are the ones whose write did not come about, and stands there once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from perennial.api.evidence import MetricEvidence
from perennial.api.ledger import MOST_ENTRIES, MOST_UNSTORED, Ledger, LedgerEntry, Unstored
from perennial.api.version import StepRecord
from perennial.core import sameness
from perennial.core.analysis.evidence import short
from perennial.core.answers import answer_of
from perennial.core.draft import Decision, Draft
from perennial.core.inputs import stamp
from perennial.core.observed import Version
from perennial_runtime import chain
from perennial_runtime.contract import EvaluateResult, PrepareResult, TrainResult

OF_VERSIONS: Final = frozenset(
    {"StepBegun", "StepEnded", "Gate", "Accepted", "Passed", "Rejected", "Identical", "Failed", "Superseded", "SameInputs"}
)
"""What only the version's own status shows to have been decided."""
SAID: Final = frozenset({"StepBegun", "StepEnded", "Gate"})
"""Of those, what a pass may decide several of: they are told apart by their words. Of an end or a start there is one."""
CAUSES: Final = frozenset({"VersionCreated", "Request", "SpecReverted"})
"""What stands before the rest of its pass."""
WAITS: Final = frozenset({"Inconclusive", "Outage", "ObjectiveMissed", "Paused", "Quarantined", "WritesRefused", "RetrainDue"})
"""Conditions that say what is waited for; where an event tells the same, the event is the decision."""
DROPPED_AT_ONCE: Final = 32
"""Entries that go together, so that a store that stays away is not told of with each new one."""
MOST_BYTES: Final = 384 * 1024
"""Of entries that are kept beside the newest ones: an object of the API server may have some 1.5 MB."""
WITH_EVIDENCE: Final = frozenset({"Promoted", "RolledBack", "Breached", "Watched", "WatchLeft", "ShadowOver", "Aborted"})


def write(draft: Draft) -> None:
    """Enters what this pass decided, and copies to each version what is its own."""
    before = _begun(draft)
    copied = {version.number: _last(version.status.ledger) for version in draft.observed.versions}
    causes = [decision for decision in draft.decisions if decision.what in CAUSES]
    effects = [decision for decision in draft.decisions if decision.what not in CAUSES]
    found = [*causes, *_of_versions(draft), *effects, *_waits(draft)]
    entries, length = list(before.entries), before.length
    for decision in found:
        if not _is_known(decision, entries, copied.get(decision.version or 0, 0)):
            length += 1
            entries.append(_entry(draft, decision, length, entries[-1].digest if entries else _newest_digest(draft)))
    whole = _bounded(draft, before.model_copy(update={"length": length, "entries": entries}))
    if whole != draft.status.ledger:
        draft.set(ledger=whole)
    for number, version in list(draft.versions.items()):
        new = [one for one in entries if one.version == number and one.number > copied.get(number, 0)]
        if new:
            draft.set_version(number, ledger=[*version.status.ledger, *new][-MOST_ENTRIES:])


def _bounded(draft: Draft, whole: Ledger) -> Ledger:
    """The newest entries, and before them those that are not stored: as many as there is room for."""
    entries, stored = whole.entries, whole.stored.number if whole.stored else 0
    older = [one for one in entries[:-MOST_ENTRIES] if one.number > stored]
    newest = entries[-MOST_ENTRIES:]
    room = MOST_BYTES - sum(len(line_of(one).encode()) for one in older)
    if len(older) + len(newest) <= MOST_UNSTORED and room >= 0:
        return whole.model_copy(update={"entries": [*older, *newest]})
    dropped, older = older[:DROPPED_AT_ONCE], older[DROPPED_AT_ONCE:]
    words = (
        f"entries {dropped[0].number} to {dropped[-1].number} of the ledger were dropped: there are too many that are not stored"
    )
    draft.tell("Warning", "LedgerDropped", f"{words}; condition LedgerStored says why")
    now = stamp(draft.observed.now)
    known = whole.unstored or Unstored(since=now, at=now, tries=0, reason="NotTried", message="no Job has come to store them")
    trouble = known.model_copy(update={"dropped": known.dropped + len(dropped)})
    begins = dropped[-1].number + 1
    return whole.model_copy(update={"entries": [*older, *newest], "begins": begins, "unstored": trouble})


def _begun(draft: Draft) -> Ledger:
    """The ledger as it is. One that was lost, by an operator that does not know it or with the status, goes on behind the newest
    entry that a version has a copy of, and says where it begins; so does one of an operator that stored nothing."""
    kept = draft.status.ledger
    newest = max((_last(version.status.ledger) for version in draft.versions.values()), default=0)
    if kept.length < newest and not kept.entries:
        return Ledger(length=newest, begins=newest + 1)
    return kept.model_copy(update={"begins": begins_of(kept)})


def begins_of(ledger: Ledger) -> int:
    """From which entry on a ledger is whole. An operator that stored none dropped what was older than the newest ones."""
    numbers = [entry.number for entry in ledger.entries]
    by_older = ledger.stored is None and ledger.unstored is None and ledger.begins == 1 and len(numbers) == MOST_ENTRIES
    return numbers[0] if by_older and numbers[0] == ledger.length - MOST_ENTRIES + 1 else ledger.begins


def _newest_digest(draft: Draft) -> str:
    """Of the newest entry that a version has a copy of."""
    copies = [one for version in draft.versions.values() for one in version.status.ledger[-1:]]
    return max(copies, key=lambda one: one.number).digest if copies else ""


def _last(copies: Sequence[LedgerEntry]) -> int:
    return max((one.number for one in copies), default=0)


def digest_of(entry: LedgerEntry) -> str:
    """What `entry.digest` must be: see `perennial_runtime.chain`, which knows it by its JSON."""
    return chain.digest_of(_as_json(entry))


def line_of(entry: LedgerEntry) -> str:
    """As it is stored."""
    return chain.line_of(_as_json(entry))


def _as_json(entry: LedgerEntry) -> dict[str, Any]:
    """Without what is empty: a field of a later release changes no digest."""
    return entry.model_dump(mode="json", by_alias=True, exclude_defaults=True)


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


def gap(ledger: Ledger) -> str:
    """What is missing of a ledger's newest entries and of those that are not stored, in words; empty when nothing is."""
    length, numbers = ledger.length, {entry.number for entry in ledger.entries}
    kept = min(length - MOST_ENTRIES, ledger.stored.number if ledger.stored else 0)
    missing = [number for number in range(max(begins_of(ledger), kept + 1), length + 1) if number not in numbers]
    if missing:
        return f"entry {missing[0]} is missing"
    return f"there are more entries than the {length} that were made" if max(numbers, default=0) > length else ""


def stored_problem(ledger: Ledger, links: Sequence[chain.Link]) -> str:
    """How the entries in the store, which are a chain, do not fit the status, in words; empty when they do."""
    lines = {one.number: one.line for one in links}
    wrong = _end_problem(ledger, links)
    if wrong or not links:
        return wrong
    other = [one.number for one in ledger.entries if lines.get(one.number, line_of(one)) != line_of(one)]
    if other:
        return f"entry {other[0]} is another in the store than in the status"
    after = next((one for one in ledger.entries if one.number == links[-1].number + 1), None)
    if after is not None and after.previous != links[-1].digest:
        return f"entry {after.number} in the status does not follow entry {links[-1].number} in the store"
    return ""


def _end_problem(ledger: Ledger, links: Sequence[chain.Link]) -> str:
    """How the end in the store does not fit what the status says of it. One that says nothing is behind the store only by entries
    that it still has: their Job's answer is not written yet. What is before its own beginning was lost with a status."""
    end = ledger.stored
    if end is None:
        here, begins = {entry.number for entry in ledger.entries}, begins_of(ledger)
        unknown = [one.number for one in links if one.number >= begins and one.number not in here]
        return f"entry {unknown[0]} is in the store, and the status neither has it nor says that it is stored" if unknown else ""
    if end.number > ledger.length:
        return f"entry {end.number} is stored, and the ModelDeployment has only {ledger.length}"
    last = next((one for one in links if one.number == end.number), None)
    if last is None or last.digest != end.digest:
        return f"entry {end.number} is not in the store, or is another there than when it was stored"
    return ""


def copies_problem(ledger: Ledger, version: int, copies: Sequence[LedgerEntry]) -> str:
    """How a version's copies do not fit the ledger, in words; empty when they do."""
    own = {entry.number: entry for entry in ledger.entries}
    other = [entry.number for entry in copies if own.get(entry.number, entry) != entry]
    if other:
        return f"entry {other[0]} is another than the ModelDeployment's"
    if _last(copies) > ledger.length:
        return f"it has entry {_last(copies)}, and the ModelDeployment only {ledger.length}"
    held = {entry.number for entry in copies}
    inside = range(min(held, default=0), _last(copies))
    left_out = [number for number in inside if number not in held and number in own and own[number].version == version]
    return f"entry {left_out[0]} is missing" if left_out else problem(copies)


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
        message=_plain(decision.message)[:512],
        facts={name: _plain(value)[:256] for name, value in list(facts.items())[:16]},
        previous=previous,
        digest="",
    )
    return made.model_copy(update={"digest": digest_of(made)})


def _plain(text: str) -> str:
    """Without half characters, which a step's answer may bring and UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode()


def _statistics(evidence: Sequence[MetricEvidence]) -> dict[str, str]:
    """Of each metric, on which the decision rests."""
    return {
        f"metric {one.name}": f"E {short(one.e)} of {short(one.threshold)}, candidate {one.candidate_bad}/{one.candidate_total}, "
        f"stable {one.stable_bad}/{one.stable_total}"
        if one.threshold
        else one.message
        for one in evidence
    }


def _is_known(decision: Decision, entries: Sequence[LedgerEntry], copied: int) -> bool:
    """Whether it was entered by a pass whose write of the version's status did not come about: the version has copies up to the
    entry `copied`."""
    if decision.what not in OF_VERSIONS:
        return False
    said = _plain(decision.message)[:512] if decision.what in SAID else None
    return any(
        entry.number > copied
        and (entry.version, entry.what) == (decision.version, decision.what)
        and said in (None, entry.message)
        for entry in entries
    )


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
        if new.status.state == "Superseded" != old.status.state and not sameness.ended_as_same(new):
            yield Decision("Superseded", new.status.message, new.number)


def _steps(old: Version, new: Version) -> Iterator[Decision]:
    before = {(one.step, one.attempt): one.state for one in old.status.steps}
    for record in new.status.steps:
        was = before.get((record.step, record.attempt))
        if was is None:
            more = {"champion": record.key, "device": record.device}
            facts = {"inputs": new.spec.inputs_digest, **{name: value for name, value in more.items() if value}}
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
            brought = {"model": answer.model} if answer.model else {}
            return {"data": answer.data, "train": answer.train, "holdout": answer.holdout, "split": answer.split, **brought}
        case TrainResult(model=str(model), parity=str(parity)):
            return {"model": model, "parity": parity}
        case EvaluateResult() as answer:
            evidence = {"measurements": answer.evidence} if answer.evidence else {}
            return {"identity": answer.identity, "bento": answer.bento, **evidence}
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
