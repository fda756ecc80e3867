"""The e-process against exact enumeration: the guarantee is arithmetic, so it is checked as arithmetic."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.core.analysis import Block, EProcess, advance, log_e, start
from perennial.core.analysis.eprocess import RATIOS, odds_ratios, unspent
from perennial.core.analysis.hypergeometric import Margins, log_normalisers, mode

SLACK = 1e-9
"""Room for rounding in an inequality between sums of exponentials."""


def conditional_law(n1: int, n0: int, s: int, odds: float) -> dict[int, float]:
    """Fisher's noncentral hypergeometric law, by definition."""
    terms = {k: math.comb(n1, k) * math.comb(n0, s - k) * odds**k for k in range(max(0, s - n0), min(s, n1) + 1)}
    total = math.fsum(terms.values())
    return {k: term / total for k, term in terms.items()}


def binomial_law(n: int, p: float) -> dict[int, float]:
    return {k: math.comb(n, k) * p**k * (1.0 - p) ** (n - k) for k in range(n + 1)}


def odds_times(p: float, factor: float) -> float:
    """The probability whose odds are `factor` times those of p."""
    return factor * p / (1.0 - p + factor * p)


def factors(block: Block, tolerance: float) -> list[float]:
    """L(r) of one block for each r."""
    return [math.exp(value) for value in advance(start(tolerance, 0.0), block, 0.0).log_s]


def e_value(state: EProcess) -> float:
    return math.exp(log_e(state))


def test_is_one_before_anything_was_seen() -> None:
    for planned in (0.0, 5.0, 600.0, 86_400.0):
        assert log_e(start(1.0, planned)) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("tolerance", [1.0, 1.25, 3.0, 10.0])
@pytest.mark.parametrize("allowed", [0.3, 0.9, 1.0])
def test_every_factor_has_mean_at_most_one_while_the_candidate_is_within_the_tolerance(tolerance: float, allowed: float) -> None:
    for n1, n0 in ((1, 1), (1, 6), (3, 4), (7, 2), (6, 6)):
        for s in range(n1 + n0 + 1):
            law = conditional_law(n1, n0, s, tolerance * allowed)
            means = [0.0] * RATIOS
            for k, probability in law.items():
                for index, factor in enumerate(factors(Block(n1, k, n0, s - k), tolerance)):
                    means[index] += probability * factor
            assert max(means) <= 1.0 + SLACK
            if allowed == 1.0:
                assert min(means) >= 1.0 - 1e-7, "at the edge of the tolerance no power is given away"


@pytest.mark.parametrize("base_rate", [0.001, 0.05, 0.4, 0.95])
@pytest.mark.parametrize("tolerance", [1.0, 1.25])
def test_mean_is_at_most_one_whatever_the_base_rate(base_rate: float, tolerance: float) -> None:
    candidate, stable = binomial_law(4, odds_times(base_rate, tolerance)), binomial_law(7, base_rate)
    mean = math.fsum(
        p1 * p0 * e_value(advance(start(tolerance, 60.0), Block(4, s1, 7, s0), 0.0))
        for s1, p1 in candidate.items()
        for s0, p0 in stable.items()
    )
    assert mean <= 1.0 + SLACK


@pytest.mark.parametrize("tolerance", [1.0, 1.5])
def test_mean_stays_at_most_one_over_blocks_of_other_weight_and_base_rate(tolerance: float) -> None:
    shapes = ((1, 4, 0.02, 1.0), (3, 2, 0.6, 14.0), (2, 2, 0.2, 31.0))
    states = {start(tolerance, 40.0): 1.0}
    for n1, n0, rate, elapsed in shapes:
        following: dict[EProcess, float] = {}
        for state, reached in states.items():
            for s1, p1 in binomial_law(n1, odds_times(rate, tolerance)).items():
                for s0, p0 in binomial_law(n0, rate).items():
                    after = advance(state, Block(n1, s1, n0, s0), elapsed)
                    following[after] = following.get(after, 0.0) + reached * p1 * p0
        states = following
        assert math.fsum(p * e_value(state) for state, p in states.items()) <= 1.0 + SLACK


def test_ever_reaching_the_threshold_is_as_rare_as_promised_with_a_look_after_every_pair() -> None:
    """Ville's inequality, enumerated: all histories of seven looks at one answer of each arm, every answer a coin's."""
    alpha = 0.25
    alive: dict[EProcess, float] = {start(1.0, 0.0): 1.0}
    breached = 0.0
    for _ in range(7):
        following: dict[EProcess, float] = {}
        for state, reached in alive.items():
            for s1 in (0, 1):
                for s0 in (0, 1):
                    after = advance(state, Block(1, s1, 1, s0), 0.0)
                    if log_e(after) >= -math.log(alpha):
                        breached += reached / 4.0
                    else:
                        following[after] = following.get(after, 0.0) + reached / 4.0
        alive = following
    assert 0.0 < breached <= alpha


@settings(deadline=None)
@given(n1=st.integers(1, 300), n0=st.integers(1, 2_000), data=st.data(), tolerance=st.sampled_from([1.0, 1.25, 4.0]))
def test_more_bad_answers_of_the_candidate_never_lower_the_evidence(
    n1: int, n0: int, data: st.DataObject, tolerance: float
) -> None:
    s = data.draw(st.integers(0, min(n1, n0)))
    s1 = data.draw(st.integers(0, s))
    state = start(tolerance, 60.0)
    values = [log_e(advance(state, Block(n1, k, n0, s - k), 1.0)) for k in range(s1, min(s, s1 + 3) + 1)]
    assert all(low <= high + 1e-8 for low, high in pairwise(values))


@settings(deadline=None)
@given(
    block=st.sampled_from(
        [Block(), Block(100, 0, 900, 0), Block(0, 0, 900, 30), Block(50, 12, 0, 0), Block(4, 4, 9, 9), Block(7, 0, 0, 0)]
    ),
    elapsed=st.floats(0, 1_000),
)
def test_a_block_that_tells_nothing_changes_nothing_but_the_counts(block: Block, elapsed: float) -> None:
    before = advance(start(1.0, 600.0), Block(20, 3, 180, 2), 7.0)
    after = advance(before, block, elapsed)
    assert after.log_s == before.log_s
    assert log_e(after) == log_e(before)
    assert after.strata == before.strata
    assert after.counts == before.counts + block


def test_epochs_that_passed_without_traffic_enter_with_the_next_block_that_tells_something() -> None:
    telling = Block(20, 1, 180, 3)
    waited = advance(advance(start(1.0, 600.0), Block(), 95.0), telling, 100.0)
    at_once = advance(start(1.0, 600.0), telling, 100.0)
    assert waited.log_s == at_once.log_s
    assert waited.epochs_spent == at_once.epochs_spent == 11


def test_the_mixture_is_spent_to_the_end_of_the_plan_and_no_further() -> None:
    state = start(1.0, 95.0)
    assert unspent(state) == pytest.approx(0.5)
    telling = Block(20, 1, 180, 3)
    shares = []
    for elapsed in (1.0, 11.0, 12.0, 60.0, 95.0, 10_000.0):
        state = advance(state, telling, elapsed)
        shares.append(unspent(state))
    assert shares == pytest.approx([0.45, 0.4, 0.4, 0.15, 0.0, 0.0])


def test_a_clock_that_runs_backwards_spends_nothing_twice() -> None:
    state = advance(start(1.0, 100.0), Block(20, 1, 180, 3), 55.0)
    assert advance(state, Block(20, 1, 180, 3), 5.0).epochs_spent == state.epochs_spent


def test_finds_a_late_turn_sooner_with_the_mixture_over_start_times() -> None:
    def seconds_to_breach(planned: float) -> int:
        state = start(1.0, planned)
        for second in range(1, 400):
            bad = 1 if second > 300 else int(second % 10 == 0)
            state = advance(state, Block(10, bad, 90, 1), float(second))
            if log_e(state) >= math.log(100.0):
                return second - 300
        raise AssertionError("never found")

    assert 0 < seconds_to_breach(600.0) < seconds_to_breach(0.0) / 1.5


@pytest.mark.parametrize(("n1", "n0", "s"), [(5, 9, 4), (300, 2_700, 240), (50_000, 50_000, 5_000), (600, 9_400, 5_000)])
def test_normalising_sums_agree_with_exact_integers(n1: int, n0: int, s: int) -> None:
    odds = [Fraction(1), Fraction(5, 4), Fraction(3), Fraction(50)]
    found = log_normalisers(Margins(float(n1), float(n0), float(s)), [float(r) for r in odds])
    low, high = max(0, s - n0), min(s, n1)
    exact = []
    for r in odds:
        term = math.comb(n1, low) * math.comb(n0, s - low) * r.numerator**low * r.denominator ** (high - low)
        total = term
        for k in range(low, high):
            term = term * r.numerator * (n1 - k) * (s - k) // (r.denominator * (k + 1) * (n0 - s + k + 1))
            total += term
        exact.append(math.log(total) - math.log(r.denominator) * high)
    for one, other in pairwise(range(len(odds))):
        assert found[other] - found[one] == pytest.approx(exact[other] - exact[one], rel=1e-12, abs=1e-10)


@settings(deadline=None)
@given(n1=st.integers(1, 60), n0=st.integers(1, 60), data=st.data(), r=st.floats(1.0, 500.0))
def test_the_sum_starts_at_the_most_probable_count(n1: int, n0: int, data: st.DataObject, r: float) -> None:
    s = data.draw(st.integers(0, n1 + n0))
    law = conditional_law(n1, n0, s, r)
    assert law[int(mode(Margins(n1, n0, s), r))] == pytest.approx(max(law.values()), rel=1e-9)


@pytest.mark.parametrize(
    "block",
    [
        Block(5_000, 5_000, 5_000, 0),
        Block(50_000, 2_500, 50_000, 2_500),
        Block(9_999, 4_999, 9_999, 1),
        Block(5_000, 0, 5_000, 5_000),
    ],
)
def test_stays_finite_with_thousands_of_bad_answers_in_a_block(block: Block) -> None:
    state = advance(start(1.25, 600.0), block, 1.0)
    assert all(math.isfinite(value) for value in state.log_s)
    assert math.isfinite(log_e(advance(state, block, 2.0)))


def test_overwhelming_evidence_either_way_keeps_a_usable_logarithm() -> None:
    harm, good = start(1.0, 600.0), start(1.0, 600.0)
    for second in range(1, 61):
        harm = advance(harm, Block(500, 500, 500, 0), float(second))
        good = advance(good, Block(500, 0, 500, 500), float(second))
    assert log_e(harm) > 10_000.0
    assert 0.0 > log_e(good) >= math.log(unspent(good)), "what is not bet yet is never lost"


def test_a_look_each_second_costs_little() -> None:
    block, state = Block(1_000, 60, 9_000, 240), start(1.0, 600.0)
    fastest = math.inf
    for _ in range(20):
        began = time.perf_counter()
        advance(state, block, 1.0)
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.005


def test_bets_on_32_ratios_from_just_above_the_tolerance_to_50() -> None:
    ratios = odds_ratios(1.25)
    assert len(ratios) == RATIOS
    assert ratios[0] == pytest.approx(1.3125)
    assert ratios[-1] == pytest.approx(50.0)
    assert all(high / low == pytest.approx(ratios[1] / ratios[0]) for low, high in pairwise(ratios))
    assert min(odds_ratios(100.0)) > 100.0


@pytest.mark.parametrize(("tolerance", "planned"), [(0.9, 60.0), (math.nan, 60.0), (1e9, 60.0), (1.0, -1.0), (1.0, math.inf)])
def test_refuses_a_test_that_cannot_be(tolerance: float, planned: float) -> None:
    with pytest.raises(ValueError, match="found"):
        start(tolerance, planned)


def test_refuses_a_block_with_more_bad_answers_than_answers() -> None:
    with pytest.raises(ValueError, match=r"bad=3, total=2 for candidate"):
        Block(2, 3, 5, 0)
