"""Retrains that begin by themselves, on the real cluster: once and for their reason, over a kill and a downtime; and limits.

The operator is a process of the test's own. Rows that were judged before get no training pod; a time of the schedule that passed
while nobody was there is made up for once; a cooldown holds; attempts that do not improve stop the triggers until a person says
otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Manifest, Place
from demo.stage import State
from demo.view import condition

NAME = "shop"
ROWS = 2000
EVERY_MINUTE = {"cron": "* * * * *"}


@pytest.fixture
def operator_of_mine(place: Place) -> Iterator[LocalOperator]:
    with LocalOperator(place.ground, place.images, place.folder) as operator:
        operator.wait_ready()
        yield operator


def wish(place: Place, operator: LocalOperator, **spec: Any) -> Manifest:
    """A model that its gate refuses when nothing can be learned from the data."""
    gates = [{"metric": "roc_auc", "minimum": 0.6}]
    return operator.given(place.manifest(NAME, training=place.light(), evaluation={"gates": gates}, **spec))


def begun(place: Place) -> list[tuple[int, str]]:
    """(number, why) of every version."""
    return sorted((one["spec"]["number"], one["spec"]["trigger"]["reason"]) for one in place.kubectl.list("mver"))


def jobs(place: Place, step: str) -> list[str]:
    return sorted(one["metadata"]["name"] for one in place.kubectl.list("jobs", f"perennial.dev/step={step}"))


def reason(state: State, kind: str) -> str:
    return str(condition(state.deployment, kind).get("reason", ""))


def test_each_trigger_fires_once_and_for_its_reason_over_a_kill_and_a_downtime(
    place: Place, operator_of_mine: LocalOperator
) -> None:
    rows = synthetic.table(ROWS)
    place.upload(rows, "all.parquet")
    place.apply(wish(place, operator_of_mine, triggers={"newData": {"interval": "10s"}}))
    place.serving(1, name=NAME)

    place.upload(rows.reverse(), "all.parquet")  # the same rows in another file
    place.until("v2 to be made", lambda state: len(state.versions) > 1, name=NAME, seconds=90, every=0.1)
    operator_of_mine.kill()
    operator_of_mine.start()
    place.until("v2 to end", lambda state: state.state(2) == "Superseded", name=NAME, seconds=120)
    second = place.kubectl.get("mver", f"{NAME}-v2") or {}
    assert begun(place) == [(1, "Created"), (2, "NewData")]
    assert second["spec"]["trigger"]["message"].startswith("new data: 1 files, ")
    assert second["status"]["message"].startswith("SameInputs: ")
    assert jobs(place, "train") == [f"{NAME}-v1-train-1"]
    assert len(jobs(place, "poll")) <= 1

    place.kubectl.patch("mdep", NAME, {"spec": {"triggers": {"newData": None, "schedule": EVERY_MINUTE}}})
    state = place.until(
        "the schedule to be reckoned", lambda found: "schedule" in found.status.get("triggers", {}), name=NAME, every=0.1
    )
    operator_of_mine.kill()
    place.upload(synthetic.table(500, first=ROWS), "more.parquet")
    due = datetime.fromisoformat(state.status["triggers"]["schedule"]["next"].replace("Z", "+00:00"))
    assert begun(place) == [(1, "Created"), (2, "NewData")]
    time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()) + 2.0)
    operator_of_mine.start()
    place.until("v3 to be trained", lambda found: found.state(3) == "Training", name=NAME, seconds=120)
    assert begun(place)[-1] == (3, "Schedule")
    assert len([one for one in begun(place) if one[1] == "Schedule"]) == 1
    third = place.kubectl.get("mver", f"{NAME}-v3") or {}
    assert third["spec"]["trigger"]["due"] == state.status["triggers"]["schedule"]["next"]
    assert jobs(place, "poll") == []


def test_a_cooldown_holds_and_attempts_that_do_not_improve_stop_the_triggers(
    place: Place, operator_of_mine: LocalOperator
) -> None:
    place.upload(synthetic.table(ROWS), "all.parquet")
    limits = {"cooldown": "1h", "stopAfterFailures": 2}
    place.apply(wish(place, operator_of_mine, triggers={"schedule": EVERY_MINUTE}, limits=limits))
    place.serving(1, name=NAME)
    waits = place.until("the cooldown to hold", lambda state: reason(state, "RetrainDue") == "Cooldown", name=NAME, seconds=90)
    assert "limits.cooldown 1h since v1 began at " in condition(waits.deployment, "RetrainDue")["message"]

    place.upload(synthetic.table(ROWS, signal=0.0, seed=3), "all.parquet")  # nothing predicts these labels
    for number in (2, 3):
        place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", f"attempt {number}")
        place.until(f"v{number} to be refused", lambda state, n=number: state.state(n) == "Rejected", name=NAME, seconds=120)
    stopped = place.until(
        "the triggers to stop", lambda state: reason(state, "RetrainDue") == "StopAfterFailures", name=NAME, seconds=90
    )
    assert "the last: v2, v3" in condition(stopped.deployment, "RetrainingStopped")["message"]
    events = [one for one in place.kubectl.list("events") if one.get("reason") == "RetrainingStopped"]
    assert len(events) == 1
    assert begun(place) == [(1, "Created"), (2, "Requested"), (3, "Requested")]
    assert stopped.status["stable"] == 1

    place.kubectl.annotate("mdep", NAME, "perennial.dev/resume", "")
    place.until("the triggers to go on", lambda state: not reason(state, "RetrainingStopped"), name=NAME)
    place.until("the cooldown to hold again", lambda state: reason(state, "RetrainDue") == "Cooldown", name=NAME, seconds=90)
