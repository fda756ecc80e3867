"""The ledger's way into the store: when a Job takes entries there, what it answered, and what is told while that fails.

    48 entries wait, or the oldest for half an hour while nothing else goes on -> a Job with them in its spec -> its answer
    -> `ledger.stored`, and the Job is deleted

The operator has no key of the store. `perennial.core.ledger` keeps what is not stored and writes the status, in one write with
everything else; whichever of create, write and delete is the last before a kill, the Job that is there, or its fixed name, tells
the next pass where it stands. A failure is tried again, later each time; nothing of a rollout waits for any of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perennial.api.ledger import Ledger, LedgerEntry, Stored, Unstored
from perennial.core import jobs, ledger
from perennial.core.actions import CreateLedgerJob, DeleteJob
from perennial.core.draft import FINAL, Draft
from perennial.core.inputs import since, stamp, store_uri
from perennial.core.jobs import Reading
from perennial.core.observed import Job
from perennial_runtime.contract import LedgerEnd, LedgerResult, LedgerSpec, as_variable, encode

AT_LEAST = 48
"""So many entries are worth a Job at once."""
OLDEST_SECONDS = 1800.0
"""Fewer are, too, when the oldest has waited for so long."""
MOST_AT_ONCE = 64
MOST_BYTES = 96 * 1024
"""Of a Job's input: Linux takes at most 128 KiB in one variable."""
RETRY_SECONDS = 60.0
"""After a Job that failed; twice as long after each further one."""
LONGEST_RETRY_SECONDS = 1800.0
LOOK_SECONDS = 20.0
DIGEST_LENGTH = 64
"""Of sha256 in hex."""
CONDITION = "LedgerStored"
ACTION = CreateLedgerJob.__name__


def settle(draft: Draft) -> None:
    """Takes in what Jobs have answered, asks for the next one when it is due, and tells why entries are not stored."""
    waits = [reading for job in draft.observed.ledger_jobs if (reading := _take_in(draft, job)) is not None]
    if not draft.observed.ledger_jobs:
        _begin(draft)
    _tell(draft, waits)


def waiting(whole: Ledger) -> list[LedgerEntry]:
    """Entries that are not known to be stored, in order."""
    stored = whole.stored.number if whole.stored else 0
    return [entry for entry in whole.entries if entry.number > stored]


def _take_in(draft: Draft, job: Job) -> Reading | None:
    """What a Job came to goes into the status, and the Job goes; the reading of one that runs."""
    reading = jobs.read(job, "its deadline", draft.observed.now)
    if reading.state == "running":
        draft.wake(LOOK_SECONDS)
        return reading
    draft.after.append(DeleteJob(job.name, job.uid))
    whole = draft.status.ledger
    if not isinstance(reading.answer, LedgerResult):
        _failed(draft, job, reading.reason, reading.message)
    elif whole.stored is None or reading.answer.number > whole.stored.number:
        _stored(draft, job, reading.answer)
    return None


def _stored(draft: Draft, job: Job, answer: LedgerResult) -> None:
    """Nothing is believed to be stored that is not in this ledger, but for what was dropped since the Job began."""
    whole, store = draft.status.ledger, _store(draft)
    if answer.store != store or not 1 <= answer.first <= answer.number or len(answer.digest) != DIGEST_LENGTH:
        words = f"Job {job.name} stored entries from {answer.first} to {answer.number} in {answer.store[:200]}, not in {store}"
        _failed(draft, job, "LedgerDiffers", f"{words}: what it answered is not believed")
        return
    is_ours = any((entry.number, entry.digest) == (answer.number, answer.digest) for entry in whole.entries)
    if not is_ours and answer.number >= whole.begins:
        words = f"Job {job.name} stored an entry {answer.number} that is not in the status: was status.ledger changed meanwhile?"
        _failed(draft, job, "LedgerDiffers", words)
        return
    stored = Stored(number=answer.number, digest=answer.digest, first=answer.first, uri=answer.store)
    if whole.unstored is not None:
        draft.tell("Normal", "LedgerStored", f"the ledger is stored up to entry {answer.number} again")
    draft.set(ledger=whole.model_copy(update={"stored": stored, "unstored": None}))


def _failed(draft: Draft, job: Job, reason: str, message: str) -> None:
    """Noted once for each Job, which may still be there after a kill."""
    whole, now = draft.status.ledger, stamp(draft.observed.now)
    before = whole.unstored
    if before is not None and before.job == job.uid:
        return
    if before is None or not before.tries:
        draft.tell("Warning", "LedgerNotStored", f"{reason}: {message}")
    update = {"at": now, "job": job.uid, "reason": reason[:128], "message": message[:1024]}
    known = before or Unstored(since=now, at=now, tries=0, reason=reason[:128])
    failed = known.model_copy(update={**update, "tries": known.tries + 1})
    draft.set(ledger=whole.model_copy(update={"unstored": failed}))


def _begin(draft: Draft) -> None:
    """Asks for a Job where one is due, after everything else in this pass; else looks again when the oldest has waited."""
    whole, now = draft.status.ledger, draft.observed.now
    entries = waiting(whole)
    if not entries or (draft.status.returning is not None and len(entries) < 2 * AT_LEAST):
        return  # a return goes first, but one that cannot be written must not keep everything out of the store
    waited = since(now, entries[0].at)
    left = OLDEST_SECONDS - waited if 0.0 <= waited < OLDEST_SECONDS and len(entries) < AT_LEAST else 0.0
    if len(entries) < AT_LEAST and _is_busy(draft):
        return
    left = max(left, _pause(draft, whole.unstored))
    if left > 0.0:
        draft.wake(left)
        return
    store = draft.observed.defaults.store
    spec = _spec(draft, whole, entries)
    last = entries[len(spec.entries) - 1].number
    draft.after.append(CreateLedgerJob(last, spec, store.secret_name, draft.observed.defaults.serving_image))


def _is_busy(draft: Draft) -> bool:
    """Whether more is about to be decided."""
    at_rest = draft.state(draft.status.candidate) in (None, "Accepted", *FINAL)
    return draft.status.rollout is not None or draft.creating or not at_rest


def _pause(draft: Draft, trouble: Unstored | None) -> float:
    """Seconds until the next try after a failure."""
    if trouble is None:
        return 0.0
    waited = since(draft.observed.now, trouble.at)
    pause = min(LONGEST_RETRY_SECONDS, RETRY_SECONDS * 2.0 ** min(trouble.tries - 1, 10))
    return pause - waited if 0.0 <= waited < pause else 0.0


def _spec(draft: Draft, whole: Ledger, entries: Sequence[LedgerEntry]) -> LedgerSpec:
    """The oldest entries that fit, at least one. A ledger stays in the store in which it began."""
    meta, stored, store = draft.observed.meta, whole.stored, _store(draft)
    after = LedgerEnd(stored.number, stored.digest, stored.first) if stored else None
    lines: list[str] = []
    for entry in entries[:MOST_AT_ONCE]:
        spec = LedgerSpec(meta.name, store, (*lines, ledger.line_of(entry)), whole.begins, after)
        if lines and len(as_variable(encode(spec))) > MOST_BYTES:
            break
        lines.append(ledger.line_of(entry))
    return LedgerSpec(meta.name, store, tuple(lines), whole.begins, after)


def _store(draft: Draft) -> str:
    """Where this ledger lies, or is going to."""
    meta, stored = draft.observed.meta, draft.status.ledger.stored
    return stored.uri if stored else store_uri(draft.observed.defaults.store.uri, meta.namespace, meta.uid)


def _tell(draft: Draft, waits: Iterable[Reading]) -> None:
    """Only while something is wrong: what is in order is no news."""
    entries, trouble = waiting(draft.status.ledger), draft.status.ledger.unstored
    refused = next((words for name, words in draft.observed.errors if name == ACTION), "")
    held = next((reading for reading in waits if reading.message and reading.reason != jobs.ENDED), None)
    why = jobs.why_undone(refused, trouble, held)
    if why is None:
        return
    dropped = f"; {trouble.dropped} older ones were dropped" if trouble and trouble.dropped else ""
    words = f"{len(entries)} entries of the ledger are not in the store, and are kept in the status{dropped}: {why[1]}"
    draft.find(CONDITION, False, why[0], words)
