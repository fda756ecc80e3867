"""The simulation suite still runs, from traffic to tables and pictures, and calls a broken promise broken. Few runs each."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import bench_simulation
from benchmarks.report import Report, replaced
from benchmarks.simulate_outcomes import binomial_interval, outcome
from benchmarks.simulate_run import COLUMNS, Times, simulate
from benchmarks.simulate_scenarios import EXACT, SCENARIOS
from benchmarks.simulate_traffic import Traffic, bursting, constant, pinned, requests, retried, worse

LARGEST_PICTURE = 60_000
FEW = 0.001


def decided(second: float, runs: int = 500) -> dict[str, Times]:
    """Every rule ends every run at this second."""
    return {scenario.name: {column: np.full(runs, second) for column in COLUMNS} for scenario in SCENARIOS}


def drawn(draw: object, seconds: int = 600) -> Traffic:
    return draw(np.random.default_rng(5), 200, seconds)  # type: ignore[operator, no-any-return]


def test_the_suite_runs_from_traffic_to_tables_and_pictures(tmp_path: Path) -> None:
    report = bench_simulation.run(tmp_path, FEW, workers=1)
    text = report.markdown()
    assert all(f"| {one.name} |" in text for one in SCENARIOS if one.family != "odds")
    assert len(list(tmp_path.glob("*.svg"))) == 3
    for picture in tmp_path.glob("*.svg"):
        assert picture.stat().st_size < LARGEST_PICTURE
        assert len(ElementTree.parse(picture).getroot()) > 20  # noqa: S314 - written a moment ago


def test_the_same_seed_draws_the_same_answers_and_another_one_does_not() -> None:
    scenario = replace(SCENARIOS[1], seconds=60)
    first, again, other = (simulate(scenario, 20, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[column], again[column]) for column in COLUMNS)
    assert any(not np.array_equal(first[column], other[column]) for column in COLUMNS)


def test_a_test_that_rolls_back_what_is_healthy_misses_every_exact_target() -> None:
    report = bench_simulation.report_of(decided(10.0))
    exact = [one for one in SCENARIOS if one.bad_from is None and one.guarantee == EXACT]
    assert len(report.missed) == 2 * len(exact) + 2, "and both delays: ended before it was bad, or after more than six seconds"


def test_a_test_that_never_decides_misses_the_delays_alone() -> None:
    missed = bench_simulation.report_of(decided(math.inf)).missed
    assert [figure.value for figure in missed] == [math.inf, math.inf]


@pytest.mark.parametrize(("hits", "kept"), [(10, True), (11, True), (14, False)])
def test_false_rollbacks_are_missed_only_when_the_whole_interval_is_above_alpha(hits: int, kept: bool) -> None:
    """5 of 500 are expected at 1 %; Clopper and Pearson's lower 99 % ends are 0.75, 0.87 and 1.24 %."""
    results = decided(math.inf)
    name = "1 % bad"
    results[name]["Perennial 1 %"][:hits] = 100.0
    report = bench_simulation.report_of(results)
    assert any(name in figure.what for figure in report.missed) is not kept


def test_the_interval_is_clopper_and_pearsons() -> None:
    assert binomial_interval(0, 50) == (0.0, pytest.approx(1.0 - 0.005 ** (1 / 50)))
    assert binomial_interval(50, 50) == (pytest.approx(0.005 ** (1 / 50)), 1.0)
    assert binomial_interval(5, 10, 0.95) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))


def test_an_outcome_leaves_out_what_was_ended_before_it_was_bad() -> None:
    found = outcome(np.array([50.0, 60.0, 63.0, 70.0, math.inf]), 60.0)
    assert (found.early, found.found, found.early_share) == (2, 2, 40.0)
    assert (found.wait(0.5), found.wait(0.9), found.share) == (10.0, math.inf, pytest.approx(200.0 / 3.0))


def test_traffic_has_the_rates_that_were_asked_for() -> None:
    even = drawn(requests(constant(0.01), constant(worse(0.01, 2.0)), constant(0.1)))
    assert even.candidate.mean() == pytest.approx(10.0, rel=0.02)
    assert even.candidate_bad.sum() / even.candidate.sum() == pytest.approx(0.0198, rel=0.05)
    assert even.stable_bad.sum() / even.stable.sum() == pytest.approx(0.01, rel=0.03)


def test_attempts_after_the_first_go_to_the_same_arm_and_mostly_fail_again() -> None:
    first = requests(constant(0.01), constant(0.01), constant(0.1))
    once, all_attempts = drawn(first), drawn(retried(first))
    assert all_attempts.stable_bad.sum() / once.stable_bad.sum() == pytest.approx(1.0 + 0.8 + 0.64, rel=0.02)
    assert all_attempts.stable.sum() - once.stable.sum() == pytest.approx(1.8 * once.stable_bad.sum(), rel=0.02)


@pytest.mark.parametrize(("draw", "rate"), [(pinned(0.1, 50, 30), 0.01), (bursting(0.005), 0.00995)])
def test_errors_in_bursts_are_as_many_in_both_arms_but_vary_more_than_single_ones(draw: object, rate: float) -> None:
    traffic = drawn(draw)
    for bad, total in ((traffic.candidate_bad, traffic.candidate), (traffic.stable_bad, traffic.stable)):
        assert bad.sum() / total.sum() == pytest.approx(rate, rel=0.12)
    by_run = traffic.candidate_bad.sum(axis=1)
    assert by_run.var() > 2.0 * by_run.mean(), "single errors would make both equal"


def test_a_section_is_replaced_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "statistics.md"
    document.write_text("above\n<!-- begin simulation -->\nold\n<!-- end simulation -->\nbelow\n")
    report = Report("simulation", "Simulated", "about", tables=["| wide |"])
    for _ in range(2):
        replaced(document, report, "seed 7")
    text = document.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert (text.count("| wide |"), text.count("seed 7")) == (1, 1)
    document.write_text("no markers\n")
    with pytest.raises(ValueError, match="begin simulation"):
        replaced(document, report, "seed 7")
