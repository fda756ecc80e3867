"""From cumulative counters to blocks: restarts, pods that come and go, and readings that could not be made."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.api.rollout_status import PodReading
from perennial.core.analysis import Block, Look, broken_off, errors, from_readings, look, slow, to_readings
from perennial.core.observed import PodCounters

STABLE, CANDIDATE = 1, 2


def pod(
    uid: str, version: int = CANDIDATE, total: int = 0, bad: int = 0, slower: int = 0, *, in_flight: int = 0, restarts: int = 0
) -> PodCounters:
    """A pod with two latency buckets; `slower` of its requests were over the second bound, every one was timed."""
    return PodCounters(uid, version, total, bad, total, (0, total - slower), in_flight, restarts)


def looked(previous: list[PodCounters] | tuple[PodCounters, ...] | None, current: list[PodCounters]) -> Look:
    found = look(previous, current, candidate=CANDIDATE, stable=STABLE)
    assert found is not None
    return found


def test_the_first_reading_of_a_rollout_is_the_baseline() -> None:
    first = looked(None, [pod("s", STABLE, total=5_000, bad=70), pod("c")])
    assert errors(first) == Block()
    assert [reading.uid for reading in first.readings] == ["c", "s"]


def test_counts_what_each_arm_answered_since_the_last_look() -> None:
    before = [pod("s1", STABLE, 100, 4, 10), pod("s2", STABLE, 50), pod("c", CANDIDATE, 10, 1)]
    after = [pod("s1", STABLE, 190, 5, 12), pod("s2", STABLE, 60, 1), pod("c", CANDIDATE, 20, 4, 3)]
    found = looked(before, after)
    assert errors(found) == Block(10, 3, 100, 2)
    assert slow(found, 1) == Block(10, 3, 100, 2)
    assert slow(found, 0) == Block(10, 10, 100, 100)


def test_no_block_closes_when_a_pod_could_not_be_read_and_the_next_one_covers_the_gap() -> None:
    before = [pod("s", STABLE, 100), pod("c", CANDIDATE, 10)]
    assert look(before, None, candidate=CANDIDATE, stable=STABLE) is None
    assert errors(looked(before, [pod("s", STABLE, 300, 2), pod("c", CANDIDATE, 30, 9)])) == Block(20, 9, 200, 2)


def test_everything_that_a_pod_new_since_the_last_look_counted_is_new() -> None:
    before = [pod("s", STABLE, 100), pod("c", CANDIDATE, 10)]
    found = looked(before, [*before, pod("c2", CANDIDATE, 7, 2, 1)])
    assert errors(found) == Block(7, 2, 0, 0)
    assert slow(found, 1) == Block(7, 1, 0, 0)


def test_what_a_vanished_pod_had_answered_stays_counted_and_its_return_counts_only_what_is_new() -> None:
    before = [pod("s", STABLE, 100), pod("c1", CANDIDATE, 10), pod("c2", CANDIDATE, 40, 3)]
    gone = looked(before, [pod("s", STABLE, 110), pod("c1", CANDIDATE, 12)])
    assert errors(gone) == Block(2, 0, 10, 0)
    back = looked(gone.readings, [pod("s", STABLE, 110), pod("c1", CANDIDATE, 12), pod("c2", CANDIDATE, 45, 4)])
    assert errors(back) == Block(5, 1, 0, 0)


def test_the_readings_of_deleted_pods_are_dropped() -> None:
    before = [pod("s", STABLE, 100), pod("gone", STABLE, 100), pod("unready", STABLE, 100)]
    found = look(before, [pod("s", STABLE, 110)], candidate=CANDIDATE, stable=STABLE, existing={"s", "unready"})
    assert found is not None
    assert [reading.uid for reading in found.readings] == ["s", "unready"]


def test_after_a_crash_counting_starts_at_zero_and_the_requests_under_way_count_as_bad() -> None:
    before = [pod("s", STABLE, 100), pod("c", CANDIDATE, 500, 5, in_flight=3)]
    found = looked(before, [pod("s", STABLE, 110), pod("c", CANDIDATE, 8, 1, restarts=1)])
    assert errors(found) == Block(11, 4, 10, 0)
    assert found.candidate.lost == 3
    assert slow(found, 1) == Block(8, 0, 10, 0)


def test_a_restart_is_seen_by_its_number_when_the_counters_have_already_passed_the_old_ones() -> None:
    found = looked([pod("c", CANDIDATE, 5, 1, in_flight=2)], [pod("c", CANDIDATE, 30, 1, restarts=1)])
    assert errors(found) == Block(32, 3, 0, 0)


def test_a_restart_that_the_status_tells_late_counts_once() -> None:
    first = looked([pod("c", CANDIDATE, 50, 1, in_flight=2)], [pod("c", CANDIDATE, 10)])
    assert errors(first) == Block(12, 2, 0, 0)
    late = looked(first.readings, [pod("c", CANDIDATE, 20)])
    told = looked(late.readings, [pod("c", CANDIDATE, 30, restarts=1)])
    assert [errors(late), errors(told)] == [Block(10, 0, 0, 0), Block(10, 0, 0, 0)]


def test_what_an_older_pod_counted_before_it_was_first_read_is_another_times() -> None:
    before = [pod("s", STABLE, 100)]
    old = [pod("s", STABLE, 110), pod("old", STABLE, 1_000_000, 900), pod("new", STABLE, 7, 1)]
    first = look(before, old, candidate=CANDIDATE, stable=STABLE, older={"s", "old"})
    assert first is not None
    assert errors(first) == Block(0, 0, 17, 1)
    second = looked(first.readings, [pod("old", STABLE, 1_000_010, 901)])
    assert errors(second) == Block(0, 0, 10, 1)


def test_of_a_time_in_which_the_weight_changed_only_broken_off_requests_count() -> None:
    before = [pod("s", STABLE, 100), pod("c", CANDIDATE, 500, 5, in_flight=3)]
    crashed = looked(before, [pod("s", STABLE, 110, 1), pod("c", CANDIDATE, 8, 1, restarts=1)])
    assert errors(broken_off(crashed)) == Block(3, 3, 10, 1)
    quiet = looked(before, [pod("s", STABLE, 110), pod("c", CANDIDATE, 508, 9)])
    assert errors(broken_off(quiet)) == Block()


def test_other_versions_are_left_out() -> None:
    before = [pod("s", STABLE, 100), pod("old", 7, 100)]
    found = looked(before, [pod("s", STABLE, 110), pod("old", 7, 200, 90)])
    assert errors(found) == Block(0, 0, 10, 0)
    assert [reading.uid for reading in found.readings] == ["s"]


def test_requests_of_a_pods_first_seconds_count_for_errors_but_not_for_latency() -> None:
    before = [PodCounters("c", CANDIDATE, 0, 0, 0, ())]
    found = looked(before, [PodCounters("c", CANDIDATE, 400, 2, 0, ())])
    assert errors(found) == Block(400, 2, 0, 0)
    assert slow(found, 1) == Block()
    later = looked(found.readings, [PodCounters("c", CANDIDATE, 500, 2, 100, (0, 95))])
    assert slow(later, 1) == Block(100, 5, 0, 0)


def test_readings_come_back_from_the_status_as_they_went_in() -> None:
    counters = (pod("a", STABLE, 100, 4, 10, in_flight=2, restarts=1), pod("b", CANDIDATE, 7))
    texts = [PodReading.model_validate_json(reading.model_dump_json(by_alias=True)) for reading in to_readings(counters)]
    assert from_readings(texts) == counters


@settings(deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_every_answer_is_counted_once_whatever_is_unread_or_unready_between(
    steps: list[tuple[int, float, bool, bool]],
) -> None:
    """A pod counts up; some looks fail, in some it is unready. Whoever looks last has seen it all."""
    now, readings, counted = pod("c"), looked(None, [pod("c")]).readings, Block()
    for more, share, unread, unready in [*steps, (0, 0.0, False, False)]:
        now = replace(now, total=now.total + more, bad=now.bad + round(more * share), timed=now.timed + more,
                      buckets=(0, now.buckets[1] + more))  # fmt: skip
        found = look(readings, None if unread else [] if unready else [now], candidate=CANDIDATE, stable=STABLE)
        if found is not None:
            counted, readings = counted + errors(found), found.readings
    assert counted == Block(now.total, now.bad, 0, 0)
