"""How long a client sees the faulty answers of a bad canary, from the first to the last.

Open-loop load of 100 requests a second through the gateway; the stable version fails 0.5 % of its requests, the canary has 10 %
of the traffic and comes to fail 10 % of its own on top. Both metrics are on, the false-rollback rate is the default. Real models
in real pods: the load generator sends words on which a model fails (tests/benchmarks/trainer). One half of the canaries is bad
from its first request, the other turns bad after 60 healthy seconds. Two ModelDeployments take turns with training and canary.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import Report, histogram, median
from benchmarks.stand import Stand
from cluster_support import synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from cluster_support.watching import Watch
from demo.ground import REPOSITORY, in_parallel
from demo.kubectl import diagnosis
from demo.traffic import Client

RUNS = 10
"""Of each scenario."""
LANES = 2
RATE = 100.0
BAD_FOR_ALL, BAD_FOR_CANARY = "a", "b"
SHARE_OF_ALL, SHARE_OF_CANARY = 0.005, 0.10
HEALTHY_SECONDS = 60.0
AT_ONCE_SECONDS, LATER_SECONDS = 8.0, 12.0
WAIT_SECONDS = 240.0
ROWS = 2000

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caught:
    """One run."""

    later: bool
    seconds: float
    """From the first to the last faulty answer of the canary that the client saw."""
    answers: int
    """Faulty answers of the canary in this time."""
    reason: str


def run(stand: Stand, runs: int = RUNS) -> Report:
    """All runs, on lanes side by side."""
    report = Report("detection", "Time to the end of harm", " ".join((__doc__ or "").split("\n\n")[1].split()))
    trainer = stand.ground.cluster.push(
        "perennial/trainer-bench", REPOSITORY / "tests/benchmarks/trainer", parent="perennial/training"
    )
    with stand.place("detection") as place, stand.operator(place) as operator:
        place.upload(synthetic.table(ROWS))
        kinds = ("ModelDeployment", "ModelVersion")
        with Watch(place.ground.cluster.kubeconfig, place.namespace, kinds) as watch:
            lanes = [Lane(place, operator, watch, f"lane-{number}", trainer) for number in range(LANES)]
            shares = [[later for turn in range(runs) for later in (False, True) if turn % LANES == lane] for lane in range(LANES)]
            works = [lambda lane=lane, share=share: lane.runs(share) for lane, share in zip(lanes, shares, strict=True)]
            caught = [one for found in in_parallel(*works) for one in found]
    for later, words, most in (
        (False, "bad from its first request", AT_ONCE_SECONDS),
        (True, f"bad after {HEALTHY_SECONDS:.0f} healthy seconds", LATER_SECONDS),
    ):
        _tell(report, [one for one in caught if one.later is later], words, most)
    return report


def _tell(report: Report, caught: Sequence[Caught], words: str, most: float) -> None:
    seconds = [one.seconds for one in caught]
    report.add(f"{words}: runs", len(caught), "")
    report.add(f"{words}: first to last faulty answer, median", median(seconds), "s", most)
    report.add(f"{words}: longest", max(seconds), "s")
    report.add(f"{words}: faulty answers of the canary, median", median([one.answers for one in caught]), "")
    reasons = ", ".join(sorted({one.reason for one in caught}))
    report.pictures.append(histogram(f"{words}: seconds from the first to the last faulty answer ({reasons})", seconds, 2.0, "s"))


class Lane:
    """One ModelDeployment that gets one bad candidate after the other."""

    def __init__(self, place: Place, operator: LocalOperator, watch: Watch, name: str, trainer: str) -> None:
        self.place, self.operator, self.watch, self.name, self.trainer = place, operator, watch, name, trainer
        self.number = 1

    def runs(self, scenarios: Sequence[bool]) -> list[Caught]:
        """Serves v1, then the runs."""
        self.ship([BAD_FOR_ALL])
        self.until("v1 to serve", lambda: self.state() == "Serving")
        return [self.one(later) for later in scenarios]

    def one(self, later: bool) -> Caught:
        """One candidate: shipped, bad, taken back."""
        self.number += 1
        self.ship([BAD_FOR_ALL, BAD_FOR_CANARY])
        self.until("the candidate to be deployed", lambda: self.state() in ("Accepted", "Deploying", "Canary"))
        with self.client(bad=not later) as records:
            if later:
                self.until("the canary's first answer", lambda: any(one["version"] == self.version for one in records()))
                self.healthy()
            else:
                self.until("the candidate to be taken back", lambda: self.state() == "RolledBack")
                time.sleep(2.0)
                return self.caught(records(), later)
        with self.client(bad=True) as records:
            self.until("the candidate to be taken back", lambda: self.state() == "RolledBack")
            time.sleep(2.0)
            return self.caught(records(), later)

    def healthy(self) -> None:
        """The canary's good minute."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while time.monotonic() < deadline:
            if self.state() != "Canary":
                raise AssertionError(f"{self.version} is {self.state()} before it turned bad: {self.words()}")
            time.sleep(0.2)

    def caught(self, records: Sequence[Manifest], later: bool) -> Caught:
        """What the client saw of the canary's faults."""
        faulty = [one["done"] for one in records if one["version"] == self.version and not one["ok"]]
        if len(faulty) < 2:
            raise AssertionError(f"{self.version} was taken back after {len(faulty)} faulty answers: {self.words()}")
        seconds = max(faulty) - min(faulty)
        print(f"  {self.version} bad {'after a minute' if later else 'at once'}: {seconds:.1f} s, {len(faulty)} faulty answers")
        return Caught(later, seconds, len(faulty), self.words().partition(":")[0][:60])

    def ship(self, fails_on: Sequence[str]) -> None:
        wish = self.place.manifest(
            self.name,
            training={
                "recipe": None,
                "image": self.trainer,
                "command": ["python3", "/trainer/train.py", "--salt", str(self.number), "--fails-on", *fails_on],
            },
            evaluation={"gates": [{"metric": "roc_auc", "minimum": 0.6}]},
            rollout={
                "steps": [{"weight": 10, "hold": "10m"}],
                "minimumRequests": 200,
                "metrics": [
                    {"name": "errors", "errors": {}},
                    {"name": "slow", "latency": {"slowerThan": "50ms"}, "tolerance": 1.25},
                ],
            },
        )
        self.place.apply(self.operator.given(wish))

    @property
    def version(self) -> str:
        return f"{self.name}-v{self.number}"

    def status(self) -> Manifest:
        found = (one for one in self.watch.of("ModelVersion") if one["metadata"]["name"] == self.version)
        return dict(next(found, {}).get("status") or {})

    def state(self) -> str:
        return str(self.status().get("state", ""))

    def words(self) -> str:
        return str(self.status().get("message", ""))

    def until(self, what: str, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not reached():
            if time.monotonic() > deadline or self.state() in ("Failed", "Rejected", "Superseded"):
                words = f"{what} did not happen; {self.version} is {self.state()}: {self.words()}"
                raise AssertionError(f"{words}\n{diagnosis(self.place.kubectl, self.name)}\n{self.operator.words()}")
            time.sleep(0.1)

    @contextmanager
    def client(self, *, bad: bool) -> Iterator[Callable[[], list[Manifest]]]:
        """Load in this lane; gives what reads the records so far."""
        folder = self.place.folder / f"{self.version}-{'bad' if bad else 'good'}"
        folder.mkdir()
        bodies = folder / "requests.jsonl"
        bodies.write_text("\n".join(mixed(bad, self.version)) + "\n")
        address = next(
            one["status"]["address"] for one in self.watch.of("ModelDeployment") if one["metadata"]["name"] == self.name
        )
        client: Client = self.place.ground.client(address, bodies, folder, rate=RATE, seconds=600)
        with client:
            yield lambda: read(folder / "answers.jsonl")


def mixed(bad: bool, seed: str) -> list[str]:
    """Bodies in which each word of failure comes with its share, independently."""
    chance = random.Random(seed)
    bodies = []
    for row in synthetic.table(5000, first=ROWS).select(synthetic.FEATURES).iter_rows(named=True):
        instance: Manifest = dict(row)
        drawn = chance.random()
        if drawn < SHARE_OF_ALL:
            instance["kind"] = BAD_FOR_ALL
        elif bad and drawn < SHARE_OF_ALL + SHARE_OF_CANARY:
            instance["kind"] = BAD_FOR_CANARY
        bodies.append(json.dumps({"instances": [instance]}))
    return bodies


def read(path: Path) -> list[Manifest]:
    """The load generator's records so far; the last line may be half written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1] if line.strip()]
