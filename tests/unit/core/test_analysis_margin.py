"""The swapped test, the one-sample test and the dispersion guard: exact enumeration, resumption, and what they refuse."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.api.rollout_status import MarginState, RateState
from perennial.core import analysis
from perennial.core.analysis import Block, Dispersion, EProcess, RateTest
from perennial.core.analysis.dispersion import LARGEST_FACTOR, PRIOR, PRIOR_BATCHES
from perennial.core.analysis.margin import ERROR, bets
from unit.core.test_analysis import SLACK, binomial_law, conditional_law, e_value, odds_times

SHAPES = ((1, 1), (1, 6), (3, 4), (7, 2), (6, 6))


def shown_after(margin: float, *blocks: Block) -> EProcess:
    state = analysis.start_margin(margin)
    for block in blocks:
        state = analysis.advance_margin(state, block)
    return state


@pytest.mark.parametrize("margin", [1.1, 1.5, 2.0, 10.0])
@pytest.mark.parametrize("over", [1.0, 1.3, 4.0])
def test_every_factor_has_mean_at_most_one_while_the_candidate_is_at_or_over_the_margin(margin: float, over: float) -> None:
    for n1, n0 in SHAPES:
        for s in range(n1 + n0 + 1):
            means = [0.0] * len(bets(margin))
            for k, probability in conditional_law(n1, n0, s, margin * over).items():
                for index, value in enumerate(shown_after(margin, Block(n1, k, n0, s - k)).log_s):
                    means[index] += probability * math.exp(value)
            assert max(means) <= 1.0 + SLACK
            if over == 1.0:
                assert min(means) >= 1.0 - 1e-7, "at the margin no power is given away"


def test_a_version_at_the_margin_is_seldom_taken_for_one_under_it_with_a_look_after_every_pair() -> None:
    """Ville's inequality, enumerated: candidate 2 of 3 bad, stable 1 of 2, an odds ratio of 2."""
    alive: dict[EProcess, float] = {analysis.start_margin(2.0): 1.0}
    shown = 0.0
    for _ in range(8):
        following: dict[EProcess, float] = {}
        for state, reached in alive.items():
            for s1, p1 in binomial_law(1, 2 / 3).items():
                for s0, p0 in binomial_law(1, 1 / 2).items():
                    after = analysis.advance_margin(state, Block(1, s1, 1, s0))
                    if analysis.is_shown(after):
                        shown += reached * p1 * p0
                    else:
                        following[after] = following.get(after, 0.0) + reached * p1 * p0
        alive = following
    assert shown <= ERROR
    assert math.fsum(alive.values()) == pytest.approx(1.0 - shown)


def test_bets_lie_between_the_margin_and_twice_as_good() -> None:
    for margin in (1.01, 1.5, 10.0):
        ratios = bets(margin)
        assert 1.0 / margin < ratios[0] < 1.0
        assert ratios[-1] == pytest.approx(2.0)


def test_the_upper_bound_is_under_the_margin_once_it_is_shown_and_falls_with_more_answers() -> None:
    few, some, many = (shown_after(2.0, *[Block(500, 25, 500, 25)] * number) for number in (1, 8, 60))
    assert analysis.upper_bound(few) is None
    assert not analysis.is_shown(few)
    bounds = [analysis.upper_bound(state) for state in (some, many)]
    assert bounds[0] is not None
    assert bounds[1] is not None
    assert 1.0 < bounds[1] < bounds[0] < 2.0


def test_the_bound_is_refuted_by_an_e_process_of_its_own() -> None:
    """What the 32 bets say of a ratio between is close to what a test with that margin would say."""
    blocks = [Block(500, 25, 500, 25)] * 20
    bound = analysis.upper_bound(shown_after(2.0, *blocks))
    assert bound is not None
    assert analysis.is_shown(shown_after(bound * 1.1, *blocks))


def test_nothing_is_shown_without_a_bad_answer() -> None:
    assert analysis.log_e(shown_after(2.0, *[Block(10_000, 0, 10_000, 0)] * 50)) == 0.0


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.0999, 0.1])
def test_the_one_sample_test_has_mean_at_most_one_up_to_the_objective(p: float) -> None:
    for n in (1, 5, 20):
        means = [0.0] * 32
        for s, probability in binomial_law(n, p).items():
            for index, value in enumerate(analysis.advance_rate(analysis.start_rate(0.1, 0.0), n, s, 0.0).mixture.log_s):
                means[index] += probability * math.exp(value)
        assert max(means) <= 1.0 + SLACK
        if p == 0.1:
            assert min(means) >= 1.0 - 1e-6


def test_the_one_sample_test_stays_at_most_one_over_blocks_and_starts() -> None:
    states: dict[RateTest, float] = {analysis.start_rate(0.2, 40.0): 1.0}
    for n, rate, elapsed in ((3, 0.2, 1.0), (2, 0.05, 14.0), (4, 0.2, 31.0)):
        following: dict[RateTest, float] = {}
        for test, reached in states.items():
            for s, probability in binomial_law(n, rate).items():
                after = analysis.advance_rate(test, n, s, elapsed)
                following[after] = following.get(after, 0.0) + reached * probability
        states = following
        assert math.fsum(p * math.exp(test.log_e) for test, p in states.items()) <= 1.0 + SLACK


@pytest.mark.parametrize("factor", [1.5, 4.0, LARGEST_FACTOR])
def test_a_tempered_test_keeps_its_guarantee(factor: float) -> None:
    candidate, stable = binomial_law(4, odds_times(0.1, 1.25)), binomial_law(7, 0.1)
    mean = math.fsum(
        p1 * p0 * e_value(analysis.advance(analysis.start(1.25, 60.0), Block(4, s1, 7, s0), 0.0, factor))
        for s1, p1 in candidate.items()
        for s0, p0 in stable.items()
    )
    assert mean <= 1.0 + SLACK
    harm = Block(100, 40, 100, 5)
    tempered = analysis.log_e(analysis.advance(analysis.start(1.0, 0.0), harm, 0.0, factor))
    assert 0.0 < tempered < analysis.log_e(analysis.advance(analysis.start(1.0, 0.0), harm, 0.0))


def dispersion_of(*batches: tuple[int, int]) -> Dispersion:
    state = Dispersion()
    for number, (total, bad) in enumerate(batches, 1):
        state = analysis.counted(state, total, bad, 10.0 * number)
    return state


def test_the_variance_factor_is_pearsons_over_closed_batches() -> None:
    batches = [(100, 0), (100, 20), (200, 5), (100, 0), (50, 15), (100, 10)]
    n, s = sum(t for t, _ in batches), sum(b for _, b in batches)
    p = s / n
    pearson = sum((bad - total * p) ** 2 / (total * p * (1.0 - p)) for total, bad in batches)
    drawn = (pearson + PRIOR_BATCHES * PRIOR) / (len(batches) - 1 + PRIOR_BATCHES)
    assert analysis.variance_factor(dispersion_of(*batches)) == pytest.approx(drawn)
    assert pearson / 5 > drawn > PRIOR


def test_the_variance_factor_is_the_prior_while_nothing_is_known_falls_without_dispersion_and_is_capped() -> None:
    assert analysis.variance_factor(Dispersion()) == PRIOR
    assert analysis.variance_factor(dispersion_of((100, 5))) == PRIOR
    assert analysis.variance_factor(dispersion_of(*[(100, 0)] * 9)) == PRIOR
    assert analysis.variance_factor(dispersion_of(*[(100, 5)] * 90)) == 1.0
    assert analysis.variance_factor(dispersion_of(*[(10_000, 0), (10_000, 9_000)] * 9)) == LARGEST_FACTOR


def test_looks_at_every_second_make_batches_of_ten_seconds() -> None:
    state = Dispersion()
    for second in range(1, 66):
        state = analysis.counted(state, 10, 1, float(second))
    assert state.batches == 6
    assert (state.total, state.bad, state.open_total) == (600, 60, 50)


@settings(deadline=None)
@given(blocks=st.lists(st.tuples(st.integers(1, 90), st.integers(0, 30), st.integers(1, 90), st.integers(0, 9)), max_size=6))
def test_an_operator_that_comes_back_has_the_same_tests_to_the_last_bit(blocks: list[tuple[int, int, int, int]]) -> None:
    margin, rate, dispersion = analysis.start_margin(1.7), analysis.start_rate(0.02, 95.0), Dispersion()
    for second, (n1, s1, n0, s0) in enumerate(blocks, 1):
        block = Block(n1, min(n1, s1), n0, min(n0, s0))
        margin = analysis.advance_margin(margin, block)
        rate = analysis.advance_rate(rate, n0, min(n0, s0), 9.0 * second)
        dispersion = analysis.counted(dispersion, n0, min(n0, s0), 9.0 * second)
    margin_text = json.dumps(analysis.save_margin(1.7, margin).model_dump(by_alias=True), allow_nan=False)
    rate_text = json.dumps(analysis.save_rate(rate, "2026-01-01T00:00:00.000Z").model_dump(by_alias=True), allow_nan=False)
    back = analysis.resume_margin(MarginState.model_validate_json(margin_text))
    assert back.mixture == margin.mixture
    assert analysis.resume_rate(RateState.model_validate_json(rate_text), 0.02) == rate
    assert analysis.resume_dispersion(json.loads(json.dumps(analysis.save_dispersion(dispersion)))) == dispersion
    more = Block(10, 1, 90, 3)
    assert analysis.advance_margin(back, more).log_s == analysis.advance_margin(margin, more).log_s


def test_states_that_nobody_can_have_saved_start_the_tests_again() -> None:
    assert analysis.resume_margin(MarginState(margin=2.0, log_s=[math.nan] * 32)) == analysis.start_margin(2.0)
    odd = RateState(since="2026-01-01T00:00:00Z", log_s=[0.0] * 32, total=3, bad=4)
    assert analysis.resume_rate(odd, 0.1) == analysis.start_rate(0.1, 0.0)
    assert analysis.resume_dispersion([1.0]) == Dispersion()
    assert analysis.resume_dispersion([-1.0] * 7) == Dispersion()


@pytest.mark.parametrize("margin", [1.0, 0.5, 10.1, math.nan, math.inf])
def test_refuses_a_margin_that_cannot_be(margin: float) -> None:
    with pytest.raises(ValueError, match="found"):
        analysis.start_margin(margin)


@pytest.mark.parametrize("max_rate", [0.0, 1.0, -0.1, math.nan])
def test_refuses_an_objective_that_cannot_be(max_rate: float) -> None:
    with pytest.raises(ValueError, match="found"):
        analysis.start_rate(max_rate, 60.0)
