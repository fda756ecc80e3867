"""Verdicts, the split of the error budget, the numbers for people, and the way through the status and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.api.rollout_status import MetricState
from perennial.core.analysis import (
    Block,
    Breach,
    Clear,
    Continue,
    EProcess,
    advance,
    evidence,
    judge,
    judge_crashes,
    log_e,
    resume,
    save,
    shown,
    split_alpha,
    start,
)
from perennial.core.analysis.evidence import more_bad, odds_ratio

BLOCKS = st.builds(
    lambda n1, n0, x, y: Block(n1, round(n1 * x), n0, round(n0 * y)),
    st.integers(0, 400), st.integers(0, 400), st.floats(0, 1), st.floats(0, 0.3),
)  # fmt: skip


def after(*blocks: Block, planned: float = 600.0, tolerance: float = 1.0) -> EProcess:
    state = start(tolerance, planned)
    for second, block in enumerate(blocks, 1):
        state = advance(state, block, float(second))
    return state


def test_breaches_when_e_reaches_one_over_alpha() -> None:
    state = after(*[Block(10, 3, 90, 0)] * 4)
    at = math.exp(-log_e(state))
    assert isinstance(judge("errors", state, at * 1.001), Breach)
    assert not isinstance(judge("errors", state, at * 0.999), Breach)


def test_passes_under_the_root_of_the_threshold_only() -> None:
    state = after(Block(10, 2, 90, 1))
    at = math.exp(-2.0 * log_e(state))
    assert log_e(state) > 0.0
    assert isinstance(judge("errors", state, at * 1.01), Continue)
    assert isinstance(judge("errors", state, at * 0.99), Clear)


def test_passes_when_nothing_is_known() -> None:
    assert isinstance(judge("errors", start(1.0, 600.0), 0.005), Clear)


def test_a_breach_tells_the_numbers_behind_it() -> None:
    verdict = judge("errors", after(*[Block(10, 4, 90, 1)] * 5), 0.005)
    assert isinstance(verdict, Breach)
    assert verdict.reason == "CanaryWorse"
    assert verdict.message.startswith("errors: candidate 20 bad of 50, stable 5 of 450; odds ratio 59.3 (")
    assert "rolled back at 200" in verdict.message


@pytest.mark.parametrize(
    ("candidate", "stable", "breach"), [(0, 0, False), (1, 0, False), (2, 0, True), (5, 0, True), (2, 1, False), (0, 3, False)]
)
def test_two_crashes_of_the_candidate_alone_are_a_breach(candidate: int, stable: int, breach: bool) -> None:
    verdict = judge_crashes(candidate, stable)
    assert (verdict is not None) == breach
    if verdict is not None:
        assert verdict.reason == "CanaryCrashing"


def test_without_a_shadow_stage_the_whole_budget_is_the_canarys() -> None:
    assert split_alpha(0.01, {"errors": 1, "slow": 1}) == pytest.approx({"errors": 0.005, "slow": 0.005})


def test_with_a_shadow_stage_a_fifth_is_kept_for_it() -> None:
    assert split_alpha(0.01, {"errors": 3, "slow": 1}, shadow=True) == pytest.approx({"errors": 0.006, "slow": 0.002})


@settings(deadline=None)
@given(
    rate=st.floats(0.0001, 0.2),
    weights=st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0.01, 100), min_size=1, max_size=8),
    shadow=st.booleans(),
)
def test_the_shares_never_add_up_to_more_than_the_budget(rate: float, weights: dict[str, float], shadow: bool) -> None:
    assert math.fsum(split_alpha(rate, weights, shadow=shadow).values()) <= rate * (1.0 + 1e-12)


@pytest.mark.parametrize(
    ("rate", "weights"), [(0.0, {"a": 1.0}), (1.0, {"a": 1.0}), (0.01, {}), (0.01, {"a": 0.0}), (0.01, {"a": math.nan})]
)
def test_refuses_a_budget_that_cannot_be_split(rate: float, weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="found"):
        split_alpha(rate, weights)


def test_the_odds_ratio_of_one_block_is_the_cross_product() -> None:
    ratio = odds_ratio(after(Block(100, 10, 900, 30)))
    assert ratio is not None
    assert ratio.method == "mantel-haenszel"
    assert ratio.estimate == pytest.approx((10 * 870) / (90 * 30))
    woolf = math.sqrt(1 / 10 + 1 / 90 + 1 / 30 + 1 / 870)
    assert math.log(ratio.high / ratio.estimate) == pytest.approx(1.96 * woolf, rel=0.01)
    assert ratio.estimate / ratio.low == pytest.approx(ratio.high / ratio.estimate)


def test_the_odds_ratio_does_not_take_a_moving_base_rate_for_harm() -> None:
    """Alike in each block; in the totals the candidate looks twice as bad, for it had most traffic in the bad minute."""
    state = after(Block(100, 1, 900, 9), Block(500, 100, 500, 100))
    ratio = odds_ratio(state)
    assert ratio is not None
    assert ratio.estimate == pytest.approx(1.0)
    assert ratio.low < 1.0 < ratio.high
    c = state.counts
    assert (c.candidate_bad / c.candidate_total) / (c.stable_bad / c.stable_total) > 2.0


def test_the_odds_ratio_is_finite_while_one_arm_has_no_bad_answer() -> None:
    ratio = odds_ratio(after(Block(50, 5, 450, 0)))
    assert ratio is not None
    assert ratio.method == "haldane-anscombe"
    assert math.isfinite(ratio.high)
    assert ratio.low > 1.0


def test_there_is_no_odds_ratio_before_both_arms_answered() -> None:
    assert odds_ratio(after(Block(0, 0, 450, 3))) is None
    assert shown("errors", evidence(after(Block(0, 0, 450, 3)), 0.005)).odds_ratio == ""


def test_so_many_more_bad_answers_end_it_and_one_fewer_does_not() -> None:
    state, alpha = after(*[Block(100, 1, 900, 9)] * 5), 0.005
    needed = more_bad(state, alpha)
    assert needed is not None
    assert 2 <= needed <= 40

    def with_bad(number: int) -> EProcess:
        later = state
        for _ in range(number):
            later = advance(later, Block(1_000_000, 1, 9_000_000, 0), 5.0)
        return later

    assert isinstance(judge("errors", with_bad(needed), alpha), Breach)
    assert not isinstance(judge("errors", with_bad(needed - 1), alpha), Breach)


def test_no_more_bad_answers_are_needed_after_a_breach_and_none_would_do_without_traffic() -> None:
    assert more_bad(after(*[Block(10, 9, 90, 0)] * 9), 0.005) == 0
    assert more_bad(start(1.0, 60.0), 0.005) is None
    assert more_bad(start(1.0, 60.0), 0.005, candidate_share=0.1) is not None
    assert more_bad(after(Block(10, 1, 90, 1)), 0.005, candidate_share=1.0) is None


def test_the_evidence_that_is_shown_is_plain_json_even_when_it_is_overwhelming() -> None:
    item = shown("errors", evidence(after(*[Block(500, 500, 500, 0)] * 9), 0.005))
    assert (item.alpha, item.alpha_used, item.guarantee) == (0.005, 1.0, "exact")
    assert item.e == 1e300
    assert item.threshold == 200.0
    assert item.candidate_bad == item.candidate_total == 4500
    json.dumps(item.model_dump(by_alias=True), allow_nan=False)


@settings(deadline=None)
@given(blocks=st.lists(BLOCKS, max_size=6), planned=st.sampled_from([0.0, 37.0, 600.0]), tolerance=st.sampled_from([1.0, 1.25]))
def test_an_operator_that_comes_back_has_the_same_e(blocks: list[Block], planned: float, tolerance: float) -> None:
    state = after(*blocks, planned=planned, tolerance=tolerance)
    text = json.dumps(save("errors", 0.005, state).model_dump(by_alias=True), allow_nan=False)
    back = resume(MetricState.model_validate_json(text), planned)
    assert back == state
    assert log_e(back) == log_e(state)
    assert save("errors", 0.005, back).model_dump_json() == save("errors", 0.005, state).model_dump_json()
    more = Block(10, 3, 90, 1)
    assert advance(back, more, 7.0) == advance(state, more, 7.0)


def test_a_state_that_nobody_can_have_saved_starts_the_test_again() -> None:
    saved = save("errors", 0.005, after(Block(10, 3, 90, 1)))
    broken: list[dict[str, Any]] = [
        {"log_s": []}, {"log_s": [1.0] * 31}, {"log_s": [math.nan] * 32}, {"log_s": [math.inf] * 32}, {"spent_epochs": 61},
        {"spent_epochs": -1}, {"candidate_bad": 11}, {"stable_total": -1}, {"strata": [1.0]},
    ]  # fmt: skip
    for change in broken:
        assert resume(saved.model_copy(update=change), 600.0) == start(1.0, 600.0)
    assert resume(saved.model_copy(update={"strata": []}), 600.0).log_s == tuple(saved.log_s)
