"""A rollout is recorded, and happens again: whatever the traffic, the policy and the cluster did, to the same end."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.api.recording import MOST_PASSES, Place
from perennial.api.rollout import Rollout
from perennial.api.rollout_status import RolloutStatus
from perennial.cli import backtesting
from perennial.core import analysis, measuring, recording, tape
from perennial.core.backtest import by_rate, by_requests
from perennial.core.replay import CUT, NotRecorded, Replayed, replay, reproduced
from perennial.core.tape import Seen, Tape, Unreadable, read
from unit.core.recorded_world import RecordedWorld, rolling_out
from unit.core.world import came_to

ERRORS = {"name": "errors", "errors": {}}
SLOW = {"name": "slow", "latency": {"slowerThan": "50ms"}, "tolerance": 1.25}
ORDERS = {"name": "orders", "prometheus": {"source": "shop", "good": "g", "total": "t", "scrapeInterval": "1s"}}
SHIFT = {"name": "scores", "predictionShift": {"maxDistance": 0.9}}
CHECKS = {"name": "checks", "job": {"image": "checks"}}
STEPS = [{"weight": 10, "hold": "8s"}, {"weight": 50, "hold": "8s"}]
POLICY: dict[str, Any] = {"steps": STEPS, "minimumRequests": 20, "metrics": [ERRORS, SLOW]}

MORE_METRICS: list[dict[str, Any]] = [
    {**ERRORS, "objective": {"maxRate": 0.08}},
    {**ERRORS, "margin": 9.0},
    {**SLOW, "weight": 3},
    {"name": "slower", "latency": {"slowerThan": "200ms"}},
    ORDERS,
    SHIFT,
    CHECKS,
]


def judged(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With one that a shadow can be judged by."""
    names = {metric["name"] for metric in metrics}
    return metrics if names & {"errors", "slow", "slower"} else [ERRORS, *metrics]


METRICS = st.lists(st.sampled_from(MORE_METRICS), max_size=4, unique_by=lambda metric: str(metric["name"])).map(judged)
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "steps": st.just(STEPS),
    "minimumRequests": st.sampled_from([1, 30, 100]),
    "falseRollbackRate": st.sampled_from([0.001, 0.01, 0.2]),
    "dispersionGuard": st.booleans(),
    "onBreach": st.sampled_from(["rollback", "rollback", "pause"]),
    "onTooLittleData": st.sampled_from(["wait", "promote", "abort"]),
    "deadline": st.sampled_from(["12s", "60s"]),
    "metrics": METRICS,
}
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "shadow": st.just({"hold": "6s"}),
    "watch": st.sampled_from([{"for": "15s"}, {"for": "8s", "holdBack": 30}]),
}
POLICIES = st.fixed_dictionaries(CHOICES, optional=PARTS)
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(6, 60),
        st.sampled_from(
            ["bad", "slow", "unreachable", "reachable", "unready", "ready", "pause", "resume", "policy", "promote", "abort"]
        ),
    ),
    max_size=4,
)


def happen(world: RecordedWorld, what: str) -> None:  # noqa: C901 - one case for each
    match what:
        case "bad":
            world.share_bad = 0.3
        case "slow":
            world.share_slow = 0.3
        case "unreachable" | "reachable":
            world.unreachable = what == "unreachable"
        case "unready" if 2 in world.workloads:
            world.unready(2)
        case "ready":
            world.never_ready.clear()
        case "pause" | "resume":
            world.wish = world.wish.model_copy(update={"paused": what == "pause"})
        case "policy":
            rollout = world.wish.rollout.model_copy(update={"minimum_requests": 7, "false_rollback_rate": 0.05})
            world.wish = world.wish.model_copy(update={"rollout": rollout})
        case "promote" | "abort":
            world.annotations[f"perennial.dev/{what}"] = "2"
        case _:
            pass


@given(
    st.integers(0, 10**6),
    POLICIES,
    HAPPENINGS,
    st.sampled_from([0.02, 0.02, 0.05, 0.15]),
    st.sampled_from([0.0, 0.0, 0.05]),
    st.sampled_from([None, None, 12, 25]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_happened_a_replay_comes_to_the_same_end_in_the_same_pass_on_the_same_evidence(  # noqa: PLR0917
    seed: int,
    policy: dict[str, Any],
    happenings: list[tuple[int, str]],
    bad: float,
    crashes: float,
    killed: int | None,
) -> None:
    a_rollout_with(seed, policy, happenings, bad, crashes, killed)


def test_a_crash_in_a_shadow_that_a_person_ends_is_counted_once_in_the_replay_too() -> None:
    policy = {"steps": STEPS, "minimumRequests": 1, "metrics": [ERRORS], "shadow": {"hold": "6s"}, "watch": {"for": "15s"}}
    a_rollout_with(0, {**policy, "falseRollbackRate": 0.001, "deadline": "12s"}, [(12, "promote")], 0.02, 0.05, None)


def a_rollout_with(  # noqa: PLR0917 - as the property has them
    seed: int, policy: dict[str, Any], happenings: list[tuple[int, str]], bad: float, crashes: float, killed: int | None
) -> None:
    """Rolled out, and each of its recordings replayed."""
    world = rolling_out(seed, policy, share_bad=bad, crashes=crashes)
    world.measure = lambda action, now: came_to(0 if world.chance.random() < 0.7 else 1, "as it is")
    for second in range(90):
        for _ in [None for at, _ in happenings if at == second]:
            happen(world, next(what for at, what in happenings if at == second))
        if second == killed:
            world.restart_operator()
        world.second()
    for data in world.kept.values():
        assert_reproduced(read(data))


def assert_reproduced(recorded: Tape) -> Replayed:
    replayed = replay(recorded)
    assert reproduced(recorded, replayed) == ""
    return replayed


# ---- what is kept, and when ----


def test_a_bad_candidate_is_taken_back_in_the_replay_at_the_same_time_and_for_the_same_reason() -> None:
    world = rolling_out(1, POLICY, share_bad=0.3)
    world.rolled_out()
    recorded = world.tape()
    (end,) = assert_reproduced(recorded).milestones
    assert world.versions[2].status.state == "RolledBack"
    assert world.versions[2].status.message == f"{end.reason}: {end.message}"
    assert recorded.header.complete


def test_a_healthy_candidate_is_promoted_and_watched_in_the_replay() -> None:
    world = rolling_out(2, {**POLICY, "shadow": {"hold": "5s"}, "watch": {"for": "10s"}})
    world.rolled_out()
    replayed = assert_reproduced(world.tape())
    assert replayed.outcome == "promoted and watched"
    assert {one.place.phase for one in world.tape().passes} == {"Shadow", "Steps", "Watch"}


def test_a_restart_of_the_operator_leaves_a_recording_of_the_rest_which_is_reproduced() -> None:
    world = rolling_out(3, {**POLICY, "falseRollbackRate": 0.0001})
    while world.saved.rollout is None or not world.saved.rollout.metrics[0].candidate_total:
        world.second()
    world.restart_operator()
    world.share_bad = 0.3
    world.rolled_out()
    recorded = world.tape()
    assert not recorded.header.complete
    assert recorded.header.start.metrics[0].candidate_total
    assert assert_reproduced(recorded).outcome == "rolled back"


def test_a_watch_after_a_person_promoted_it_is_replayed_too() -> None:
    world = rolling_out(4, {**POLICY, "steps": [{"weight": 10, "hold": "10m"}], "watch": {"for": "10m"}})
    while world.status.rollout is None or not world.status.rollout.metrics[0].candidate_total:
        world.second()
    world.annotations["perennial.dev/promote"] = "2"
    world.second()
    world.share_bad = 0.3
    world.rolled_out()
    replayed = assert_reproduced(world.tape())
    assert (replayed.outcome, world.versions[2].status.state) == ("rolled back", "RolledBack")
    assert replayed.promoted_at is not None


def test_a_person_who_ends_it_is_named_and_nothing_else_is_claimed() -> None:
    world = rolling_out(4, {**POLICY, "steps": [{"weight": 10, "hold": "10m"}]})
    while world.status.rollout is None or not world.status.rollout.metrics[0].candidate_total:
        world.second()
    world.annotations["perennial.dev/promote"] = "2"
    world.second()
    recorded = world.tape()
    assert [one.what for _, one in recorded.outcomes] == ["ended"]
    assert "v2 is Serving" in recorded.outcomes[0][1].message
    assert assert_reproduced(recorded).outcome == "undecided"


def test_nothing_is_recorded_where_it_is_not_wished_for() -> None:
    world = rolling_out(5, POLICY, recorded=False)
    world.rolled_out(60)
    assert (world.kept, world.recordings) == ({}, ())
    assert world.versions[2].status.state == "Serving"


def test_a_recording_that_cannot_be_kept_is_asked_for_again_and_delays_nothing() -> None:
    world = rolling_out(6, POLICY, share_bad=0.3, no_config_maps=True)
    for _ in range(60):
        world.second()
    assert world.versions[2].status.state == "RolledBack"
    assert world.status.stable == 1
    assert [one.version for one in world.recordings] == [2]
    world.no_config_maps = False
    world.second()
    assert world.recordings == ()
    assert_reproduced(world.tape())


def test_a_rollout_that_is_too_long_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_PASSES", 10)
    world = rolling_out(7, POLICY)
    world.rolled_out()
    recorded = world.tape()
    assert (recorded.truncated, len(recorded.passes)) == (True, 10)
    assert "cut" in reproduced(recorded, replay(recorded))
    assert recorded.outcomes[0][1].what == "promote"


@pytest.mark.parametrize("limit", ["MOST_BAD", "MOST_WORK"])
def test_a_pass_that_no_reader_would_take_cuts_the_recording(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    for module in (tape, recording):
        monkeypatch.setattr(module, limit, 3, raising=False)
    world = rolling_out(7, POLICY, share_bad=0.3)
    world.rolled_out()
    assert world.versions[2].status.state == "RolledBack"
    recorded = world.tape()
    assert recorded.truncated
    assert reproduced(recorded, replay(recorded)) == CUT


def test_a_rollout_goes_on_where_the_format_cannot_say_how_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "FORMAT", "another")
    world = rolling_out(1, POLICY, share_bad=0.3)
    world.rolled_out(60)
    assert (world.versions[2].status.state, world.recordings, world.kept) == ("RolledBack", (), {})


def test_what_went_otherwise_before_a_cut_is_told_all_the_same() -> None:
    recorded = promoted()
    cut = replace(recorded, passes=recorded.passes[:-1], truncated=True)
    assert reproduced(cut, replay(cut)) == CUT
    elsewhere = replace(cut.passes[-1], place=Place(phase="Steps", step=1, weight=51))
    there = replace(cut, passes=(*cut.passes[:-1], elsewhere))
    assert "the recorded rollout stood at 51 % in step 2" in reproduced(there, replay(there))


def test_a_recording_of_a_day_stays_within_its_bounds() -> None:
    assert MOST_PASSES < tape.MOST_LINES
    world = rolling_out(8, {**POLICY, "steps": [{"weight": 50, "hold": "10h"}]})
    for _ in range(120):
        world.second()
    (under_way,) = world.recordings
    bytes_a_pass = (len(under_way.data()) - len(tape.packed(under_way.lines[:1]))) / under_way.passes
    assert bytes_a_pass * MOST_PASSES < 380 * 1024


# ---- another policy ----


def rolled_back() -> Tape:
    world = rolling_out(9, {**POLICY, "metrics": [ERRORS]}, share_bad=0.15)
    world.rolled_out()
    return world.tape()


def promoted(share_bad: float = 0.06) -> Tape:
    world = rolling_out(10, {**POLICY, "metrics": [ERRORS]}, share_bad=share_bad)
    world.rolled_out()
    return world.tape()


def test_the_sweep_of_the_rate_finds_where_the_evidence_meets_the_threshold() -> None:
    recorded = rolled_back()
    replayed = assert_reproduced(recorded)
    spans = by_rate(recorded, recorded.header.terms.rollout)
    assert [one.outcome for one in spans] == ["undecided", "rolled back"]
    log_e = dict(replayed.largest_log_e)["errors"]
    # alpha is the rate: one metric and no shadow
    assert spans[1].first == pytest.approx(2.718281828459045**-log_e, abs=1.1e-6)


def test_requests_that_came_before_the_operator_was_restarted_count_in_a_sweep_too() -> None:
    world = rolling_out(3, {**POLICY, "metrics": [ERRORS], "steps": [{"weight": 50, "hold": "30s"}]})
    while world.saved.rollout is None or world.saved.rollout.step_candidate_requests < 500:
        world.second()
    world.restart_operator()
    world.rolled_out()
    recorded = world.tape()
    before = recorded.header.start.step_candidate_requests
    policy = recorded.header.terms.rollout
    spans = by_requests(recorded, policy)
    assert (before >= 500, spans[-1].first > before, spans[-1].last) == (True, True, 10_000_000)
    for span in spans:
        for value in (span.first, span.last):
            assert replay(recorded, policy.model_copy(update={"minimum_requests": int(value)})).outcome == span.outcome


def test_each_border_of_a_sweep_is_where_a_replay_changes() -> None:
    for recorded in (rolled_back(), promoted()):
        policy = recorded.header.terms.rollout
        for sweep, name, step in ((by_rate, "false_rollback_rate", 1e-6), (by_requests, "minimum_requests", 1)):
            spans = sweep(recorded, policy)
            assert spans[0].first == {"false_rollback_rate": 0.0001, "minimum_requests": 1}[name]
            assert spans[-1].last == {"false_rollback_rate": 0.2, "minimum_requests": 10_000_000}[name]
            for before, after in pairwise(spans):
                assert after.first == pytest.approx(before.last + step)
                for span, value in ((before, before.last), (after, after.first)):
                    found = replay(recorded, policy.model_copy(update={name: value}))
                    assert (found.outcome, found.is_exact) == (span.outcome, span.exact)


def test_more_requests_than_came_leave_it_undecided_and_say_from_where_on() -> None:
    recorded = promoted(share_bad=0.0)
    policy = recorded.header.terms.rollout.model_copy(update={"minimum_requests": 100_000})
    found = replay(recorded, policy)
    assert found.outcome == "undecided"
    assert found.departure is not None
    assert (found.departure.recorded, found.departure.replayed) == (
        Place(phase="Steps", step=1, weight=50),
        Place(phase="Steps", step=0, weight=10),
    )


def test_a_mirror_of_another_share_is_refused() -> None:
    world = rolling_out(11, {**POLICY, "shadow": {"hold": "5s", "percent": 50}})
    world.rolled_out()
    recorded = world.tape()
    policy = recorded.header.terms.rollout
    assert policy.shadow is not None
    assert replay(recorded, policy).is_exact
    with pytest.raises(NotRecorded, match=r"rollout.shadow.percent: 50 % of the requests were mirrored .* at 100 % others"):
        replay(recorded, policy.model_copy(update={"shadow": policy.shadow.model_copy(update={"percent": 100})}))


def test_another_job_under_the_same_name_has_no_run() -> None:
    world = rolling_out(13, {**POLICY, "metrics": [ERRORS, CHECKS]})
    world.measure = lambda action, now: came_to(0, "as it is")
    world.rolled_out()
    recorded = world.tape()

    def other(**job: Any) -> Rollout:
        return Rollout.model_validate({**POLICY, "metrics": [ERRORS, {**CHECKS, "job": {"image": "checks", **job}}]})

    assert replay(recorded, other(every="20s")).outcome == "promoted"
    with pytest.raises(NotRecorded, match="no run of this Job was recorded"):
        replay(recorded, other(image="others"))


def test_a_policy_must_be_one_that_every_pass_can_tell_of() -> None:
    world = rolling_out(14, {**POLICY, "metrics": [ERRORS, CHECKS]})
    world.measure = lambda action, now: came_to(0, "as it is")
    while world.status.rollout is None or not world.status.rollout.metrics[0].candidate_total:
        world.second()
    world.wish = world.wish.model_copy(update={"rollout": Rollout.model_validate({**POLICY, "metrics": [ERRORS]})})
    world.rolled_out()
    recorded = world.tape()
    assert_reproduced(recorded)
    with pytest.raises(NotRecorded, match="no run of this Job was recorded"):
        replay(recorded, recorded.header.terms.rollout)
    found = backtesting.report(recorded, None, sweep=True)
    assert "no run of this Job" in found.unswept
    assert (found.rates, "With other values" in [part.head for part in backtesting.sections(found)]) == ((), True)


def test_a_person_who_promoted_it_did_not_promote_what_was_left_to_one_by_another_policy() -> None:
    world = rolling_out(
        4, {**POLICY, "metrics": [ERRORS], "steps": [{"weight": 10, "hold": "10m"}], "watch": {"for": "10m"}}, share_bad=0.1
    )
    world.wish = world.wish.model_copy(update={"rollout": world.wish.rollout.model_copy(update={"false_rollback_rate": 0.0001})})
    while (one := world.status.rollout) is None or not one.metrics or e_of(one) < 20.0:
        world.second()
    world.annotations["perennial.dev/promote"] = "2"
    world.share_bad = 0.4
    world.rolled_out()
    recorded = world.tape()
    assert assert_reproduced(recorded).promoted_at is not None
    found = replay(recorded, recorded.header.terms.rollout.model_copy(update={"false_rollback_rate": 0.2, "on_breach": "pause"}))
    assert found.left_to_person
    assert (found.promoted_at, found.milestones) == (None, ())


def e_of(one: RolloutStatus) -> float:
    return analysis.e_of(analysis.log_e(measuring.resumed(one, one.metrics[0])))


def test_a_shadow_that_would_have_lasted_longer_is_not_made_up() -> None:
    world = rolling_out(11, {**POLICY, "shadow": {"hold": "5s"}})
    world.rolled_out()
    recorded = world.tape()
    found = replay(recorded, recorded.header.terms.rollout.model_copy(update={"minimum_requests": 100_000}))
    assert (found.outcome, found.is_exact) == ("undecided", False)
    assert "no mirrored request was recorded" in found.stopped


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shadow": {"hold": "5s"}}, "without a shadow"),
        (
            {"metrics": [{"name": "slow", "latency": {"slowerThan": "75ms"}}]},
            "slower than 75ms were not counted (recorded: none)",
        ),
        ({"metrics": [ERRORS, ORDERS]}, "rollout.metrics[1] orders: these counters"),
        ({"metrics": [ERRORS, CHECKS]}, "no run of this Job"),
        ({"metrics": [ERRORS, SHIFT]}, "maxDistance"),
    ],
)
def test_what_was_not_recorded_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    recorded = promoted()
    policy = type(recorded.header.terms.rollout).model_validate({**POLICY, "metrics": [ERRORS], **change})
    with pytest.raises(NotRecorded) as refused:
        replay(recorded, policy)
    assert words in str(refused.value)


# ---- files from anywhere ----


def lines() -> list[str]:
    world = rolling_out(12, POLICY, share_bad=0.3)
    world.rolled_out()
    return gzip.decompress(world.kept[2]).decode().splitlines()


def test_a_recording_is_read_plain_as_well() -> None:
    text = lines()
    assert read("\n".join(text).encode()) == read(tape.packed(text))


def refused(data: bytes) -> str:
    with pytest.raises(Unreadable) as error:
        read(data)
    return str(error.value)


def test_files_that_are_no_recording_are_refused_in_words() -> None:
    head, *rest = lines()
    one = next(index for index, text in enumerate(rest) if text.startswith("[") and text.count(",") > 5)
    numbers = json.loads(rest[one])

    def changed(value: Any) -> bytes:
        return "\n".join([head, *rest[:one], json.dumps(value), *rest[one + 1 :]]).encode()

    assert "first line is not the head" in refused(b"")
    assert "first line is not the head" in refused(b"apiVersion: v1\n")
    assert "no JSON" in refused(f"{head}\n{{".encode())
    assert "this release reads 1" in refused(head.replace('"version":1', '"version":2', 1).encode())
    assert "line 1: terms" in refused(json.dumps({**json.loads(head), "terms": {}}).encode())
    begun = json.loads(head) | {"complete": False}
    for change in ({"alpha": 0.0}, {"alpha": 1.0}, {"tolerance": 0.0}, {"tolerance": -1.0}):
        metrics = [{**begun["start"]["metrics"][0], **change}]
        changed_start = json.dumps(begun | {"start": begun["start"] | {"metrics": metrics}})
        assert f"line 1: start.metrics: errors: {next(iter(change))}" in refused(changed_start.encode())
    assert "line 1: start.plannedSeconds" in refused(
        json.dumps(begun | {"start": begun["start"] | {"plannedSeconds": -1}}).encode()
    )
    assert "in the middle" in refused(tape.packed([head, *rest])[:-20])
    assert "more than 32 MiB" in refused(gzip.compress(b"\n" * (33 * 1024 * 1024)))
    assert "more than 1024 KiB" in refused(b"x" * (2 * 1024 * 1024))
    assert "nested deeper" in refused(f"{head}\n{'[' * 5000}".encode())
    assert "whole numbers" in refused(changed([*numbers[:-1], 0.5]))
    assert "whole numbers" in refused(changed([*numbers[:-1], -1]))
    assert "a pass has 2 or" in refused(changed(numbers[:-1]))
    assert "are more than the answers" in refused(changed([*numbers[:3], numbers[2] + 1, *numbers[4:]]))
    assert "bad or slow answers in one pass" in refused(changed([*numbers[:2], *([10**9] * (len(numbers) - 2))]))
    assert "within their ranges" in refused(changed([10**30, *numbers[1:]]))
    assert "no number of JSON" in refused(f"{head}\n[NaN]".encode())
    assert "ends once" in refused("\n".join([head, *rest, rest[-1], rest[-1]]).encode())
    assert "before anything said where" in refused(f"{head}\n[0,0]".encode())


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_recording_that_was_changed_by_hand_is_refused_or_replayed_and_never_fails_otherwise(data: st.DataObject) -> None:
    text = list(LINES)
    index = data.draw(st.integers(0, len(text) - 1))
    value = json.loads(text[index])
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    junk = st.one_of(
        st.none(), st.integers(-5, 10**13), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.booleans()
    )
    target, key = value, data.draw(st.sampled_from(keys))
    while isinstance(target[key], dict | list) and target[key] and data.draw(st.booleans()):
        target = target[key]
        key = data.draw(st.sampled_from(list(target) if isinstance(target, dict) else list(range(len(target)))))
    target[key] = data.draw(junk)
    text[index] = json.dumps(value)
    try:
        recorded = read("\n".join(text).encode())
        reproduced(recorded, replay(recorded))
        backtesting.sections(backtesting.report(recorded, None, sweep=False))
    except (Unreadable, NotRecorded, ValueError, backtesting.Refused) as error:
        assert str(error)  # noqa: PT017 - most changes are of no consequence, and raise nothing


LINES = lines()


def test_flags_of_a_pass_are_what_the_format_says() -> None:
    assert [int(flag) for flag in Seen] == [2**power for power in range(15)]
