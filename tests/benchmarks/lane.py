"""A lane of a rollout benchmark: one ModelDeployment that gets one version after the other, and its clients.

Open loop, through the gateway; real models in real pods. The load generator sends words on which a model fails
(tests/benchmarks/trainer), so that it decides what share of an arm's answers is an error. Lanes run side by side.
"""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.report import Report
from benchmarks.stand import Stand
from cluster_support import synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place, light_trainer
from cluster_support.watching import Watch
from demo.kubectl import diagnosis
from demo.traffic import Client
from perennial.api.recording import RECORDING_KEY, recording_name
from perennial.core import backtest
from perennial.core.backtest import Span
from perennial.core.replay import replay, reproduced
from perennial.core.tape import read as read_tape

RATE = 100.0
"""Requests a second of one lane."""
BAD_FOR_ALL, BAD_FOR_CANARY = "a", "b"
SHARE_OF_ALL, SHARE_OF_CANARY = 0.005, 0.10
WAIT_SECONDS = 240.0
ROWS = 2000
BODIES = 5000
LOAD_SECONDS = 900
KINDS = ("ModelDeployment", "ModelVersion", "HTTPRoute", "Pod", "Deployment")
METRICS: Sequence[Mapping[str, Any]] = (
    {"name": "errors", "errors": {}},
    {"name": "slow", "latency": {"slowerThan": "50ms"}, "tolerance": 1.25},
)

Manifest = dict[str, Any]


def trainer(stand: Stand) -> str:
    """The image of tests/benchmarks/trainer."""
    return light_trainer(stand.ground)


@contextmanager
def road(stand: Stand, title: str) -> Iterator[tuple[Place, LocalOperator, Watch]]:
    """What lanes share: a place with data, an operator of its own, a watch of the place."""
    with stand.place(title) as place, stand.operator(place) as operator:
        place.upload(synthetic.table(ROWS))
        with Watch(place.ground.cluster.kubeconfig, place.namespace, KINDS) as watch:
            yield place, operator, watch


@dataclass(frozen=True, slots=True)
class Backtested:
    """What `kubectl perennial backtest` finds in a recording."""

    version: str
    outcome: str
    difference: str
    """Why the replay is not what was recorded; empty: it is, to the last bit."""
    rates: tuple[Span, ...]
    requests: tuple[Span, ...]


def tell_backtests(report: Report, found: Sequence[Backtested]) -> None:
    """How many recordings reproduce their verdict, and how many would have another one within what the API allows."""
    different = [one.difference for one in found if one.difference]
    report.add("recordings whose replay is another than the verdict", len(different), "", 0)
    for words in different:
        print(f"  NOT reproduced: {words}")
    report.add("that would end otherwise at another falseRollbackRate", sum(len(one.rates) > 1 for one in found), "")
    report.add("that would end otherwise at another minimumRequests", sum(len(one.requests) > 1 for one in found), "")
    lines = ["| recording | its end | by falseRollbackRate | by minimumRequests |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.version} | {one.outcome} | {ends(one.rates)} | {ends(one.requests)} |" for one in found]
    report.tables.append("\n".join(lines))


def ends(spans: Sequence[Span]) -> str:
    """Where a recorded rollout would have come to which end: `undecided to 0.0003; rolled back from 0.000301`."""
    changes = [(one, other) for one, other in pairwise(spans) if one.outcome != other.outcome]
    if not changes:
        return f"{spans[0].outcome} at all"
    return "; ".join(
        [*(f"{one.outcome} to {one.last:g}" for one, _ in changes), f"{spans[-1].outcome} from {changes[-1][1].first:g}"]
    )


class Lane:
    """One ModelDeployment; `number` is that of its newest version."""

    def __init__(self, place: Place, operator: LocalOperator, watch: Watch, name: str, image: str) -> None:
        self.place, self.operator, self.watch, self.name, self.image = place, operator, watch, name, image
        self.number = 0
        self._clients = 0

    def ship(self, rollout: Manifest, *fails_on: str) -> None:
        """Applies a manifest that asks for one version more: another model, which fails on these words."""
        self.number += 1
        command = ["python3", "/trainer/train.py", "--salt", str(self.number), "--fails-on", *fails_on]
        wish = self.place.manifest(
            self.name,
            training={"recipe": None, "image": self.image, "command": command},
            evaluation={"gates": [{"metric": "roc_auc", "minimum": 0.6}]},
            rollout={"minimumRequests": 200, "metrics": list(METRICS), **rollout},
        )
        self.place.apply(self.operator.given(wish))

    @property
    def version(self) -> str:
        """Name of the newest version."""
        return f"{self.name}-v{self.number}"

    def model(self) -> Manifest:
        """The ModelDeployment as last seen."""
        return next((one for one in self.watch.of("ModelDeployment") if one["metadata"]["name"] == self.name), {})

    def status(self) -> Manifest:
        """Of the newest version."""
        found = (one for one in self.watch.of("ModelVersion") if one["metadata"]["name"] == self.version)
        return dict(next(found, {}).get("status") or {})

    def state(self) -> str:
        """Of the newest version."""
        return str(self.status().get("state", ""))

    def words(self) -> str:
        """The newest version's message."""
        return str(self.status().get("message", ""))

    def routed(self) -> dict[int, int]:
        """Shares by number of version as the HTTPRoute has them, without those that get none."""
        route = next((one for one in self.watch.of("HTTPRoute") if one["metadata"]["name"] == self.name), None)
        backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]] if route else []
        return {int(one["name"].rpartition("-v")[2]): one["weight"] for one in backends if one["weight"]}

    def until(
        self, what: str, reached: Callable[[], bool], *never: str, seconds: float = WAIT_SECONDS, every: float = 0.1
    ) -> None:
        """Waits. Raises AssertionError with a diagnosis when it does not come, or the newest version is in a state of `never`."""
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline or self.state() in ("Failed", "Rejected", "Superseded", *never):
                words = f"{what} did not happen; {self.version} is {self.state()}: {self.words()}"
                raise AssertionError(f"{words}\n{diagnosis(self.place.kubectl, self.name)}\n{self.operator.words()}")
            time.sleep(every)

    def backtested(self) -> Backtested:
        """The newest version's recording, replayed: whether that reproduces its verdict, and where that would have been another.

        RECORDINGS names a folder in which it is kept as well.
        """
        name, found = recording_name(self.version), list[Manifest]()

        def is_kept() -> bool:
            found[:] = [one] if (one := self.place.kubectl.get("configmap", name)) else []
            return bool(found)

        self.until(f"{name} to be kept", is_kept, seconds=30.0)
        data = base64.b64decode(found[0]["binaryData"][RECORDING_KEY])
        if folder := os.environ.get("RECORDINGS", ""):
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{self.place.namespace}-{self.version}.jsonl.gz").write_bytes(data)
        tape = read_tape(data)
        policy = tape.header.terms.rollout
        replayed = replay(tape)
        rates, requests = backtest.by_rate(tape, policy), backtest.by_requests(tape, policy)
        return Backtested(self.version, replayed.outcome, reproduced(tape, replayed), rates, requests)

    @contextmanager
    def client(self, **shares: float) -> Iterator[Callable[[], list[Manifest]]]:
        """Load in this lane, in which each word has its share (`a=0.005`); gives what reads the records so far."""
        self._clients += 1
        folder = self.place.folder / f"{self.version}-{self._clients}"
        folder.mkdir()
        bodies = folder / "requests.jsonl"
        bodies.write_text("\n".join(mixed(shares, f"{self.version} {self._clients}")) + "\n")
        address = str(self.model()["status"]["address"])
        client: Client = self.place.ground.client(address, bodies, folder, rate=RATE, seconds=LOAD_SECONDS)
        with client:
            yield lambda: read(folder / "answers.jsonl")
            if client.problem:
                raise AssertionError(client.problem)


def mixed(shares: Mapping[str, float], seed: str) -> list[str]:
    """Bodies in which each word of failure comes with its share, independently."""
    chance = random.Random(seed)
    bodies = []
    for row in synthetic.table(BODIES, first=ROWS).select(synthetic.FEATURES).iter_rows(named=True):
        instance: Manifest = dict(row)
        drawn = chance.random()
        for word, share in shares.items():
            if drawn < share:
                instance["kind"] = word
                break
            drawn -= share
        bodies.append(json.dumps({"instances": [instance]}))
    return bodies


def read(path: Path) -> list[Manifest]:
    """The load generator's records so far; the last line may be half written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1] if line.strip()]
