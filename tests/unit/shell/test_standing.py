"""What /metrics tells of models is read off statuses and plans: ends of rollouts, seconds in states, trouble."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from perennial.api.base import Condition
from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentStatus, Quarantine
from perennial.core.actions import Event, Plan
from perennial.standing import Ending, Stays, ending, troubles

STAMP = "2026-01-01T00:00:00Z"
START = datetime(2026, 1, 1, tzinfo=UTC)


def rollout(candidate: int = 2, **changes: Any) -> RolloutStatus:
    return RolloutStatus(candidate=candidate, stable=1, started_at=STAMP, saved_at=STAMP, **changes)


def quarantine(reason: str, version: int = 2) -> Quarantine:
    return Quarantine(version=version, identity="i", inputs_digest="d", reason=reason, since=STAMP)


def status(**fields: Any) -> ModelDeploymentStatus:
    return ModelDeploymentStatus(**fields)


UNDER_WAY = status(stable=1, candidate=2, rollout=rollout())
WATCHED = status(stable=2, rollout=rollout(phase="Watch"))


@dataclass(frozen=True)
class Case:
    reason: str
    before: ModelDeploymentStatus
    after: ModelDeploymentStatus
    outcome: str | None
    events: tuple[str, ...] = ()


CASES = (
    Case("the last step has passed", UNDER_WAY, status(stable=2), "promoted"),
    Case("a promotion with a watch goes on", UNDER_WAY, WATCHED, None),
    Case("the watch is over", WATCHED, status(stable=2), "promoted"),
    Case("a breach", UNDER_WAY, status(stable=1, quarantined=[quarantine("CanaryWorse")]), "rolled_back"),
    Case("a breach in the watch", WATCHED, status(stable=1, quarantined=[quarantine("CanaryWorse")]), "rolled_back"),
    Case("a person aborts", UNDER_WAY, status(stable=1, quarantined=[quarantine("Aborted")]), "aborted"),
    Case("too little data, and the policy is abort", UNDER_WAY, status(stable=1, ended=2), "aborted", ("Aborted",)),
    Case("a return to an older version", UNDER_WAY, status(stable=1, ended=2), "superseded"),
    Case("a newer version", UNDER_WAY, status(stable=1, candidate=3), "superseded"),
    Case("a return out of the watch", WATCHED, status(stable=1), "superseded"),
    Case("measurements only", UNDER_WAY, status(stable=1, candidate=2, rollout=rollout(step=1)), None),
    Case("from the shadow to the steps", status(rollout=rollout(phase="Shadow")), UNDER_WAY, None),
    Case("a first version has no rollout", status(candidate=1), status(stable=1), None),
    Case("a rollout begins", status(stable=1, candidate=2), UNDER_WAY, None),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_an_ending_is_read_off_both_statuses(case: Case) -> None:
    found = ending(case.before, Plan(case.after, events=tuple(Event("Normal", reason, "") for reason in case.events)))
    assert (found.outcome if found else None) == case.outcome


def test_a_quarantine_from_before_is_no_rollback_now() -> None:
    old = [quarantine("CanaryWorse")]
    before = UNDER_WAY.model_copy(update={"quarantined": old})
    assert ending(before, Plan(status(stable=2, quarantined=old))) == Ending(2, "promoted")


def test_an_ending_is_not_there_while_the_cluster_has_the_rollout() -> None:
    assert not Ending(2, "promoted").is_written(UNDER_WAY)
    assert Ending(2, "promoted").is_written(status(stable=2))
    assert Ending(2, "superseded").is_written(status(stable=1, rollout=rollout(3)))


def condition(kind: str, state: str, reason: str) -> Condition:
    return Condition(type=kind, status=state, reason=reason, last_transition_time=STAMP)


def test_only_what_asks_for_attention_is_trouble() -> None:
    found = [
        condition("Ready", "True", "Serving"),
        condition("UpToDate", "False", "Training"),
        condition("Measured", "False", "PodsUnreachable"),
        condition("RollbackBlocked", "True", "TargetNotReady"),
        condition("MetricsAnswered", "Unknown", "NothingCounted"),
        condition("Quarantined", "True", "InputsQuarantined"),
        condition("Progressing", "False", "Idle"),
    ]
    assert troubles(status(conditions=found)) == (
        ("Measured", "PodsUnreachable"),
        ("RollbackBlocked", "TargetNotReady"),
        ("Quarantined", "InputsQuarantined"),
    )


@pytest.mark.parametrize("reason", ["Failed", "Rejected", "RolledBack"])
def test_a_newest_version_that_is_not_fit_is_trouble(reason: str) -> None:
    assert troubles(status(conditions=[condition("UpToDate", "False", reason)])) == (("UpToDate", reason),)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_stay_is_told_when_the_state_is_left() -> None:
    stays = Stays()
    stays.created(1, frozenset(), at(0))
    assert stays.moved(1, "Pending", "Preparing", at(2)) == ("Pending", 2)
    assert stays.moved(1, "Preparing", "Preparing", at(4)) is None
    assert stays.moved(1, "Preparing", "Training", at(12)) == ("Preparing", 10)
    assert stays.moved(1, "Training", "Failed", at(72)) == ("Training", 60)


def test_the_same_move_written_again_is_told_once() -> None:
    stays = Stays()
    stays.created(1, frozenset(), at(0))
    assert stays.moved(1, "Pending", "Preparing", at(2)) == ("Pending", 2)
    assert stays.moved(1, "Pending", "Preparing", at(2)) is None
    assert stays.moved(1, "Preparing", "Training", at(5)) == ("Preparing", 3)


def test_a_stay_whose_beginning_nobody_saw_is_not_told() -> None:
    stays = Stays()
    assert stays.moved(1, "Training", "Evaluating", at(100)) is None
    assert stays.moved(1, "Evaluating", "Accepted", at(130)) == ("Evaluating", 30)


def test_a_move_whose_write_was_not_seen_makes_no_stay_longer() -> None:
    stays = Stays()
    stays.created(1, frozenset(), at(0))
    assert stays.moved(1, "Preparing", "Preparing", at(50)) is None
    assert stays.moved(1, "Preparing", "Training", at(60)) is None


def test_a_final_state_has_no_end() -> None:
    stays = Stays()
    stays.created(1, frozenset(), at(0))
    assert stays.moved(1, "Pending", "Superseded", at(1)) == ("Pending", 1)
    assert stays.moved(1, "Superseded", "Pending", at(500)) is None
    assert stays.moved(1, "Pending", "Preparing", at(501)) == ("Pending", 1)


def test_versions_that_are_gone_are_forgotten() -> None:
    stays = Stays()
    stays.created(1, frozenset(), at(0))
    stays.created(2, frozenset(), at(10))
    assert stays.moved(1, "Pending", "Preparing", at(20)) is None
