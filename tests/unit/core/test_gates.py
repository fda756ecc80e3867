"""Verdicts of the offline gates, from measurements made up here."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.api.evaluation import Gate
from perennial.core.gates import judge, measured_by, passes, span, spec_of
from perennial_runtime.contract import (
    EvaluateResult,
    GateMeasurement,
    SliceFound,
    SlicesFound,
    SmallestClass,
    decode_answer,
    encode_answer,
    packed,
)

MINIMUM = Gate(metric="roc_auc", minimum=0.7)
NOT_WORSE = Gate(metric="roc_auc", not_worse_than_serving_by=0.01)


def measured(lower: float, upper: float, kind: str = "minimum", limit: float = 0.7, needed: int = 0) -> GateMeasurement:
    return GateMeasurement("roc_auc", kind, limit, (lower + upper) / 2, lower, upper, needed)


def result(*gates: GateMeasurement, champion: str | None = None) -> EvaluateResult:
    return EvaluateResult("identity", "bento", 1, 1e-6, 2000, 0, gates, champion)


def test_passes_when_the_lower_bound_reaches_the_minimum() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.7, 0.8)))
    assert verdict.verdict == "Passed"
    assert verdict.message == "roc_auc 0.7500 (from 0.7000 to 0.8000, one-sided 95 % bounds) reaches the minimum 0.7"


def test_fails_when_the_upper_bound_is_under_the_minimum() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.6, 0.69)))
    assert verdict.verdict == "Failed"
    assert "is under the minimum 0.7" in verdict.message


def test_a_good_estimate_with_a_low_bound_is_undecided_and_tells_the_rows_it_takes() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.69, 0.80, needed=2400)))
    assert verdict.verdict == "Undecided"
    assert "about 2400 holdout rows are needed" in verdict.message


def test_an_undecided_gate_of_several_classes_names_the_smallest_of_them() -> None:
    few = replace(measured(0.69, 0.80, needed=2400), smallest=SmallestClass("cancelled", 12))
    (verdict,) = judge([MINIMUM], result(few))
    assert "about 2400 holdout rows are needed, and its smallest class, 'cancelled', has 12" in verdict.message
    (decided,) = judge([MINIMUM], result(replace(few, lower=0.71)))
    assert "cancelled" not in decided.message


def test_the_smallest_class_comes_through_a_packed_message_and_one_without_it_is_read() -> None:
    gates = [spec_of(MINIMUM)]
    few = result(replace(measured(0.69, 0.80, needed=2400), smallest=SmallestClass("cancelled", 12)))
    for sent in (few, packed(few, gates)):
        answer = decode_answer(encode_answer(sent))
        assert isinstance(answer, EvaluateResult)
        assert measured_by(answer, gates).gates == few.gates
    plain = result(measured(0.69, 0.80, needed=2400))
    assert "smallest" not in encode_answer(packed(plain, gates))
    assert measured_by(packed(plain, gates), gates).gates[0].smallest is None


def test_an_upper_bound_on_the_limit_is_not_yet_a_failure() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.6, 0.7, needed=10)))
    assert verdict.verdict == "Undecided"


def test_a_value_on_the_limit_promises_no_number_of_rows() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.69, 0.71, needed=1_000_000_000)))
    assert "more holdout rows would hardly decide it" in verdict.message


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [(-0.01, 0.02, "Passed"), (-0.05, -0.011, "Failed"), (-0.02, 0.001, "Undecided")],
)
def test_compares_with_the_serving_version_against_minus_the_margin(lower: float, upper: float, expected: str) -> None:
    comparison = measured(lower, upper, "notWorseThanServingBy", -0.01, needed=50)
    (verdict,) = judge([NOT_WORSE], result(comparison, champion="other"))
    assert verdict.verdict == expected
    assert "against the version that serves" in verdict.message


def test_a_comparison_has_no_verdict_while_nothing_serves() -> None:
    verdicts = judge([MINIMUM, NOT_WORSE], result(measured(0.7, 0.8)))
    assert [verdict.kind for verdict in verdicts] == ["minimum"]


def test_a_comparison_that_was_not_measured_beside_a_champion_fails() -> None:
    (verdict,) = judge([NOT_WORSE], result(champion="other"))
    assert verdict.verdict == "Failed"
    assert "was not measured" in verdict.message


def test_a_minimum_that_was_not_measured_fails() -> None:
    (verdict,) = judge([MINIMUM], result(replace(measured(0.9, 0.95), metric="accuracy")))
    assert verdict.verdict == "Failed"


def test_two_minimums_of_one_metric_are_judged_apart() -> None:
    stricter = Gate(metric="roc_auc", minimum=0.9)
    verdicts = judge([MINIMUM, stricter], result(measured(0.7, 0.8), measured(0.7, 0.8, limit=0.9)))
    assert [verdict.verdict for verdict in verdicts] == ["Passed", "Failed"]


def test_every_gate_is_judged_even_when_the_first_failed() -> None:
    accuracy = Gate(metric="accuracy", minimum=0.5)
    verdicts = judge([MINIMUM, accuracy], result(measured(0.1, 0.2), replace(measured(0.6, 0.7, limit=0.5), metric="accuracy")))
    assert [verdict.verdict for verdict in verdicts] == ["Failed", "Passed"]


# ---- maximum -----------------------------------------------------------------------------------------------------------------

CALIBRATION = Gate(metric="calibration_error", maximum=0.05)


def off(lower: float, upper: float, metric: str = "calibration_error", limit: float = 0.05) -> GateMeasurement:
    return replace(measured(lower, upper, "maximum", limit, needed=2400), metric=metric)


@pytest.mark.parametrize(
    ("lower", "upper", "expected", "words"),
    [
        (0.01, 0.05, "Passed", "keeps the maximum 0.05"),
        (0.051, 0.09, "Failed", "is over the maximum 0.05"),
        (0.05, 0.09, "Undecided", "about 2400 holdout rows are needed"),
    ],
)
def test_a_maximum_is_the_mirror_image_of_a_minimum(lower: float, upper: float, expected: str, words: str) -> None:
    (verdict,) = judge([CALIBRATION], result(off(lower, upper)))
    assert verdict.verdict == expected
    assert words in verdict.message


def test_a_size_is_told_without_bounds_and_with_its_unit() -> None:
    (verdict,) = judge(
        [Gate(metric="model_bytes", maximum=1_000_000)], result(off(2_000_000, 2_000_000, "model_bytes", 1_000_000))
    )
    assert verdict.verdict == "Failed"
    assert verdict.message == "model_bytes 2,000,000 bytes is over the maximum 1,000,000"


def test_stale_data_is_told_in_hours() -> None:
    (verdict,) = judge([Gate(metric="data_age_hours", maximum=48)], result(off(70.25, 70.25, "data_age_hours", 48)))
    assert verdict.message == "data_age_hours 70.2 hours is over the maximum 48"


def test_a_latency_that_is_undecided_is_not_told_to_need_rows() -> None:
    (verdict,) = judge([Gate(metric="latency_p99_ms", maximum=20)], result(off(18, 22, "latency_p99_ms", 20)))
    assert verdict.verdict == "Undecided"
    assert "on a node with less else to do" in verdict.message
    assert "rows" not in verdict.message


def test_a_maximum_that_was_not_measured_fails() -> None:
    (verdict,) = judge([CALIBRATION], result())
    assert (verdict.verdict, verdict.kind, verdict.limit) == ("Failed", "maximum", 0.05)


# ---- slices ------------------------------------------------------------------------------------------------------------------

BY_SLICE = Gate(metric="accuracy", minimum_per_slice=0.6)
JENA = SliceFound("city=Jena", 812, 0.5123, 0.5521, 0.0003)
ULM = SliceFound("city=Ulm", 700, 0.59, 0.63, 0.4)


def sliced(found: SlicesFound) -> GateMeasurement:
    return GateMeasurement("accuracy", "minimumPerSlice", 0.6, 0.5123, 0.48, 0.5521, 0, found)


def test_a_model_that_is_worse_on_one_slice_fails_with_the_numbers_of_that_slice() -> None:
    (verdict,) = judge([BY_SLICE], result(sliced(SlicesFound(14, 3, 1, (JENA, ULM), "city=Hof (12 rows)", rest=5))))
    assert verdict.verdict == "Failed"
    assert verdict.message == (
        "accuracy by slice: 1 of 14 are under the minimum 0.6: city=Jena 0.5123 (at most 0.5521, 812 rows, adjusted p 0.0003); "
        "3 not judged for too few rows, the largest of them city=Hof (12 rows); 5 rarer values were not looked at"
    )
    assert verdict.slices is not None
    assert (verdict.slices.judged, verdict.slices.not_judged, verdict.slices.worst[0].name) == (14, 3, "city=Jena")


def test_slices_pass_when_none_is_shown_to_be_under_and_the_nearest_is_named() -> None:
    (verdict,) = judge([BY_SLICE], result(sliced(SlicesFound(14, 0, 0, (ULM,)))))
    assert verdict.verdict == "Passed"
    assert "none of 14 is shown to be under the minimum 0.6, nearest to it city=Ulm 0.5900" in verdict.message


@pytest.mark.parametrize(("allowed", "through"), [("refuse", False), ("pass", True)])
def test_slices_that_are_all_too_small_are_not_judged_and_pass_only_where_that_is_allowed(
    allowed: Literal["refuse", "pass"], through: bool
) -> None:
    gate = BY_SLICE.model_copy(update={"on_undecided": allowed})
    (verdict,) = judge([gate], result(sliced(SlicesFound(0, 4, 0, (), "city=Ulm (30 rows)"))))
    assert verdict.verdict == "NotJudged"
    assert "none of 4 slices has enough rows" in verdict.message
    assert "city=Ulm (30 rows): lower evaluation.slices.minimumRows or add data" in verdict.message
    assert passes([gate], verdict) is through


def test_the_longest_message_of_slices_fits_into_the_status() -> None:
    long = SliceFound("c=" + "x" * 46, 1_000_000_000, 0.1234, 0.1234, 0.00012)
    (verdict,) = judge([BY_SLICE], result(sliced(SlicesFound(80, 80, 80, (long,) * 3, long.name, 999_999_999))))
    assert len(verdict.message) <= 512


# ---- what goes with a verdict ------------------------------------------------------------------------------------------------


def test_the_trainers_claim_stands_beside_what_was_measured() -> None:
    (verdict,) = judge([MINIMUM], result(measured(0.48, 0.53)), {"roc_auc": 0.99})
    assert verdict.verdict == "Failed"
    assert verdict.message.endswith("is under the minimum 0.7; its trainer claims 0.9900")


def test_an_undecided_gate_passes_only_where_its_own_gate_allows_it() -> None:
    lenient = Gate(metric="roc_auc", minimum=0.9, on_undecided="pass")
    verdicts = judge([MINIMUM, lenient], result(measured(0.65, 0.75, needed=9), measured(0.85, 0.95, limit=0.9, needed=9)))
    assert [verdict.verdict for verdict in verdicts] == ["Undecided", "Undecided"]
    assert [passes([MINIMUM, lenient], verdict) for verdict in verdicts] == [False, True]


def test_packed_measurements_are_judged_as_they_were() -> None:
    gates = [MINIMUM, CALIBRATION, BY_SLICE]
    whole = result(measured(0.7, 0.8), off(0.06, 0.09), sliced(SlicesFound(2, 0, 1, (JENA,))))
    asked = [spec_of(gate) for gate in gates]
    sent = decode_answer(encode_answer(packed(whole, asked)))
    assert isinstance(sent, EvaluateResult)
    assert judge(gates, measured_by(sent, asked)) == judge(gates, whole)


def test_packed_measurements_of_other_gates_are_none() -> None:
    sent = packed(result(measured(0.7, 0.8)), [spec_of(MINIMUM)])
    (verdict,) = judge([MINIMUM], measured_by(sent, []))
    assert verdict.verdict == "Failed"
    assert "was not measured" in verdict.message


def test_a_result_of_an_older_release_is_judged_as_before() -> None:
    older = (
        '{"evaluate":{"bento":"b","bento_bytes":1,"dropped_rows":0,"gates":[{"estimate":0.75,"kind":"minimum","limit":0.7,'
        '"lower":0.7,"metric":"roc_auc","needed_rows":0,"upper":0.8}],"holdout_rows":2000,"identity":"i","parity":1e-06}}'
    )
    found = decode_answer(older)
    assert isinstance(found, EvaluateResult)
    assert judge([MINIMUM], measured_by(found, [spec_of(MINIMUM)]))[0].verdict == "Passed"


def test_an_error_in_the_labels_unit_is_told_with_significant_digits_whatever_its_size() -> None:
    gates = (Gate(metric="rmse", maximum=20), Gate(metric="mae", not_worse_than_serving_by=1500))
    found = [
        GateMeasurement("rmse", "maximum", 20, 18.34567, 17.91234, 18.88888, 0),
        GateMeasurement("mae", "notWorseThanServingBy", -1500, -123456.7, -130000.1, -110000.2, 0),
    ]
    rmse, mae = judge(gates, result(*found), {"rmse": 12.345678})
    assert rmse.message == (
        "rmse 18.346 (from 17.912 to 18.889, one-sided 95 % bounds) keeps the maximum 20; its trainer claims 12.346"
    )
    assert mae.message == (
        "mae against the version that serves: worse by 123,457 (from 110,000 to 130,001, one-sided 95 % bounds) "
        "is over the margin 1,500"
    )
    assert mae.verdict == "Failed"


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (0.001, 0.04, "better by 0.0205 (from 0.0010 to 0.0400, one-sided 95 % bounds) keeps the margin 0.01"),
        (-0.009, 0.003, "worse by 0.0030 (from -0.0030 to 0.0090, one-sided 95 % bounds) keeps the margin 0.01"),
        (-0.03, -0.02, "worse by 0.0250 (from 0.0200 to 0.0300, one-sided 95 % bounds) is over the margin 0.01"),
        (-0.02, 0.0, "worse by 0.0100 (from 0.0000 to 0.0200, one-sided 95 % bounds) does not decide the margin 0.01"),
        (-0.02, 0.03, "better by 0.0050 (from -0.0200 to 0.0300, one-sided 95 % bounds) does not decide the margin 0.01"),
    ],
)
@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_comparison_is_told_in_the_same_words_of_scores_and_of_errors(
    metric: str, lower: float, upper: float, words: str
) -> None:
    gate = Gate(metric=metric, not_worse_than_serving_by=0.01)
    comparison = replace(measured(lower, upper, "notWorseThanServingBy", -0.01), metric=metric)
    (verdict,) = judge([gate], result(comparison, champion="other"))
    assert verdict.message.startswith(f"{metric} against the version that serves: {words}")
    assert (verdict.lower, verdict.limit) == (lower, -0.01), "the numbers of the status stay what they were"


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([".3f", ".4f", ",.0f", ".5g"]))
def test_bounds_are_told_rounded_outwards_and_by_less_than_the_last_digit(value: float, layout: str) -> None:
    lower, upper = (
        float(text.replace(",", "")) for text in span(value, value, layout).strip("()").removeprefix("from ").split(" to ")
    )
    assert lower <= value <= upper
    nearest = float(f"{value:{layout}}".replace(",", ""))
    assert nearest in (lower, upper)


@pytest.mark.parametrize(
    ("lower", "upper", "layout", "told"),
    [
        (0.9097, 0.91, ".4f", "(from 0.9097 to 0.9100)"),
        (0.909688, 0.910012, ".4f", "(from 0.9096 to 0.9101)"),
        (2.4107, 2.603043, ".5g", "(from 2.4107 to 2.6031)"),
        (-0.00001, 0.00001, ".4f", "(from -0.0001 to 0.0001)"),
        (9.99999, 99999.2, ".5g", "(from 9.9999 to 1e+05)"),
        (0.0, float("inf"), ".4f", "(from 0.0000 to inf)"),
    ],
)
def test_what_bounds_look_like(lower: float, upper: float, layout: str, told: str) -> None:
    assert span(lower, upper, layout) == told
