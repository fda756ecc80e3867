"""Verdicts of the offline gates: what evaluate measured in, Passed, Failed or Undecided with words out.

A bound decides, never the bare estimate: with a one-sided 95 % interval `minimum: m` passes when the lower bound reaches m, fails
when the upper bound is under it, and is undecided between. `notWorseThanServingBy: d` is the same for challenger minus champion
against -d.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from perennial.api.v1alpha1 import Gate, GateVerdict
from perennial_runtime.contract import EvaluateResult, GateMeasurement


def judge(gates: Sequence[Gate], result: EvaluateResult) -> tuple[GateVerdict, ...]:
    """A verdict for each gate that was measured; a comparison without a champion has nothing to compare and is left out."""
    asked = {_key(gate) for gate in gates}
    return tuple(_verdict(measured) for measured in result.gates if (measured.metric, measured.kind) in asked)


def _key(gate: Gate) -> tuple[str, str]:
    return gate.metric, "minimum" if gate.minimum is not None else "notWorseThanServingBy"


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


def _decide(measured: GateMeasurement) -> Literal["Passed", "Failed", "Undecided"]:
    if measured.lower >= measured.limit:
        return "Passed"
    return "Failed" if measured.upper < measured.limit else "Undecided"


def _words(measured: GateMeasurement, verdict: str) -> str:
    what = measured.metric if measured.kind == "minimum" else f"{measured.metric} against the version that serves"
    limit = f"the minimum {measured.limit:g}" if measured.kind == "minimum" else f"the margin {measured.limit:g}"
    shown = f"{what} {measured.estimate:.4f} (from {measured.lower:.4f} to {measured.upper:.4f}, one-sided 95 % bounds)"
    match verdict:
        case "Passed":
            return f"{shown} reaches {limit}"
        case "Failed":
            return f"{shown} is under {limit}"
        case _:
            return f"{shown} does not decide {limit}: about {measured.needed_rows} holdout rows are needed"
