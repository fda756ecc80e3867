"""Verdicts of the offline gates: what evaluate measured in, Passed, Failed, Undecided or NotJudged with words out.

A bound decides, never the bare estimate: with a one-sided 95 % interval `minimum: m` passes when the lower bound reaches m, fails
when the upper bound is under it, and is undecided between; `maximum` is its mirror image. `notWorseThanServingBy: d` is the first
for how much better the challenger is than the champion (of an error: how much less it has) against -d. `minimumPerSlice` fails
when a slice is shown to be under it, corrected for their number (`perennial_runtime.evaluate_slices`); it is not judged when no
slice had enough rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Final, Literal, assert_never

from perennial.api.evaluation import Gate
from perennial.api.version import GateVerdict, SliceVerdict, SliceVerdicts
from perennial_runtime.contract import ContractError, EvaluateResult, GateMeasurement, GateSpec, SliceFound, SlicesFound, unpacked

UNDECIDABLE_ROWS = 1_000_000_000
"""From so many rows on, evaluate says that the value lies on the limit."""
LATENCY = "latency_p99_ms"
UNITS: Mapping[str, tuple[str, str]] = {
    "model_bytes": (",.0f", " bytes"),
    LATENCY: (".3f", " ms"),
    "data_age_hours": (".1f", " hours"),
}
"""Format and unit of what is no share."""
OF_NUMBERS: Final = ("rmse", "mae")
"""Metrics in the label's unit, which may be of any size."""
ERRORS: Final = (*OF_NUMBERS, "log_loss")
"""Of which a maximum is told as a version's score, as a minimum of the others is."""
LARGE: Final = 10_000.0
LONGEST: Final = 400
"""Digits of any float64 before its point, and of those that are told after it."""
MARGIN: Final = "notWorseThanServingBy"
"""Its estimate tells of every metric by how much the challenger is better."""

Verdict = Literal["Passed", "Failed", "Undecided", "NotJudged"]


def spec_of(gate: Gate) -> GateSpec:
    """The gate as evaluate is told it."""
    return GateSpec(gate.metric, gate.minimum, gate.not_worse_than_serving_by, gate.maximum, gate.minimum_per_slice)


def measured_by(result: EvaluateResult, asked: Sequence[GateSpec]) -> EvaluateResult:
    """The result with its measurements by name; without any where they are of other gates than were asked for."""
    try:
        return unpacked(result, asked)
    except ContractError:
        return replace(result, packed=())


def judge(gates: Sequence[Gate], result: EvaluateResult, claims: Mapping[str, float] | None = None) -> tuple[GateVerdict, ...]:
    """A verdict for each gate, in order; a comparison has none while nothing serves, for there is nothing to compare with.

    A gate that should have been measured and was not fails: silence is no proof. `claims` are the trainer's own metrics.
    """
    verdicts = []
    for gate in gates:
        asked = spec_of(gate)
        measured = next((found for found in result.gates if _is_of(found, asked)), None)
        if measured is not None:
            verdicts.append(_verdict(measured, claims or {}))
        elif gate.not_worse_than_serving_by is None or result.champion is not None:
            verdicts.append(_unmeasured(asked))
    return tuple(verdicts)


def passes(gates: Sequence[Gate], verdict: GateVerdict) -> bool:
    """Whether a verdict lets a version through: one that says nothing does where its gate allows it."""
    if verdict.verdict not in ("Undecided", "NotJudged"):
        return verdict.verdict == "Passed"
    named = (verdict.metric, verdict.kind, verdict.limit)
    asked = [(spec_of(gate), gate.on_undecided) for gate in gates]
    return any(allowed == "pass" for spec, allowed in asked if (spec.metric, spec.kind, spec.limit) == named)


def _is_of(measured: GateMeasurement, asked: GateSpec) -> bool:
    return (measured.metric, measured.kind, measured.limit) == (asked.metric, asked.kind, asked.limit)


def _verdict(measured: GateMeasurement, claims: Mapping[str, float]) -> GateVerdict:
    verdict = _decide(measured)
    words = _words(measured, verdict) if measured.slices is None else _slice_words(measured, measured.slices, verdict)
    claim = claims.get(measured.metric) if measured.kind in ("minimum", "maximum") else None
    claimed = "" if claim is None else f"; its trainer claims {claim:{_layout(measured.metric, claim)}}"
    return GateVerdict(
        metric=measured.metric,
        kind=measured.kind,
        limit=measured.limit,
        estimate=measured.estimate,
        lower=measured.lower,
        upper=measured.upper,
        verdict=verdict,
        message=f"{words}{claimed}"[:512],
        slices=None if measured.slices is None else _slices(measured.slices),
    )


def _unmeasured(asked: GateSpec) -> GateVerdict:
    return GateVerdict(
        metric=asked.metric,
        kind=asked.kind,
        limit=asked.limit,
        estimate=0.0,
        lower=0.0,
        upper=0.0,
        verdict="Failed",
        message=f"{asked.metric} was not measured: operator and training image do not fit together, install both of one release",
    )


def _decide(measured: GateMeasurement) -> Verdict:
    if measured.slices is not None:
        return "NotJudged" if not measured.slices.judged else "Failed" if measured.slices.under else "Passed"
    if measured.kind == "maximum":
        if measured.upper <= measured.limit:
            return "Passed"
        return "Failed" if measured.lower > measured.limit else "Undecided"
    if measured.lower >= measured.limit:
        return "Passed"
    return "Failed" if measured.upper < measured.limit else "Undecided"


# ---- words -------------------------------------------------------------------------------------------------------------------


def _words(measured: GateMeasurement, verdict: Verdict) -> str:
    is_minimum = measured.kind not in ("maximum", MARGIN)
    shown, limit = _shown(measured), _limit(measured)
    match verdict:
        case "Passed":
            return f"{shown} {'reaches' if is_minimum else 'keeps'} {limit}"
        case "Failed":
            return f"{shown} is {'under' if is_minimum else 'over'} {limit}"
        case "Undecided":
            return f"{shown} does not decide {limit}: {_need(measured)}"
        case "NotJudged":
            return f"{shown} was not held against {limit}"
        case _:
            assert_never(verdict)


def _shown(measured: GateMeasurement) -> str:
    if measured.kind == MARGIN:
        return _compared(measured)
    layout, unit = UNITS.get(measured.metric, (_layout(measured.metric, measured.upper), ""))
    value = f"{measured.metric} {measured.estimate:{layout}}{unit}"
    if measured.lower == measured.estimate == measured.upper and measured.metric in UNITS:
        return value
    return f"{value} {_bounds(measured.lower, measured.upper, layout, unit)}"


def beside(measured: GateMeasurement, champion: str) -> str:
    """A comparison in short: by how much a version is better or worse than the champion."""
    by, lower, upper, layout = _better_by(measured)
    return f"{measured.metric} {by} than {champion} {span(lower, upper, layout)}"


def _compared(measured: GateMeasurement) -> str:
    by, lower, upper, layout = _better_by(measured)
    return f"{measured.metric} against the version that serves: {by} {_bounds(lower, upper, layout)}"


def _better_by(measured: GateMeasurement) -> tuple[str, float, float, str]:
    """By how much it is better or worse, for a sign would be read by the metric: of an error less is better. With the bounds of
    that, and the layout of the numbers."""
    lower, estimate, upper = measured.lower, measured.estimate, measured.upper
    if estimate < 0.0:
        lower, estimate, upper = 0.0 - upper, 0.0 - estimate, 0.0 - lower
    layout, way = _layout(measured.metric, measured.upper), "worse" if measured.estimate < 0.0 else "better"
    return f"{way} by {estimate:{layout}}", lower, upper, layout


def _bounds(lower: float, upper: float, layout: str, unit: str = "") -> str:
    return f"{span(lower, upper, layout)[:-1]}{unit}, one-sided 95 % bounds)"


def span(lower: float, upper: float, layout: str) -> str:
    """Bounds as they are told, in the layout .4f, ,.0f or .5g (of any number of digits): rounded outwards, so that a limit that
    keeps what is told keeps the bound."""
    return f"(from {rounded(lower, layout, ROUND_FLOOR)} to {rounded(upper, layout, ROUND_CEILING)})"


def rounded(value: float, layout: str, rounding: str) -> str:
    """A number in such a layout, rounded as decimal's ROUND_FLOOR or ROUND_CEILING have it."""
    exact = Decimal(repr(value))
    if not exact.is_finite():
        return f"{value:{layout}}"
    digits = int(layout.strip(",.fg"))
    place = exact.adjusted() - digits + 1 if layout.endswith("g") else -digits
    return f"{float(exact.quantize(Decimal(1).scaleb(place), rounding, Context(prec=LONGEST))):{layout}}"


def _layout(metric: str, value: float) -> str:
    """Of a share four decimals; of a number in the label's unit five digits, or all before its point."""
    if metric not in OF_NUMBERS:
        return ".4f"
    return ",.0f" if abs(value) >= LARGE else ".5g"


def _limit(measured: GateMeasurement) -> str:
    """A margin as its gate gives it: how much worse a version may be."""
    word = {"maximum": "maximum", MARGIN: "margin"}.get(measured.kind, "minimum")
    limit = 0.0 - measured.limit if measured.kind == MARGIN else measured.limit
    amount = measured.metric in (*UNITS, *OF_NUMBERS) or abs(limit) > 1
    return f"the {word} {limit:,.10g}" if amount else f"the {word} {limit:g}"


def _need(measured: GateMeasurement) -> str:
    if measured.metric == LATENCY:
        return "measured on a node with less else to do it may be decided; see docs/evaluation.md"
    if measured.needed_rows >= UNDECIDABLE_ROWS:
        return "it lies on the limit, and more holdout rows would hardly decide it"
    few = measured.smallest
    why = f", and its smallest class, {few.name!r}, has {few.rows}" if few else ""
    return f"about {measured.needed_rows} holdout rows are needed{why}"


def _slice_words(measured: GateMeasurement, found: SlicesFound, verdict: Verdict) -> str:
    return "; ".join(_slice_parts(measured, found, verdict))


def _slice_parts(measured: GateMeasurement, found: SlicesFound, verdict: Verdict) -> Iterator[str]:
    limit, worst = f"the minimum {measured.limit:g}", found.told
    if verdict == "NotJudged":
        yield f"{measured.metric} by slice: none of {found.not_judged} slices has enough rows to be judged against {limit}"
    elif verdict == "Failed":
        named = ", ".join(_named(one) for one in worst[: found.under])
        yield f"{measured.metric} by slice: {found.under} of {found.judged} are under {limit}{named and f': {named}'}"
    else:
        lowest = f", nearest to it {_named(worst[0])}" if worst else ""
        yield f"{measured.metric} by slice: none of {found.judged} is shown to be under {limit}{lowest}"
    if found.not_judged:
        count = "" if verdict == "NotJudged" else f"{found.not_judged} not judged for too few rows, "
        fix = ": lower evaluation.slices.minimumRows or add data" if verdict == "NotJudged" else ""
        yield f"{count}the largest of them {found.thin or 'in status.measurements'}{fix}"
    if found.rest:
        yield f"{found.rest} rarer values were not looked at"


def _named(one: SliceFound) -> str:
    return f"{one.name} {one.estimate:.4f} (at most {one.upper:.4f}, {one.rows} rows, adjusted p {one.p:.2g})"


def _slices(found: SlicesFound) -> SliceVerdicts:
    worst = [SliceVerdict(name=one.name, rows=one.rows, estimate=one.estimate, upper=one.upper, p=one.p) for one in found.told]
    return SliceVerdicts(judged=found.judged, not_judged=found.not_judged, under=found.under, worst=worst)
