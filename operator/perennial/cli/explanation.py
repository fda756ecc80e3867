"""Why a version is what it is, and what would have changed that: worked out from its status alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR

from pydantic import BaseModel

from perennial.api.evaluation import Gate
from perennial.api.evidence import MetricEvidence
from perennial.api.ledger import LedgerEntry
from perennial.api.version import GateVerdict, SliceVerdicts, StepRecord
from perennial.cli.asking import Model, Version
from perennial.cli.screen import figures, second, span
from perennial.core.gates import rounded
from perennial.core.inputs import moment, source_words

LARGEST_RATE = 0.2
"""rollout.falseRollbackRate is at most this."""


@dataclass(frozen=True, slots=True)
class Section:
    """A head, the lines under it, and a table under those."""

    head: str
    lines: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    rows: list[list[str]] = field(default_factory=list)
    records: Sequence[BaseModel] = ()
    """What the rows were made of."""

    def document(self) -> dict[str, object]:
        """The same for programs: instead of the rows, the records as the object's status has them."""
        told: dict[str, object] = {"head": self.head, "lines": self.lines}
        if self.columns:
            told["rows"] = [one.model_dump(mode="json", by_alias=True) for one in self.records]
        return told


def explained(model: Model, version: Version) -> list[Section]:
    """All sections that have something to say, in the order in which a version lives."""
    status = version.status
    found = [
        Section(f"{model.name} v{version.number}: {status.state}", [status.message] if status.message else []),
        Section("Why it was made", _made(version)),
        Section("Its steps", [_step(record) for record in status.steps]),
        Section("What it was judged on", _data(version)),
        Section("Gates, on data that its trainer never saw", _gates(version)),
        Section("Approval", list(_approval(model, version))),
        Section("In the shadow, by copies of live requests", _evidence(status.shadow_evidence)),
        Section("With live requests, beside the version before", _evidence(status.evidence)),
        Section("Trained again from its record", [f"{one.at}: {one.outcome}: {one.message}" for one in status.reproduced]),
        Section("What was decided", [decided(entry) for entry in status.ledger]),
        Section("Where it stands", stands(model, version)),
    ]
    return [one for one in found if one.lines or one is found[0]]


def decided(entry: LedgerEntry, *, of: bool = False) -> str:
    """An entry of the ledger in a line; `of`: with its version."""
    version = f" v{entry.version}" if of and entry.version else ""
    return f"{second(entry.at)} {entry.what}{version}: {entry.message}"


def _made(version: Version) -> list[str]:
    parent, trigger = version.spec.parent, version.spec.trigger
    lines = [because(version), *([f"the files that were seen have the digest {trigger.listing}"] if trigger.listing else [])]
    return [*lines, *([f"it goes on with the data split of {parent.name}"] if parent else [])]


def because(version: Version) -> str:
    """Why it was made."""
    trigger = version.spec.trigger
    return ": ".join(part for part in (trigger.reason, trigger.message.strip()) if part)


def _step(record: StepRecord) -> str:
    took = ""
    if record.started_at and record.finished_at:
        took = f" in {span((moment(record.finished_at) - moment(record.started_at)).total_seconds())}"
    attempt = f", attempt {record.attempt}" if record.attempt > 1 else ""
    words = ": ".join(part for part in (record.reason, record.message) if part)
    return f"{record.step}{attempt}: {record.state}{took}{f': {words}' if words else ''}"


def _data(version: Version) -> list[str]:
    from perennial.core import lineage  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    status = version.status
    if status.rows is None:
        return []
    lines = [
        f"{source_words(version.spec.data.source)}: {status.rows:,} rows to train on, {status.holdout_rows or 0:,} in the holdout"
    ]
    begins = [f"the holdout begins at {status.cutoff}"] if status.cutoff else []
    return [*lines, *begins, *lineage.split_words(version.spec, status)]


def judged(gate: GateVerdict) -> Iterator[str]:
    """The verdict in the operator's words, and the limit at which it would have been another, or the worst slices."""
    yield f"{gate.verdict}: {gate.message}"
    if gate.slices is not None:
        yield from _slices(gate.slices)
    elif not gate.lower == gate.upper == gate.estimate == 0.0:  # else it was never measured
        yield f"  {_otherwise(gate)}"


def _gates(version: Version) -> list[str]:
    found = version.status.gates
    return [*(line for gate in found for line in judged(gate)), *left_out(version.spec.evaluation.gates, found)]


def left_out(asked: Sequence[Gate], found: Sequence[GateVerdict]) -> Iterator[str]:
    """The comparisons without a verdict beside gates that have one: nothing served that could be compared with."""
    compared = {gate.metric for gate in found if gate.kind == "notWorseThanServingBy"}
    for gate in asked:
        if found and gate.not_worse_than_serving_by is not None and gate.metric not in compared:
            yield f"Left out: {gate.metric} notWorseThanServingBy {gate.not_worse_than_serving_by:g}: nothing served beside it"


def _otherwise(gate: GateVerdict) -> str:
    """A limit that is really so, whatever was cut off: who takes it at its word passes, or does not."""
    if gate.kind == "notWorseThanServingBy" and gate.lower >= 0.0:
        return "it would have passed with any notWorseThanServingBy"
    passed = gate.verdict == "Passed"
    if gate.kind in ("maximum", "notWorseThanServingBy"):
        value, layout = (gate.upper, ".10g") if gate.kind == "maximum" else (-gate.lower, ".4f")
        bound = rounded(value, layout, ROUND_FLOOR if passed else ROUND_CEILING)
        words = f"less than {bound}" if passed else f"{bound} or more"
    else:
        bound = rounded(gate.lower, ".4f", ROUND_CEILING if passed else ROUND_FLOOR)
        words = f"more than {bound}" if passed else f"{bound} or less"
    return f"it would {'not ' if passed else ''}have passed with {gate.kind}: {words}"


def _slices(found: SliceVerdicts) -> Iterator[str]:
    """The worst slices by name; NotJudged is said even where there is nothing else to say."""
    for one in found.worst:
        yield f"  {one.name}: {one.estimate:.4f} on {one.rows:,} rows, at most {one.upper:.4f}, adjusted p {one.p:.2g}"
    more = found.judged - len(found.worst)
    if more:
        yield f"  and {more} judged slices more, in the store: status.measurements"
    if found.not_judged:
        yield f"  NotJudged: {found.not_judged} slices with too few rows"


def _approval(model: Model, version: Version) -> Iterator[str]:
    found = model.status.approval
    if found is not None and found.version == version.number:
        yield f"asked for at {second(found.asked_at)}"
        yield f"approved at {second(found.approved_at)} by {found.approved_by}" if found.approved_at else "not given"


def _evidence(found: Sequence[MetricEvidence]) -> list[str]:
    return [line for one in found for line in _metric(one)]


def _metric(one: MetricEvidence) -> Iterator[str]:
    yield f"{one.name}: {one.message or 'nothing was counted'}"
    if not one.threshold:
        return  # a Job's, or a predictionShift: no test of ours
    guarantee = f", {one.guarantee}" if one.guarantee else ""
    yield f"  alpha {one.alpha:.3g}, its share of falseRollbackRate{guarantee}; {one.alpha_used * 100:.3g} % of it is used up"
    yield f"  {_changed(one)}"


def _changed(one: MetricEvidence) -> str:
    """At which alpha the evidence, as it stood in the end, would have meant something else."""
    if one.e <= 1.0:
        return "nothing speaks against it: no alpha would have taken it back by this evidence"
    alpha = 1.0 / one.e
    if one.e >= one.threshold:
        return f"the same answers would not have been enough with an alpha under {rounded(alpha, '.3g', ROUND_FLOOR)}"
    if alpha > LARGEST_RATE:
        return f"no falseRollbackRate that may be given (at most {LARGEST_RATE}) would have taken it back by this evidence"
    least = rounded(alpha, ".3g", ROUND_CEILING)
    return f"the same answers would have taken it back with an alpha from {least} on (E {figures(one.e)})"


def stands(model: Model, version: Version) -> list[str]:
    """What a version has now: requests, a place in quarantine, a model."""
    status, number, lines = model.status, version.number, []
    share = next((one.weight for one in status.weights if one.version == number), 0)
    if share:
        told = next((one.reason for one in status.conditions if (one.type, one.status) == ("Ready", "False")), "")
        lines.append(f"its weight is {share} %; not Ready: {told}" if told else f"it has {share} % of the requests")
    entry = next((one for one in status.quarantined if one.version == number), None)
    if entry is not None:
        out = f"kubectl perennial quarantine lift {model.name} {number} -n {model.namespace}"
        lines.append(f"quarantined since {second(entry.since)} ({entry.reason}): {out}")
    if version.status.identity:
        lines.append(f"model {version.status.identity}")
    return lines
