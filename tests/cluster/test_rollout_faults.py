"""A rollout beside faults that are not the candidate's, and one that is no matter of statistics, on the real cluster.

One ModelDeployment under 100 requests a second, open loop; the tests build on each other. All versions come from one image
(tests/benchmarks/trainer), which makes models that fail, or end their server, on words that only the load generator sends.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from cluster_support import audit, synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Load, Place
from cluster_support.reading import Reader
from demo.stage import State
from demo.traffic import UNKNOWN
from perennial.adapters.cluster import FIELD_MANAGER
from perennial.adapters.observe import deployment_spec, meta_of
from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.manifests.route import http_route

ROWS = 2000
NAME = "shop"
V1, V2, V3, V4 = (f"{NAME}-v{number}" for number in range(1, 5))
BAD_FOR_ALL, ENDS_SERVER = "a", "end"
"""Words: every version answers the first with an error; the second is the end of v4's server."""
RARELY = 0.0001
"""A falseRollbackRate by which a few errors, such as a server short of memory answers before it ends, convict nobody."""
DEPENDENCY_SHARE = 0.3
CHANGES, CHANGE_SECONDS = 200, 0.2
SAVE_SECONDS = 10.0
SAVING_SECONDS = 35.0
STEPS = [{"weight": 20, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
WATCH = {"for": "20s", "holdBack": 10}

Manifest = dict[str, Any]


class Shop:
    """The ModelDeployment and its operator, a process of the suite's own, so that it can be away."""

    def __init__(self, place: Place, operator: LocalOperator) -> None:
        self.place, self.operator = place, operator

    def ship(self, number: int, *options: str, **rollout: Any) -> None:
        """Asks for version `number`, trained with these options."""
        command = ["python3", "/trainer/train.py", "--salt", str(number), "--fails-on", BAD_FOR_ALL, *options]
        wish = self.place.manifest(
            NAME,
            training={"recipe": None, "image": self.place.light_image, "command": command},
            evaluation={"gates": [{"metric": "roc_auc", "minimum": 0.6}]},
            rollout={"steps": STEPS, "minimumRequests": 50, **rollout},
        )
        self.place.apply(self.operator.given(wish))

    def until_routed(self, number: int, weights: dict[str, int], *never: str, seconds: float = 240) -> None:
        """Until the route has these weights; fails when the version comes to an end that is not meant."""
        bad = ("Failed", "Rejected", "Superseded", *never)

        def gone_wrong(state: State) -> str:
            return f"v{number} is {state.state(number)}: {state.version(number)}" if state.state(number) in bad else ""

        self.place.until(
            f"the route to be {weights}",
            lambda state: routed(self.place) == weights,
            name=NAME,
            seconds=seconds,
            never=gone_wrong,
        )

    @contextmanager
    def load(self, word: str = "", share: float = 0.0) -> Iterator[Load]:
        """100 requests a second, of which this share has the word, by chance: Envoy deals requests out in turns, and words that
        came in turns too would not meet both versions alike."""
        chance, rows = random.Random(word), synthetic.table(5000, first=ROWS).select(synthetic.FEATURES).iter_rows(named=True)
        instances = [{**row, "kind": word} if chance.random() < share else row for row in rows]
        with self.place.load([json.dumps({"instances": [one]}) for one in instances], name=NAME) as load:
            yield load


@pytest.fixture(scope="module")
def shop(shared_place: Place) -> Iterator[Shop]:
    """v1 serves, and v2 is in its first step for long."""
    place = shared_place
    place.upload(synthetic.table(ROWS))
    with LocalOperator(place.ground, place.images, place.folder) as operator:
        found = Shop(place, operator)
        found.ship(1)
        place.serving(1, name=NAME)
        found.ship(2, steps=[{"weight": 20, "hold": "30m"}])
        found.until_routed(2, {V1: 80, V2: 20})
        yield found


def routed(place: Place) -> dict[str, int]:
    """Shares of the traffic as the HTTPRoute has them."""
    route = place.kubectl.get("httproute", NAME) or {"spec": {"rules": []}}
    return {ref["name"]: ref["weight"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"] if ref["weight"]}


def test_an_active_rollout_writes_its_status_at_most_once_in_ten_seconds(shop: Shop) -> None:
    with shop.load() as load:
        load.more(300)
        since = audit.now()
        time.sleep(SAVING_SECONDS)
        written = status_writes(shop.place, since)
        tally = load.end()
    assert len(written) >= SAVING_SECONDS / SAVE_SECONDS - 2, "nothing was saved: the rollout does not measure"
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(written)]
    assert all(gap > SAVE_SECONDS - 0.5 for gap in gaps), gaps
    assert tally.failures_but() == {}


def status_writes(place: Place, since: datetime) -> list[datetime]:
    """When the operator wrote the ModelDeployment's status, by the API server's audit log."""
    found = [event for event in audit.events(place.ground.cluster, since, place.namespace) if audit.is_operator(event)]
    mine = [event for event in found if event["objectRef"].get("resource") == "modeldeployments"]
    return [datetime.fromisoformat(event["requestReceivedTimestamp"]) for event in mine]


def test_two_hundred_changes_of_weight_under_load_lose_no_request(shop: Shop) -> None:
    """The operator is away, so that nothing puts a weight back; the routes are its own manifests, as it would apply them."""
    shop.operator.stop()
    api = Reader.of(shop.place.kubectl)
    model = shop.place.kubectl.get("mdep", NAME) or {}
    spec, meta = deployment_spec(model), meta_of(model)
    assert isinstance(spec, ModelDeploymentSpec)
    with shop.load() as load:
        for number in range(CHANGES):
            share = 1 + 37 * number % 99
            api.apply_as(FIELD_MANAGER, http_route(meta, spec.serving.route, ((1, 100 - share), (2, share))))
            time.sleep(CHANGE_SECONDS)
        assert routed(shop.place) == {V1: 100 - share, V2: share}
        tally = load.end()
    assert tally.failures_but() == {}
    assert min(tally.versions[version].requests for version in (V1, V2)) > tally.requests / 5
    shop.operator.start()
    shop.until_routed(2, {V1: 80, V2: 20}, seconds=30)


def test_while_a_dependency_of_both_versions_fails_nothing_is_rolled_back_and_the_rollout_goes_on(shop: Shop) -> None:
    shop.ship(3, watch=WATCH)
    with shop.load(BAD_FOR_ALL, DEPENDENCY_SHARE) as load:
        shop.until_routed(3, {V3: 90, V1: 10}, "RolledBack")
        shop.until_routed(3, {V3: 100}, "RolledBack", seconds=90)
        load.all_from(3)
        tally = load.end()
    assert tally.failures_but(V1, V3) == {}
    for version in (V1, V3):
        seen = tally.versions[version]
        assert seen.failures > 0.7 * DEPENDENCY_SHARE * seen.requests
    state = shop.place.state(NAME)
    assert (state.status["stable"], state.state(3), state.status.get("quarantined", [])) == (3, "Serving", [])


def test_a_candidate_whose_server_ends_again_and_again_under_load_is_taken_back_without_statistics(shop: Shop) -> None:
    shop.ship(4, "--ends-on", ENDS_SERVER, steps=[{"weight": 20, "hold": "30m"}], minimumRequests=5000, falseRollbackRate=RARELY)
    with shop.load() as load:
        shop.until_routed(4, {V3: 80, V4: 20})
        load.more(200)
        before = load.end()
    with shop.load(ENDS_SERVER, 0.02) as load:
        shop.place.until("v4 to be taken back", lambda state: state.state(4) == "RolledBack", name=NAME, seconds=180)
        shop.until_routed(4, {V3: 100})
        load.all_from(3)
        tally = load.end()
    assert before.failures_but() == {}
    assert tally.failures_but(V4, UNKNOWN) == {}, "v3 does not end on the word"
    state = shop.place.state(NAME)
    entry = state.status["quarantined"][0]
    assert (entry["version"], entry["reason"], state.status["stable"]) == (4, "CanaryCrashing", 3), state.version(4)["message"]
    assert "ended abnormally 2 times" in state.version(4)["message"]
