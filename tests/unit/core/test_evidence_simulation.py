"""A small part of tests/benchmarks/simulate_evidence.py at every run; the whole of it is in docs/statistics.md."""

from __future__ import annotations

from benchmarks.simulate_evidence import Fault, bursts, objectives, time_to_show


def test_a_healthy_version_is_shown_to_be_under_the_margin_and_one_at_it_seldom_is() -> None:
    healthy = time_to_show(2.0, 1.0, 0.02, 0.5, seconds=300.0, runs=12, seed=3)
    assert healthy.share("shown") >= 90.0
    assert 10.0 <= healthy.quantile("shown", 0.5) <= 90.0
    at_the_margin = time_to_show(2.0, 2.0, 0.02, 0.5, seconds=100.0, runs=40, seed=3)
    assert at_the_margin.share("shown") <= 17.5, "8 or more of 40 would be seen once in 1,000 at 5 %"


def test_the_guard_keeps_bursts_from_being_taken_for_harm() -> None:
    without = bursts(5, guard=False, harm_from=None, runs=12, seed=3, seconds=120)
    guarded = bursts(5, guard=True, harm_from=None, runs=12, seed=3, seconds=120)
    assert without.share("healthy") >= 40.0
    assert guarded.share("healthy") <= 17.0


def test_an_outage_of_both_takes_nothing_back_and_a_version_alone_is_found() -> None:
    outage = objectives(Fault(0.1, 0.1, 0.9, onset=30), runs=8, seed=3)
    assert outage.share("Outage") >= 90.0
    alone = objectives(Fault(0.1, 0.01, 0.9, onset=30), runs=8, seed=3)
    assert alone.share("ObjectiveMissed") + alone.share("CanaryWorse") >= 90.0
    assert alone.quantile("ObjectiveMissed", 0.5) <= 15.0
