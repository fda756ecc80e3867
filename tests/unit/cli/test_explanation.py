"""What `explain` says of a gate: the limit at which the verdict would have been another, and slices by name."""

from __future__ import annotations

from typing import Literal

import pytest

from perennial.api.evaluation import Gate
from perennial.api.version import GateVerdict, SliceVerdict, SliceVerdicts
from perennial.cli.explanation import judged, left_out


def verdict(kind: str, found: Literal["Passed", "Failed", "NotJudged"], slices: SliceVerdicts | None = None) -> GateVerdict:
    return GateVerdict(
        metric="accuracy",
        kind=kind,
        limit=0.7,
        estimate=0.75,
        lower=0.72,
        upper=0.78,
        verdict=found,
        message="so it is",
        slices=slices,
    )


@pytest.mark.parametrize(
    ("kind", "lower", "found", "told"),
    [
        ("minimum", 0.72, "Passed", "not have passed with minimum: more than 0.7200"),
        ("minimum", 0.72, "Failed", "have passed with minimum: 0.7200 or less"),
        ("minimum", 0.911075, "Passed", "not have passed with minimum: more than 0.9111"),
        ("minimum", 0.911075, "Failed", "have passed with minimum: 0.9110 or less"),
        ("maximum", 0.72, "Passed", "not have passed with maximum: less than 0.78"),
        ("maximum", 0.72, "Failed", "have passed with maximum: 0.78 or more"),
        ("notWorseThanServingBy", 0.72, "Passed", "have passed with any notWorseThanServingBy"),
        ("notWorseThanServingBy", -0.00221, "Passed", "not have passed with notWorseThanServingBy: less than 0.0022"),
        ("notWorseThanServingBy", -0.00221, "Failed", "have passed with notWorseThanServingBy: 0.0023 or more"),
    ],
)
def test_a_gate_is_told_with_a_limit_at_which_it_would_really_have_ended_otherwise(
    kind: str, lower: float, found: Literal["Passed", "Failed"], told: str
) -> None:
    gate = verdict(kind, found).model_copy(update={"lower": lower})
    assert list(judged(gate)) == [f"{found}: so it is", f"  it would {told}"]


def test_a_gate_that_was_never_measured_has_no_other_limit() -> None:
    silent = verdict("maximum", "Failed").model_copy(update={"estimate": 0.0, "lower": 0.0, "upper": 0.0})
    assert list(judged(silent)) == ["Failed: so it is"]


def test_a_comparison_that_had_nothing_to_compare_with_is_told() -> None:
    asked = [Gate(metric="accuracy", minimum=0.7), Gate(metric="accuracy", notWorseThanServingBy=0.02)]
    alone, compared = verdict("minimum", "Passed"), verdict("notWorseThanServingBy", "Passed")
    assert list(left_out(asked, [alone])) == ["Left out: accuracy notWorseThanServingBy 0.02: nothing served beside it"]
    assert list(left_out(asked, [alone, compared])) == []
    assert list(left_out(asked, [])) == [], "not judged yet, or by no gate"


def test_slices_are_listed_worst_first_and_those_that_were_not_judged_are_said_aloud() -> None:
    worst = SliceVerdict(name="city=Jena", rows=1812, estimate=0.5123, upper=0.5521, p=0.0003)
    lines = list(judged(verdict("minimumPerSlice", "Failed", SliceVerdicts(judged=14, not_judged=3, under=1, worst=[worst]))))
    assert lines[1] == "  city=Jena: 0.5123 on 1,812 rows, at most 0.5521, adjusted p 0.0003"
    assert lines[2] == "  and 13 judged slices more, in the store: status.measurements"
    assert lines[3] == "  NotJudged: 3 slices with too few rows"
