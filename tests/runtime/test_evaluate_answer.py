"""The longest result that the API allows still fits into one termination message, and loses words before it loses gates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perennial_runtime.contract import (
    MESSAGE_LIMIT,
    EvaluateResult,
    GateMeasurement,
    GateSpec,
    SliceFound,
    SlicesFound,
    SmallestClass,
    decode_answer,
    encode_answer,
    unpacked,
)
from perennial_runtime.evaluate_answer import fitted
from perennial_runtime.evaluate_slices import NAME_LENGTH

BY_SLICE = tuple(GateSpec(metric, minimum_per_slice=0.512345) for metric in ("roc_auc", "average_precision", "accuracy"))
OTHERS = (
    GateSpec("average_precision", not_worse_than_serving_by=0.012345),
    GateSpec("calibration_error", maximum=0.012345),
    GateSpec("latency_p99_ms", maximum=1234.5),
    GateSpec("model_bytes", maximum=536_870_912),
    GateSpec("data_age_hours", maximum=876_543.2),
)
NAMED = SliceFound("c" * NAME_LENGTH, 1_000_000_000, 0.1234, 0.5678, 0.000123)
SLICES = SlicesFound(80, 79, 78, (NAMED,) * 3, f"{NAMED.name} (1000000000 rows)", 1_000_000_000)


def measured(gate: GateSpec) -> GateMeasurement:
    slices = SLICES if gate in BY_SLICE else None
    if gate.metric in ("model_bytes", "data_age_hours"):
        value = 536_870_911.0 if gate.metric == "model_bytes" else 123_456.789012
        return GateMeasurement(gate.metric, gate.kind, gate.limit, value, value, value, 0)
    low, value, high = (
        (0.123456, 0.234567, 0.999999) if gate.metric != "latency_p99_ms" else (1123.456789, 1234.567891, 2345.678912)
    )
    return GateMeasurement(gate.metric, gate.kind, gate.limit, value, low, high, 1_000_000_000, slices)


def longest(*gates: GateSpec) -> EvaluateResult:
    digest = "f" * 64
    return EvaluateResult(
        digest, digest, 536_870_912, 0.000123, 1_000_000_000, 1_000_000_000, tuple(map(measured, gates)), digest, digest,
        evidence=digest,
    )  # fmt: skip


def test_eight_gates_with_all_that_can_be_told_of_them_fit() -> None:
    gates = (*BY_SLICE, *OTHERS)
    sent = fitted(longest(*gates), gates, requests=4000)
    assert len(encode_answer(sent).encode()) <= MESSAGE_LIMIT
    assert encode_answer(decode_answer(encode_answer(sent))) == encode_answer(sent), "nor is it longer out of the store"
    found = unpacked(sent, gates).gates
    assert [(one.metric, one.kind) for one in found] == [(gate.metric, gate.kind) for gate in gates]
    assert [one.slices.under for one in found if one.slices] == [78, 78, 78]
    assert {one.metric: one.estimate for one in found}["model_bytes"] == 536_870_911


def test_one_gate_by_slice_keeps_the_longest_names_of_its_two_worst_slices() -> None:
    sent = fitted(longest(BY_SLICE[0]), BY_SLICE[:1])
    (gate,) = unpacked(sent, BY_SLICE[:1]).gates
    assert gate.slices is not None
    assert [one.name for one in gate.slices.told] == [NAMED.name] * 2


def with_class(result: EvaluateResult, name: str) -> EvaluateResult:
    return replace(result, gates=tuple(replace(gate, smallest=SmallestClass(name, 12)) for gate in result.gates))


def test_undecided_gate_names_its_smallest_class_and_a_decided_one_does_not() -> None:
    undecided, decided = GateSpec("roc_auc", minimum=0.2), GateSpec("roc_auc", not_worse_than_serving_by=0.1)
    (first, second) = fitted(with_class(longest(undecided, decided), "cancelled"), (undecided, decided)).gates
    assert first.needed_rows > 0
    assert first.smallest == SmallestClass("cancelled", 12)
    assert (second.needed_rows, second.smallest) == (0, None)


FOUR = (
    GateSpec("roc_auc", minimum=0.2),
    GateSpec("roc_auc", not_worse_than_serving_by=0.4),
    GateSpec("accuracy", minimum=0.2),
    GateSpec("log_loss", maximum=0.2),
)


@pytest.mark.parametrize(
    ("name", "told"),
    [("late", "late"), ("c" * 63, "c" * 63), ("\u4e2d" * 63, "\u4e2d" * 13 + "...")],
    ids=["short", "long", "long, and six bytes a sign"],
)
def test_name_of_a_class_is_cut_only_where_it_does_not_fit(name: str, told: str) -> None:
    sent = fitted(with_class(longest(*FOUR), name), FOUR)
    assert len(encode_answer(sent).encode()) <= MESSAGE_LIMIT
    assert unpacked(sent, FOUR).gates[0].smallest == SmallestClass(told, 12)


def test_eight_gates_with_a_class_that_takes_the_most_bytes_fit() -> None:
    gates = (*BY_SLICE, *OTHERS)
    sent = fitted(with_class(longest(*gates), "\U0001f600" * 63), gates, requests=4000)
    assert len(encode_answer(sent).encode()) <= MESSAGE_LIMIT
    assert len(unpacked(sent, gates).gates) == 8


def test_two_gates_keep_their_names_in_the_message() -> None:
    assert [gate.metric for gate in fitted(longest(*OTHERS[:2]), OTHERS[:2]).gates] == ["average_precision", "calibration_error"]
