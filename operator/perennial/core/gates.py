"""Verdicts of the offline gates: what evaluate measured in, Passed, Failed or Undecided with words out.

A bound decides, never the bare estimate: with a one-sided 95 % interval `minimum: m` passes when the lower bound reaches m, fails
when the upper bound is under it, and is undecided between. `notWorseThanServingBy: d` is the same for challenger minus champion
against -d.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, assert_never

from perennial.api.evaluation import Gate
from perennial.api.version import GateVerdict
from perennial_runtime.contract import EvaluateResult, GateMeasurement

UNDECIDABLE_ROWS = 1_000_000_000
"""From so many rows on, evaluate says that the value lies on the limit."""


def judge(gates: Sequence[Gate], result: EvaluateResult) -> tuple[GateVerdict, ...]:
    """A verdict for each gate, in order; a comparison has none while nothing serves, for there is nothing to compare with.

    A gate that should have been measured and was not fails: silence is no proof.
    """
    verdicts = []
    for gate in gates:
        measured = next((found for found in result.gates if _is_of(found, gate)), None)
        if measured is not None:
            verdicts.append(_verdict(measured))
        elif gate.minimum is not None or result.champion is not None:
            verdicts.append(_unmeasured(gate))
    return tuple(verdicts)


def _kind(gate: Gate) -> str:
    return "minimum" if gate.minimum is not None else "notWorseThanServingBy"


def _limit(gate: Gate) -> float:
    return gate.minimum if gate.minimum is not None else 0.0 - (gate.not_worse_than_serving_by or 0.0)


def _is_of(measured: GateMeasurement, gate: Gate) -> bool:
    return (measured.metric, measured.kind, measured.limit) == (gate.metric, _kind(gate), _limit(gate))


def _verdict(measured: GateMeasurement) -> GateVerdict:
    verdict = _decide(measured)
    return GateVerdict(
        metric=measured.metric,
        kind=measured.kind,
        limit=measured.limit,
        estimate=measured.estimate,
        lower=measured.lower,
        upper=measured.upper,
        verdict=verdict,
        message=_words(measured, verdict),
    )


def _unmeasured(gate: Gate) -> GateVerdict:
    return GateVerdict(
        metric=gate.metric,
        kind=_kind(gate),
        limit=_limit(gate),
        estimate=0.0,
        lower=0.0,
        upper=0.0,
        verdict="Failed",
        message=f"{gate.metric} was not measured: operator and training image do not fit together, install both of one release",
    )


def _decide(measured: GateMeasurement) -> Literal["Passed", "Failed", "Undecided"]:
    if measured.lower >= measured.limit:
        return "Passed"
    return "Failed" if measured.upper < measured.limit else "Undecided"


def _words(measured: GateMeasurement, verdict: Literal["Passed", "Failed", "Undecided"]) -> str:
    if measured.kind == "minimum":
        what, limit = measured.metric, f"the minimum {measured.limit:g}"
        value = f"{measured.estimate:.4f}"
    else:
        what, limit = f"{measured.metric} against the version that serves", f"the margin {measured.limit:g}"
        value = f"{measured.estimate:+.4f}"
    shown = f"{what} {value} (from {measured.lower:.4f} to {measured.upper:.4f}, one-sided 95 % bounds)"
    match verdict:
        case "Passed":
            return f"{shown} reaches {limit}"
        case "Failed":
            return f"{shown} is under {limit}"
        case "Undecided":
            return f"{shown} does not decide {limit}: {_need(measured.needed_rows)}"
        case _:
            assert_never(verdict)


def _need(rows: int) -> str:
    if rows >= UNDECIDABLE_ROWS:
        return "it lies on the limit, and more holdout rows would hardly decide it"
    return f"about {rows} holdout rows are needed"
