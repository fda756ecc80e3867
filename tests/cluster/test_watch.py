"""The watch after a promotion, on the real cluster: a share is held back; its end is one write, as is the return after harm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster_support import audit, synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, NEW_KIND, PUT_BACK_SECONDS, ROWS, V1, V2, V3, assert_taken_back, traffic
from cluster_support.verbs import ask
from demo import view
from perennial.cli.exits import Exit

HOLD_BACK = 10


def manifest(place: Place, *, watch: str, harmful: bool = False) -> dict[str, Any]:
    """Two short steps, then a watch of this length."""
    rollout = {
        "steps": [{"weight": 20, "hold": "4s"}, {"weight": 50, "hold": "4s"}],
        "minimumRequests": 30,
        "watch": {"for": watch, "holdBack": HOLD_BACK},
    }
    return place.manifest(NAME, rollout=rollout, training=place.light(fails_on=NEW_KIND if harmful else ""))


def routed(place: Place) -> dict[str, int]:
    """Shares of the traffic as the HTTPRoute has them."""
    route = place.kubectl.get("httproute", NAME) or {}
    return {ref["name"]: ref["weight"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"] if ref["weight"]}


def route_writes(place: Place, since: Any) -> int:
    """Writes of the route by the operator from a moment on, as the API server's audit log has them."""
    return sum(write.split()[1].startswith("httproutes") for write in audit.writes(place.ground.cluster, since, place.namespace))


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 serves."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(manifest(shared_place, watch="15s"))
    shared_place.serving(1, name=NAME)
    return shared_place


def test_promoted_version_is_watched_beside_the_one_before_and_the_end_is_one_write(first: Place) -> None:
    first.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(first) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        state = first.until(
            "v2 to be watched",  # both statuses tell it only after the route has it
            lambda state: (
                (state.status.get("summary"), state.state(2)) == ("Watching v2", "Serving")
                and routed(first) == {V2: 90, V1: HOLD_BACK}
            ),
            name=NAME,
            seconds=180,
        )
        since = audit.now()
        assert state.status["stable"] == 2
        first.until("the watch to be over", lambda state: routed(first) == {V2: 100}, name=NAME, seconds=60)
        load.all_from(2)
        assert route_writes(first, since) == 1
        tally = load.end()
    assert tally.failures_but() == {}
    assert tally.versions[V1].requests > 0


def test_version_that_goes_bad_in_its_watch_is_returned_by_one_write(first: Place) -> None:
    with traffic(first) as harmless:
        first.apply(manifest(first, watch="10m", harmful=True))
        first.until(
            "v3 to be watched",
            lambda state: state.state(3) == "Serving" and routed(first) == {V3: 90, V2: HOLD_BACK},
            name=NAME,
            seconds=240,
            never=lambda state: f"v3 is {state.state(3)}" if state.state(3) in ("Failed", "Rejected", "RolledBack") else "",
        )
        harmless.more(500)
        spared = harmless.end()
    since = audit.now()
    with traffic(first, new_every=10) as load:
        first.until("v3 to be taken back", lambda state: state.state(3) == "RolledBack", name=NAME, seconds=90)
        first.until("v2 to have it all", lambda state: routed(first) == {V2: 100}, name=NAME, seconds=30)
        load.all_from(2)
        tally = load.end()
    assert route_writes(first, since) == 1
    assert spared.failures_but() == {}
    assert_taken_back(first, tally)
    state = first.state(NAME)
    assert view.evidence_lines(next(version for version in state.versions if view.number(version) == 3))


@pytest.mark.parametrize(
    ("number", "outcome", "code"),
    [(2, "promoted and watched", Exit.DONE), (3, "rolled back", Exit.ROLLED_BACK)],
    ids=["healthy", "harmful"],
)
def test_recorded_rollout_is_reproduced_to_the_last_bit_and_tells_where_it_had_ended_otherwise(
    first: Place, number: int, outcome: str, code: Exit
) -> None:
    name = f"{NAME}-v{number}-recording"
    first.until(f"{name} to be kept", lambda state: first.kubectl.get("configmap", name) is not None, name=NAME, seconds=30)
    found = ask(first, "backtest", NAME, f"v{number}", "-o", "json")
    assert found.returncode == code, found.stdout + found.stderr
    told = json.loads(found.stdout)
    assert (told["difference"], told["complete"], told["policy"]["outcome"]) == ("", True, outcome)
    recorded, replayed = told["recorded"]["outcomes"], told["policy"]["milestones"]
    assert [(one["reason"], one["message"]) for one in replayed] == [(one["reason"], one["message"]) for one in recorded]
    if code is Exit.ROLLED_BACK:
        status = (first.kubectl.get("modelversion", f"{NAME}-v{number}") or {})["status"]
        assert status["message"] == f"{replayed[-1]['reason']}: {replayed[-1]['message']}"
        assert status["finishedAt"] == recorded[-1]["at"]
    spans = told["sweeps"]["minimumRequests"]
    assert len(spans) > 1, spans
    for span in (spans[0], spans[1]):
        again = ask(first, "backtest", NAME, f"v{number}", "-o", "json", "--no-sweep", f"--minimum-requests={span['first']}")
        assert json.loads(again.stdout)["policy"]["outcome"] == span["outcome"], again.stdout


def test_what_somebody_changes_by_hand_is_put_back_within_five_seconds(first: Place) -> None:
    selector = (first.kubectl.get("service", V2) or {})["spec"]["selector"]
    weight = [{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 1}]
    grace = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    first.kubectl.run("patch", "httproute", NAME, "--type=json", f"--patch={json.dumps(weight)}")
    first.kubectl.patch("service", V2, {"spec": {"selector": {"perennial.dev/version": "99"}}})
    first.kubectl.patch("deployment", V2, grace)

    def as_it_was() -> bool:
        deployment, service = (first.kubectl.get(kind, V2) or {} for kind in ("deployment", "service"))
        kept = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 1
        return kept and service["spec"]["selector"] == selector and routed(first) == {V2: 100}

    first.until("all to be as it was", lambda state: as_it_was(), name=NAME, seconds=PUT_BACK_SECONDS, every=0.2)
