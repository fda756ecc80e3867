"""A lane in which stories are told again and again from the same start, each with the operator killed at one of its writes.

Training is not told again: a *start* is what the API server holds of a ModelDeployment and its two versions, taken once and put
back before each story, in this namespace or another one. The operator, started on it, brings pods and route to what it says;
then the story begins. Everything is real: API server, pods, gateway, clients.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from cluster_support import ending, faults, synthetic
from cluster_support.faults import Counted, Point, Told
from cluster_support.faulty import ARMED, READINGS, WRITES, decided
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from cluster_support.watching import PATHS, Manifest, Watch
from demo.ground import REPOSITORY
from demo.kubectl import diagnosis
from perennial.api.ledger import Ledger, LedgerEntry
from perennial.api.recording import recording_name
from perennial.core import ledger

NAME = "shop"
V1, V2 = f"{NAME}-v1", f"{NAME}-v2"
ROWS = 2000
RATE = 50.0
BAD_WORD = "b"
BAD_EVERY = 2
"""Every so many requests of a story in which v2 is bad: it is caught in its first step, so that no telling has a weight more."""
STEPS = ({"weight": 20, "hold": "3s"}, {"weight": 50, "hold": "3s"})
HOLD_SECONDS = 3.0
"""The operator stands still so long at the write before it dies: an outage of this and of its start."""
STORY_SECONDS = 150.0
QUIET_SECONDS = 2.0
LOAD_SECONDS = 300.0
TRAIN_SECONDS = 240.0
NAMESPACE = re.compile(r"t-faults-\d+-\d+")
ALSO = re.compile(r"observedGeneration|resourceVersion")
"""A namespace's ModelDeployment is changed by every story before; a request notes the version that it stood in."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a story starts from: spec and status of the ModelDeployment and its versions."""

    namespace: str
    """Where it was taken: it stands in the address that the status tells."""
    pin: int | None
    status: Manifest
    versions: Sequence[Manifest]
    serving: int
    """The version that has all requests and pods; no other has any."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is done, and how it ends."""

    name: str
    start: str
    """Name of the start: `waiting` (v1 serves, v2 is judged and waits) or `served` (v2 was promoted)."""
    act: Callable[[Lane], None]
    ended: Callable[[Lane], bool]
    left: int
    """The version that has no pods in the end."""
    harmful: bool = False
    """Clients ask what v2 fails on."""


class Lane:
    """One namespace with its operator. Use in a `with`."""

    def __init__(self, place: Place, *, image: str, source: str, whole: bool) -> None:
        """`image` trains both versions, on the data of `source`; a `whole` story is told until the version that was left has no
        pods, some fifteen seconds later than one that ends when it has no requests."""
        self.place, self.whole = place, whole
        self._image, self._source = image, source
        self._folder = place.folder / "faults"
        self._folder.mkdir()
        python = ":".join(str(REPOSITORY / name) for name in ("operator", "serving", "tests"))
        more = {"FAULTS_FOLDER": str(self._folder), "FAULTS_HOLD": str(HOLD_SECONDS), "PYTHONPATH": python}
        self.operator = LocalOperator(place.ground, place.images, place.folder, module="cluster_support.faulty", more=more)
        self.watch = Watch(place.ground.cluster.kubeconfig, place.namespace, tuple(PATHS))
        self._plays = 0

    def __enter__(self) -> Lane:
        self.watch.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.operator.kill()
        self.watch.__exit__(None, None, None)

    # ---- what is there ----

    def model(self) -> Manifest:
        return next(iter(self.watch.of("ModelDeployment")), {})

    def status(self) -> Manifest:
        return dict(self.model().get("status") or {})

    def ledger(self) -> list[LedgerEntry]:
        """The newest entries."""
        return Ledger.model_validate(self.status().get("ledger") or {}).entries

    def state(self, number: int) -> str:
        found = (one for one in self.watch.of("ModelVersion") if one["spec"]["number"] == number)
        return str(next(((one.get("status") or {}).get("state", "") for one in found), ""))

    def routed(self) -> dict[str, int]:
        return faults.shares(next(iter(self.watch.of("HTTPRoute")), {"spec": {"rules": []}}))

    def pods(self, number: int) -> list[Manifest]:
        wanted = {"perennial.dev/version": str(number), "perennial.dev/role": "serve"}
        return [pod for pod in self.watch.of("Pod") if wanted.items() <= pod["metadata"]["labels"].items()]

    def replicas(self, number: int) -> int:
        found = (one for one in self.watch.of("Deployment") if one["metadata"]["name"] == f"{NAME}-v{number}")
        return int(next((one["spec"]["replicas"] for one in found), 0))

    def until(self, what: str, reached: Callable[[], bool], seconds: float) -> None:
        """Waits. An operator that died at its point is started again; one that died otherwise is a failure."""
        deadline = time.monotonic() + seconds
        while not reached():
            self._revive()
            if time.monotonic() > deadline:
                seen = f"v1 {self.state(1)}, v2 {self.state(2)}, routed {self.routed()}, status {decided(self.status())}"
                words = f"{diagnosis(self.place.kubectl, NAME)}\n{self.operator.words()}"
                raise AssertionError(f"{what} did not happen within {seconds:.0f} s: {seen}\n{words}")
            time.sleep(0.05)

    def _revive(self) -> None:
        if self.operator.ended:
            if (self._folder / ARMED).exists() or not self._armed:
                raise AssertionError(self.operator.problem())
            self._armed, self.killed = False, True
            self.operator.start()

    def _is_dying(self) -> bool:
        """Whether the operator has come to its point and still holds there."""
        return self._armed and not (self._folder / ARMED).exists()

    _armed = killed = False

    # ---- starts ----

    def manifest(self, salt: int, pin: int | None) -> Manifest:
        """The wish; another salt makes another model of the same skill."""
        command = ["python3", "/trainer/train.py", "--salt", str(salt), *(["--fails-on", BAD_WORD] if salt > 1 else [])]
        wish = self.place.manifest(
            NAME,
            data={"source": {"uri": self._source}},
            training={"recipe": None, "image": self._image, "command": command},
            evaluation={"gates": [{"metric": "roc_auc", "minimum": 0.6}]},
            rollout={"steps": list(STEPS), "minimumRequests": 20, "metrics": [{"name": "errors", "errors": {}}]},
            **({"pin": pin} if pin else {}),
        )
        return self.operator.given(wish)

    def train(self) -> Start:
        """The start `waiting`: v1 is trained and serves, v2 is trained and judged, and waits, for v1 is pinned."""
        self.operator.start()
        self.place.apply(self.manifest(1, None))
        self.until("v1 to serve", lambda: self.state(1) == "Serving" and self.routed() == {V1: 100}, TRAIN_SECONDS)
        self.place.apply(self.manifest(2, 1))
        self.until("v2 to wait", lambda: self.state(2) == "Accepted", TRAIN_SECONDS)
        self._quiet()
        return self.start(1)

    def start(self, serving: int) -> Start:
        """What is there now, to be put back."""
        versions = sorted(self.watch.of("ModelVersion"), key=lambda one: int(one["spec"]["number"]))
        return Start(self.place.namespace, self.model()["spec"].get("pin"), self.status(), versions, serving)

    def put(self, start: Start) -> None:
        """Puts a start into this namespace, whatever was there, and lets the operator bring the rest to it."""
        self.operator.kill()
        kubectl = self.place.kubectl
        wish = self.manifest(2, start.pin)
        self.place.apply(wish)
        kubectl.run("annotate", "mdep", NAME, "perennial.dev/rollback-to-")
        kubectl.run("delete", "configmap", recording_name(V2), "--ignore-not-found")  # a version's first recording is kept
        kubectl.run("delete", "job", "--selector=perennial.dev/step=metric", "--cascade=foreground", timeout=90)  # runs count on
        self._replace("mdep", NAME, "/spec", wish["spec"])  # what a story patched in goes too
        owner = kubectl.get("mdep", NAME) or {}
        there = {one["metadata"]["name"] for one in kubectl.list("mver")}
        for version in start.versions:
            if version["metadata"]["name"] not in there:
                kubectl.run("create", "--filename=-", given=json.dumps(_copy(version, owner)))
        for version in start.versions:
            self._replace("mver", version["metadata"]["name"], "/status", version["status"])
        address = str(start.status["address"]).replace(start.namespace, self.place.namespace)
        self._replace("mdep", NAME, "/status", {**start.status, "address": address, "ledger": _begun_anew(start.status)})
        if start.serving == 1:
            kubectl.run("delete", "deployment,service", V2, "--ignore-not-found", "--cascade=foreground", timeout=90)
        self.operator.start()
        self.operator.wait_ready()
        self.until("the start to be there", lambda: self._is_at(start), STORY_SECONDS)
        self._quiet()

    def _replace(self, kind: str, name: str, path: Literal["/spec", "/status"], value: Manifest) -> None:
        patch = json.dumps([{"op": "add", "path": path, "value": value}])
        resource = ["--subresource=status"] if path == "/status" else []
        self.place.kubectl.run("patch", kind, name, "--type=json", f"--patch={patch}", *resource)

    def _is_at(self, start: Start) -> bool:
        other = 3 - start.serving
        ready = [pod for pod in self.pods(start.serving) if _is_ready(pod)]
        routed = self.routed() == {f"{NAME}-v{start.serving}": 100}
        return routed and bool(ready) and not self.pods(other) and not self.replicas(other)

    def _quiet(self) -> None:
        """Until the operator has written nothing for a while."""
        file, since = self._folder / WRITES, time.monotonic()
        before = -1
        while time.monotonic() - since < QUIET_SECONDS:
            self._revive()
            size = file.stat().st_size if file.exists() else 0
            if size != before:
                before, since = size, time.monotonic()
            time.sleep(0.05)

    def _settled(self) -> None:
        """Until the operator, which may just have been started again, has nothing more to write."""
        if self.killed:
            self.operator.wait_ready()
        self._quiet()

    # ---- stories ----

    def play(self, story: Story, start: Start, point: Point | None = None) -> Told:
        """Tells a story, with a kill at a point or without. What goes wrong is told too."""
        told, began = Told(point), time.monotonic()
        try:
            self.put(start)
            self._play(story, point, told)
        except AssertionError as error:
            told.problem = str(error) or repr(error)
        finally:
            (self._folder / ARMED).unlink(missing_ok=True)
            self._armed = False
        told.killed, told.seconds = self.killed, time.monotonic() - began
        click.echo(f"  {point or story.name}: {_outcome(told)}, {told.seconds:.0f} s")
        return told

    def _play(self, story: Story, point: Point | None, told: Told) -> None:
        self.killed = False
        with self._client(harmful=story.harmful) as records:
            self.until("the clients to be answered", lambda: _is_fine(records()), 30)
            seen, events, asked = len(self.watch.recorded()), self._told_events(), time.time()
            known = max((one.number for one in self.ledger()), default=0)
            self._arm(point)
            story.act(self)
            self.until(f"the end of the {story.name}", lambda: story.ended(self) and not self._is_dying(), STORY_SECONDS)
            if self.whole:
                gone = partial(lambda number: not self.replicas(number) and not self.pods(number), story.left)
                self.until(f"the pods of v{story.left} to go", gone, STORY_SECONDS)
            self._settled()
            if self._is_dying():  # at what it writes last
                self.until("the operator to be killed", lambda: not self._is_dying(), STORY_SECONDS)
                self._settled()
            recorded, after = self.watch.recorded()[seen:], self._told_events()
        writes = [json.loads(line) for line in (self._folder / WRITES).read_text().splitlines()]
        told.writes = [write["name"] for write in writes]
        told.left = ending.end(self.watch, NAMESPACE, ALSO if self.whole else re.compile(f"{ALSO.pattern}|replicas"))
        told.made, told.decisions, told.weights = ending.made(recorded), faults.decisions(recorded), faults.weights(recorded)
        entries = [one for one in self.ledger() if one.number >= known]
        told.ledger = faults.entered([one for one in entries if one.number > known])
        told.ledger_problem = ledger.problem(entries)
        told.events = Counter(reason for name, reason in after.items() if name not in events)
        answers = [one for one in records() if one["done"] >= asked]
        told.counted = self._counted(writes, answers)
        failed = Counter(one["version"] or "nobody" for one in answers if not one["ok"])
        told.failures = {version: count for version, count in failed.items() if not (story.harmful and version == V2)}

    def _arm(self, point: Point | None) -> None:
        for name in (WRITES, READINGS):
            (self._folder / name).write_text("")
        if point is not None:
            (self._folder / ARMED).write_text(json.dumps({"write": point.write, "side": point.side}))
            self._armed = True

    def _told_events(self) -> dict[str, str]:
        """Reasons of the events on the model, by the events' names."""
        found = self.place.kubectl.list("events")
        return {one["metadata"]["name"]: one["reason"] for one in found if one["involvedObject"].get("name") == NAME}

    def _counted(self, writes: Sequence[Manifest], answers: Sequence[Manifest]) -> list[Counted]:
        """Both arms' evidence beside the answers that clients got while it was gathered; none where there was no comparison."""
        spans = faults.counting(writes, [float(line) for line in (self._folder / READINGS).read_text().splitlines()])
        if not spans:
            return []
        offset = time.time() - time.monotonic()
        during = [one["version"] for one in answers if any(a <= one["done"] - offset <= b for a, b in spans)]
        version = next(one for one in self.watch.of("ModelVersion") if one["metadata"]["name"] == V2)
        evidence = next(iter(version["status"].get("evidence", [])), {})
        share = max(step["weight"] for step in STEPS) / 100
        return [
            Counted("v2", evidence.get("candidateTotal", 0), during.count(V2), share * RATE),
            Counted("v1", evidence.get("stableTotal", 0), during.count(V1), (1 - STEPS[0]["weight"] / 100) * RATE),
        ]

    @contextmanager
    def _client(self, *, harmful: bool) -> Any:
        """Clients; gives what reads their records so far."""
        self._plays += 1
        folder = self.place.folder / f"clients-{self._plays}"
        folder.mkdir()
        bodies = folder / "requests.jsonl"
        every = BAD_EVERY if harmful else 0
        bodies.write_text(
            "\n".join(synthetic.bodies(synthetic.table(600, first=ROWS), new_kind=BAD_WORD, new_every=every)) + "\n"
        )
        url = str(self.status()["address"])
        with self.place.ground.client(url, bodies, folder, rate=RATE, seconds=LOAD_SECONDS) as client:

            def records() -> list[Manifest]:
                if client.problem and not ended:
                    raise AssertionError(client.problem)
                return _records(folder / "answers.jsonl")

            ended = False
            yield records
            ended = True


def _begun_anew(status: Manifest) -> Manifest:
    """The ledger goes on behind the start's, whose entries grow old meanwhile and would be stored amid a story."""
    length = int((status.get("ledger") or {}).get("length", 0))
    return {"length": length, "begins": length + 1}


def _copy(version: Manifest, owner: Manifest) -> Manifest:
    """The same version, of another ModelDeployment."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    kept = {"name": version["metadata"]["name"], "labels": version["metadata"]["labels"], "ownerReferences": [reference]}
    return {"apiVersion": version["apiVersion"], "kind": "ModelVersion", "metadata": kept, "spec": version["spec"]}


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )


def _is_fine(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the newest answers were all good ones of one version: the gateway knows route and pods."""
    newest = records[-20:]
    return len(newest) == 20 and all(one["ok"] for one in newest) and len({one["version"] for one in newest}) == 1


def _records(path: Path) -> list[Manifest]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def _outcome(told: Told) -> str:
    if told.problem:
        return told.problem.partition("\n")[0]
    return "killed, came to its end" if told.killed else "told without a kill"


def _unpin(lane: Lane) -> None:
    lane.place.kubectl.patch("mdep", NAME, {"spec": {"pin": None}})


def _unpin_into_a_shadow(lane: Lane) -> None:
    lane.place.kubectl.patch("mdep", NAME, {"spec": {"pin": None, "rollout": {"shadow": {"hold": "3s"}}}})


def _unpin_to_be_measured(lane: Lane) -> None:
    job = {"image": lane.place.images.runtime, "command": ["python3", "-c", "pass"]}
    metrics = [{"name": "errors", "errors": {}}, {"name": "acceptance", "job": job}]
    lane.place.kubectl.patch("mdep", NAME, {"spec": {"pin": None, "rollout": {"metrics": metrics}}})


def _return(lane: Lane) -> None:
    lane.place.kubectl.annotate("mdep", NAME, "perennial.dev/rollback-to", "1")


def _is_promoted(lane: Lane) -> bool:
    states = (lane.state(1), lane.state(2)) == ("Retired", "Serving")
    return states and lane.status().get("stable") == 2 and lane.routed() == {V2: 100}


def _is_rolled_back(lane: Lane) -> bool:
    return lane.state(2) == "RolledBack" and not lane.status().get("returning") and lane.routed() == {V1: 100}


def _is_returned(lane: Lane) -> bool:
    states = (lane.state(1), lane.state(2)) == ("Serving", "Retired")
    settled = not any(one.get("pending", True) for one in lane.status().get("requests", []))
    return states and settled and lane.status().get("stable") == 1 and lane.routed() == {V1: 100}


STORIES = {
    story.name: story
    for story in (
        Story("promotion", "waiting", _unpin, _is_promoted, left=1),
        Story("rollback", "waiting", _unpin, _is_rolled_back, left=2, harmful=True),
        Story("promotion out of a shadow", "waiting", _unpin_into_a_shadow, _is_promoted, left=1),
        Story("rollback in the shadow", "waiting", _unpin_into_a_shadow, _is_rolled_back, left=2, harmful=True),
        Story("promotion measured by a Job", "waiting", _unpin_to_be_measured, _is_promoted, left=1),
        Story("return", "served", _return, _is_returned, left=2),
    )
}
"""All of them. A story needs a start, an act, and an end that can be told from the objects alone; its writes are found out.
One of another kind of rollout patches the spec in its act, which is undone before the next."""
