"""kill -9 of the operator at every point that matters: what it leaves is what an operator that was never killed leaves.

One story, told three times at the same time, each in its own namespace with its own operator process: v1 is trained and served,
v2 is promoted through the canary, v3 (which does harm) is taken back. In the first nobody kills; in the others the operator is
killed the moment the API server tells of one of the points, or up to 0.3 s later, and started again. A point is named after what
was written; each weight that the route ever gets is a point of its own.
"""

from __future__ import annotations

import queue
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster_support import ending, synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from cluster_support.shop import NEW_KIND
from cluster_support.watching import PATHS, Seen, Watch
from demo.ground import Ground, Images, in_parallel
from demo.kubectl import diagnosis
from demo.traffic import Client

NAME = "shop"
ROWS = 2000
LEAST_KILLS = 20
LATEST_SECONDS = 0.3
"""Half of the kills come at once, half within this time of the point."""
POINTS = frozenset({"train Job created", "evaluated", "breach seen", "promotion written"})
WEIGHTS = frozenset(
    {
        "weights v1:100",  # v1 serves
        "weights v1:80 v2:20",
        "weights v1:50 v2:50",
        "weights v1:0 v2:100",  # v2 is promoted
        "weights v2:80 v3:20",
        "weights v2:100 v3:0",  # v3 is taken back
    }
)
"""Every weight that is written in the story, and no other."""
JUST_BEFORE = frozenset({"evaluate Job ended", "breach seen", "promotion written"})
"""Points that another one follows within milliseconds."""
SPARED: tuple[frozenset[str], ...] = (JUST_BEFORE, frozenset())
"""For each killed story the points at which nobody kills. What an operator wrote that is dead by the time it is told is no point:
only where these three are spared is it sure to be alive when it writes a verdict, a promotion's weights and a return's."""
RATE = 50.0
"""Requests a second of each story. Three are told at once, each with its trainings and an operator of its own: at 100 the two
cores of a small machine may fall behind, and then it is they whom a client's failures tell of."""
NEW_EVERY = 2
"""Every so many requests ask what v3 cannot answer: often enough that it is caught in its first step, so that no story has a
weight more than another."""
STORY_SECONDS = 900.0
GATEWAY_SECONDS = 2.0
"""After a new route is accepted, until every request finds it."""

Manifest = dict[str, Any]


def point_of(seen: Seen) -> str | None:
    """The point of the operator's work that an event tells of."""
    match seen.kind:
        case "Job" if seen.type == "ADDED" and seen.labels.get("perennial.dev/step") == "train":
            return "train Job created"
        case "Job" if seen.labels.get("perennial.dev/step") == "evaluate" and _turned(seen, _complete):
            return "evaluate Job ended"
        case "ModelVersion" if _turned(seen, _evaluated):
            return "evaluated"
        case "HTTPRoute" if seen.type != "DELETED" and _turned(seen, _weights):
            return f"weights {_weights(seen.manifest)}"
        case "ModelDeployment" if _turned(seen, lambda one: len(_status(one).get("quarantined", []))):
            return "breach seen"
        case "ModelDeployment" if _turned(seen, lambda one: _status(one).get("stable", 0)):
            return "promotion written"
        case _:
            return None


def _turned(seen: Seen, value: Callable[[Manifest], Any]) -> bool:
    """Whether something about the object has another value than in the event before."""
    now, before = value(seen.manifest), value(seen.before) if seen.before else None
    return bool(now) and now != before


def _status(manifest: Manifest) -> Manifest:
    return dict(manifest.get("status") or {})


def _complete(job: Manifest) -> bool:
    return any(one["type"] == "Complete" and one["status"] == "True" for one in _status(job).get("conditions", []))


def _evaluated(version: Manifest) -> bool:
    return any(one["step"] == "evaluate" and one["state"] == "Succeeded" for one in _status(version).get("steps", []))


def _weights(route: Manifest) -> str:
    """As in 'v1:80 v2:20': every version in the route, in the order of their numbers."""
    backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    shares = sorted((int(backend["name"].rpartition("-v")[2]), int(backend["weight"])) for backend in backends)
    return " ".join(f"v{number}:{weight}" for number, weight in shares)


class Killer:
    """Kills an operator at every point that is not spared, once for each event, and starts it again."""

    def __init__(self, operator: LocalOperator, seed: int, spared: frozenset[str]) -> None:
        self.operator = operator
        self.kills: list[str] = []
        self._spared = spared
        self._chance = random.Random(seed)
        self._points: queue.SimpleQueue[tuple[str, float] | None] = queue.SimpleQueue()
        self._started = 0.0
        self._thread = threading.Thread(target=self._run, name=f"killer of {operator.name}", daemon=True)

    def tell(self, seen: Seen) -> None:
        """Called by the watch for every event."""
        point = point_of(seen)
        if point is not None and point not in self._spared:
            self._points.put((point, seen.at))

    def __enter__(self) -> Killer:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._points.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while (told := self._points.get()) is not None:
            point, at = told
            if at < self._started:
                continue  # what an operator did that is dead already
            time.sleep(self._chance.choice((0.0, self._chance.uniform(0.0, LATEST_SECONDS))))
            self.operator.kill()
            self.kills.append(point)
            self.operator.start()
            self._started = time.monotonic()


@dataclass
class Story:
    """One telling: where it plays, who runs it, and what was seen."""

    place: Place
    operator: LocalOperator
    watch: Watch
    source: str
    kills: list[str] = field(default_factory=list)
    tally: Any = None

    def manifest(self, salt: int, *, harmful: bool = False) -> Manifest:
        wish = self.place.manifest(
            NAME,
            data={"source": {"uri": self.source}},
            training=self.place.light(salt, fails_on=NEW_KIND if harmful else ""),
            rollout={"steps": [{"weight": 20, "hold": "3s"}, {"weight": 50, "hold": "3s"}], "minimumRequests": 30},
        )
        return self.operator.given(wish)

    def play(self) -> None:
        """v1 serves; v2 is promoted; v3 is taken back; nothing is left to do."""
        self.place.apply(self.manifest(1))
        self.until("v1 to serve", lambda: self.state(1) == "Serving" and self.serves(1))
        self.until("the gateway to know v1", self.ready)
        time.sleep(GATEWAY_SECONDS)
        with self.client() as client:
            self.place.apply(self.manifest(2))
            self.until("v2 to be promoted", lambda: self.state(2) == "Serving" and self.serves(2))
            self.place.apply(self.manifest(3, harmful=True))
            self.until("v3 to be taken back", lambda: self.state(3) == "RolledBack" and self.serves(2))
            self.tally = client.stop()
        self.until("the pods of v1 and v3 to go", lambda: self.replicas() == {1: 0, 2: 1, 3: 0})
        time.sleep(3.0)

    def client(self) -> Client:
        bodies = synthetic.bodies(synthetic.table(1200, first=ROWS), new_kind=NEW_KIND, new_every=NEW_EVERY)
        return self.place.client(str(_status(self.model())["address"]), bodies, rate=RATE, seconds=STORY_SECONDS)

    def until(self, what: str, reached: Callable[[], bool], seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                words = diagnosis(self.place.kubectl, NAME)
                raise AssertionError(f"{what} did not happen within {seconds:.0f} s\n{words}\n{self.operator.words()}")
            time.sleep(0.1)

    def model(self) -> Manifest:
        return next(iter(self.watch.of("ModelDeployment")), {})

    def state(self, number: int) -> str:
        found = (one for one in self.watch.of("ModelVersion") if one["spec"]["number"] == number)
        return str(next((_status(one).get("state", "") for one in found), ""))

    def ready(self) -> bool:
        conditions = _status(self.model()).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def serves(self, number: int) -> bool:
        weights = {one["version"]: one["weight"] for one in _status(self.model()).get("weights", [])}
        return weights.get(number) == 100 and _status(self.model()).get("stable") == number

    def replicas(self) -> dict[int, int]:
        found = self.watch.of("Deployment")
        return {int(one["metadata"]["labels"]["perennial.dev/version"]): one["spec"]["replicas"] for one in found}

    def made(self) -> dict[str, int]:
        """How many objects of each kind and role came and went."""
        return ending.made(self.watch.recorded())

    def jobs(self) -> Counter[str]:
        """Times that each Job was made, by name."""
        made = {seen.uid: seen.name for seen in self.watch.recorded() if seen.kind == "Job" and seen.type == "ADDED"}
        return Counter(made.values())

    def end(self) -> set[str]:
        """The state that is left, masked: one line for each leaf."""
        return ending.end(self.watch, NAMESPACE)


NAMESPACE = re.compile(r"t-kill-[0-9a-f]{8}-\d")
"""Part of the store's URI, of the route's path and of the address."""


@pytest.fixture(scope="module")
def stories(operator: Ground, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Story]]:
    """The unkilled story first, then the killed ones; all played to their ends."""
    folder = tmp_path_factory.mktemp("kill")
    names = [f"t-kill-{random.getrandbits(32):08x}-{number}" for number in range(1 + len(SPARED))]
    with ExitStack() as stack:
        stack.callback(operator.delete_namespaces, *names)
        places = [Place(operator, images, operator.namespace(name), Path(tempfile.mkdtemp(dir=folder))) for name in names]
        places[0].upload(synthetic.table(ROWS))
        source = places[0].source
        killed = [
            partial(tell, place, source, seed, spared)
            for seed, (place, spared) in enumerate(zip(places[1:], SPARED, strict=True), 1)
        ]
        yield in_parallel(partial(tell, places[0], source), *killed)


def tell(place: Place, source: str, seed: int = 0, spared: frozenset[str] | None = None) -> Story:
    """Plays one story; nobody kills where nothing is said of what is spared."""
    operator = LocalOperator(place.ground, place.images, place.folder)
    killer = Killer(operator, seed, spared or frozenset())
    told = (lambda seen: None) if spared is None else killer.tell
    watch = Watch(place.ground.cluster.kubeconfig, place.namespace, tuple(PATHS), told)
    story = Story(place, operator, watch, source, killer.kills)
    with operator, watch, killer:
        story.play()
    return story


def test_at_least_twenty_kills_hit_every_named_point_and_every_weight(stories: Sequence[Story]) -> None:
    kills = Counter(point for story in stories for point in story.kills)
    assert stories[0].kills == []
    assert set(kills) >= POINTS
    assert {point for point in kills if point.startswith("weights")} == WEIGHTS
    assert sum(kills.values()) >= LEAST_KILLS


def test_a_killed_operator_makes_and_deletes_what_an_unkilled_one_does(stories: Sequence[Story]) -> None:
    expected = stories[0].made()
    assert {story.place.namespace: story.made() for story in stories[1:]} == {
        story.place.namespace: expected for story in stories[1:]
    }


def test_a_killed_operator_leaves_the_state_that_an_unkilled_one_leaves(stories: Sequence[Story]) -> None:
    expected = stories[0].end()
    assert any(line.startswith("/ModelVersion shop-v3/status/state") for line in expected)
    for story in stories[1:]:
        assert sorted(story.end() ^ expected) == [], f"after kills at {story.kills}"


def test_no_attempt_gets_a_second_job(stories: Sequence[Story]) -> None:
    expected = {f"{NAME}-v{number}-{step}-1" for number in (1, 2, 3) for step in ("prepare", "train", "evaluate")}
    for story in stories:
        assert set(story.jobs()) == expected
        assert set(story.jobs().values()) == {1}


def test_no_client_met_a_failure_that_was_not_the_harmful_version_s(stories: Sequence[Story]) -> None:
    for story in stories:
        words = {name: seen.first_problem for name, seen in story.tally.versions.items() if seen.failures}
        assert story.tally.failures_but(f"{NAME}-v3") == {}, words
        assert story.tally.requests > 500
