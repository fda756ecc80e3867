"""The ledger of a model that changes its version ten times while its operator is killed five times: every decision once, complete
in the store, verified, and no more when any one byte of it is changed.

v1 is trained, v2 promoted through a canary by real requests; then a person goes to and fro between the two. LEDGER_ROLLOUTS=10
makes them ten versions, each trained, and all but the first promoted through a canary (five minutes more). The operator is a
process of the test's own, killed in a training, in the canary, after a request, when it has told of a return, and when it
has made the Job that stores the ledger.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS, traffic
from cluster_support.watching import PATHS, Seen, Watch
from demo.ground import REPOSITORY
from demo.kubectl import diagnosis
from perennial.api.ledger import Ledger
from perennial.cli.exits import Exit
from perennial.core import storing
from perennial_runtime import chain
from perennial_runtime.chain import Broken, Link

ROLLOUTS = int(os.environ.get("LEDGER_ROLLOUTS", "2"))
RETURNS = (ROLLOUTS - 1, ROLLOUTS) * 4
VERSIONS = [*range(1, ROLLOUTS + 1), *RETURNS]
"""Who gets all requests, in this order: at least ten changes."""
KILLS = 5
POSITIONS = 50
MOST_REQUESTS = 40

Manifest = dict[str, Any]
OBJECTS = """
import base64, json, sys, obstore
from obstore.store import S3Store
bucket, _, prefix = sys.argv[1].removeprefix("s3://").partition("/")
store = S3Store(bucket, prefix=prefix, client_options={"allow_http": True})
for name, body in json.loads(sys.stdin.read() or "{}").items():
    obstore.put(store, name, base64.b64decode(body))
names = [item["path"] for page in obstore.list(store, "ledger") for item in page]
print(json.dumps({name: base64.b64encode(bytes(obstore.get(store, name).bytes())).decode() for name in names}))
"""
"""Puts the objects given on standard input, then prints all of the ledger's."""


@dataclass
class Told:
    """The whole story, with what was seen of it from outside."""

    place: Place
    operator: LocalOperator
    watch: Watch
    kills: list[str] = field(default_factory=list)

    def status(self) -> Manifest:
        return dict(next(iter(self.watch.of("ModelDeployment")), {}).get("status") or {})

    def ledger(self) -> Ledger:
        return Ledger.model_validate(self.status().get("ledger") or {})

    def stables(self) -> list[int]:
        """The versions that served, one for each change that the API server told of."""
        found = [int((one.manifest.get("status") or {}).get("stable") or 0) for one in self._seen("ModelDeployment")]
        return [number for before, number in zip([0, *found], found, strict=False) if number != before]

    def made(self, kind: str) -> Counter[str]:
        return Counter({one.uid: one.name for one in self._seen(kind) if one.type == "ADDED"}.values())

    def _seen(self, kind: str) -> list[Seen]:
        return [one for one in self.watch.recorded() if one.kind == kind]

    def until(self, what: str, reached: Callable[[], bool], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                words = f"{diagnosis(self.place.kubectl, NAME)}\n{self.operator.words()}"
                raise AssertionError(f"{what} did not happen within {seconds:.0f} s\n{words}")
            time.sleep(0.05)

    def serves(self, number: int) -> bool:
        status = self.status()
        weights = {one["version"]: one["weight"] for one in status.get("weights", [])}
        return status.get("stable") == number and weights.get(number) == 100 and not status.get("returning")

    def kill(self, when: str) -> None:
        self.operator.kill()
        self.kills.append(when)
        self.operator.start()

    def manifest(self, number: int) -> Manifest:
        wish = self.place.manifest(
            NAME,
            training=self.place.light(number),
            rollout={"steps": [{"weight": 20, "hold": "3s"}], "minimumRequests": 20},
        )
        return self.operator.given(wish)

    # ---- the story ----

    def tell(self) -> None:
        self.place.apply(self.manifest(1))
        self.until("v1 to be trained", lambda: bool(self.made("Job")[f"{NAME}-v1-train-1"]))
        self.kill("in the training of v1")
        self.until("v1 to serve", lambda: self.serves(1), 240)
        for number in range(2, ROLLOUTS + 1):
            self.promote(number)
        for index, number in enumerate(RETURNS):
            self.place.kubectl.annotate("mdep", NAME, "perennial.dev/rollback-to", f"{number};id=return-{index}")
            if index == 1:
                self.kill("after a request")
            self.until(f"v{number} to serve again", lambda number=number: self.serves(number))  # type: ignore[misc]
            if index == 4:
                self.kill("after a return")
        self.have_it_stored()

    def promote(self, number: int) -> None:
        """By its canary under requests."""
        self.place.apply(self.manifest(number))
        share = {"version": number, "weight": 20}
        self.until(f"v{number} in its canary", lambda: any(share.items() <= one.items() for one in self.status()["weights"]), 240)
        if number == 2:
            self.kill("in the canary of v2")
        with traffic(self.place, rate=50):
            self.until(f"v{number} to be promoted", lambda: self.serves(number))

    def have_it_stored(self) -> None:
        """A person decides so often that a Job is due; the operator dies as soon as it has made it."""
        for number in range(MOST_REQUESTS):
            if self.stored_by_job() or self.ledger().stored:
                break
            verb = "resume" if self.status().get("paused") else "pause"
            self.place.kubectl.annotate("mdep", NAME, f"perennial.dev/{verb}", f";id=more-{number}")
            self.until(f"{verb} to be carried out", lambda verb=verb: bool(self.status().get("paused")) is (verb == "pause"))  # type: ignore[misc]
        self.until("a Job that stores the ledger", self.stored_by_job, 60)
        self.kill("when the ledger's Job was made")
        self.until("the ledger to be stored", lambda: self.ledger().stored is not None, 120)
        self.until("the Job to go", lambda: not any(self.is_of_ledger(one) for one in self.watch.of("Job")), 60)

    def stored_by_job(self) -> bool:
        return any(self.is_of_ledger(one.manifest) for one in self._seen("Job"))

    @staticmethod
    def is_of_ledger(job: Manifest) -> bool:
        return bool(job["metadata"]["labels"].get("perennial.dev/step") == "ledger")

    # ---- the store, and the verifier ----

    def objects(self, put: dict[str, bytes] | None = None) -> dict[str, bytes]:
        """The ledger's objects in the store, after those given were put there."""
        stored = self.ledger().stored
        assert stored is not None
        keys = [f"{key}={value}" for key, value in self.place.ground.cluster.store_data().items()]
        given = json.dumps({name: base64.b64encode(body).decode() for name, body in (put or {}).items()})
        told = self.place.ground.cluster.run("env", *keys, sys.executable, "-c", OBJECTS, stored.uri, stdin=given, timeout=60)
        return {name: base64.b64decode(body) for name, body in json.loads(told).items()}

    def verify(self, *arguments: str) -> tuple[int, str]:
        """Exit code and words of kubectl perennial history, where the store can be reached."""
        here = f"PYTHONPATH={REPOSITORY / 'operator'}:{REPOSITORY / 'serving'}"
        where = f"KUBECONFIG={self.place.ground.cluster.kubeconfig}"
        verb = [sys.executable, "-m", "perennial.cli", "history", NAME, "--namespace", self.place.namespace]
        script = '"$@" 2>&1; echo "ended with $?"'
        told = self.place.ground.cluster.run("sh", "-c", script, "sh", "env", here, where, *verb, *arguments, timeout=60)
        words, _, code = told.strip().rpartition("ended with ")
        return int(code), words


@pytest.fixture(scope="module")
def told(shared_place: Place) -> Iterator[Told]:
    place = shared_place
    place.upload(synthetic.table(ROWS))
    folder = Path(tempfile.mkdtemp(dir=place.folder))
    operator = LocalOperator(place.ground, place.images, folder)
    watch = Watch(place.ground.cluster.kubeconfig, place.namespace, tuple(PATHS))
    with operator, watch:
        story = Told(place, operator, watch)
        story.tell()
        yield story


@pytest.fixture(scope="module")
def links(told: Told) -> list[Link]:
    """Every entry: those in the store, and behind them those in the status."""
    found = chain.chained(told.objects())
    behind = [one for one in told.ledger().entries if one.number > found[-1].number]
    lines = [chain.line_of(one.model_dump(mode="json", by_alias=True, exclude_defaults=True)) for one in behind]
    return [*found, *(chain.link(line) for line in lines)]


def entries(links: list[Link]) -> list[Manifest]:
    return [json.loads(one.line) for one in links]


def test_ten_changes_and_five_kills_came_about(told: Told) -> None:
    assert told.stables() == VERSIONS
    assert len(set(told.kills)) == KILLS


def test_each_decision_stands_there_once_and_in_order(told: Told, links: list[Link]) -> None:
    assert [one.number for one in links] == list(range(1, told.ledger().length + 1))
    chain.follow(links)
    every = entries(links)
    assert [one["version"] for one in every if one["what"] in ("Promoted", "Returned")] == told.stables()
    assert [one["version"] for one in every if one["what"] == "VersionCreated"] == list(range(1, ROLLOUTS + 1))
    canary = [(one["version"], one["message"]) for one in every if one["what"] in ("CanaryStarted", "CanaryStep")]
    assert {version for version, _ in canary} == set(range(2, ROLLOUTS + 1))
    assert len(canary) == len(set(canary))


def test_each_request_and_each_step_that_was_seen_stands_there_once(told: Told, links: list[Link]) -> None:
    every = entries(links)
    handled = Counter(
        (one["verb"], one["id"])
        for seen in told.watch.recorded()
        if seen.kind == "ModelDeployment"
        for one in (seen.manifest.get("status") or {}).get("requests", [])
        if one.get("id")
    )
    asked = [one for one in every if one["what"] == "Request"]
    assert len(asked) == len(handled) >= len(RETURNS)
    jobs = [name for name in told.made("Job") if re.fullmatch(rf"{NAME}-v\d+-(prepare|train|evaluate)-\d+", name)]
    assert set(told.made("Job").values()) == {1}
    for what in ("StepBegun", "StepEnded"):
        steps = Counter((one["version"], one["message"].split(":")[0]) for one in every if one["what"] == what)
        assert set(steps.values()) == {1}
        assert len(steps) == len(jobs)


def test_the_store_has_it_and_the_status_says_how_far(told: Told) -> None:
    whole, stored = told.ledger(), chain.chained(told.objects())
    assert whole.stored is not None
    assert (whole.stored.number, whole.stored.digest) == (stored[-1].number, stored[-1].digest)
    assert len(stored) >= storing.AT_LEAST
    assert whole.begins == stored[0].number == 1
    assert "LedgerStored" not in {one["type"] for one in told.status()["conditions"]}


def test_history_reads_and_verifies_it(told: Told) -> None:
    code, words = told.verify("--verify")
    assert code == Exit.DONE, words
    assert re.search(r"the ledger holds: (\d+) of its \1 entries are here, \d+ of them in the store", words), words
    code, words = told.verify("--all", "-o", "json")
    assert code == Exit.DONE, words
    assert [one["number"] for one in json.loads(words)["ledger"]["entries"]] == list(range(1, told.ledger().length + 1))


def test_any_byte_that_is_changed_in_what_was_downloaded_is_found(told: Told, tmp_path: Path) -> None:
    objects, chance = told.objects(), random.Random(5)
    for name, body in objects.items():
        (tmp_path / os.path.basename(name)).write_bytes(body)
    code, words = told.verify("--verify", "--from", str(tmp_path))
    assert code == Exit.DONE, words
    for _ in range(POSITIONS):
        name = chance.choice(sorted(objects))
        changed = _changed(objects[name], chance.randrange(len(objects[name])), chance.randrange(1, 256))
        with pytest.raises(Broken):
            chain.chained({**objects, name: changed})
    (tmp_path / os.path.basename(name)).write_bytes(changed)
    code, words = told.verify("--verify", "--from", str(tmp_path))
    assert code == Exit.BROKEN, words


def test_a_byte_that_is_changed_in_the_store_is_found_until_it_is_put_back(told: Told) -> None:
    before = told.objects()
    name, body = next(iter(before.items()))
    told.objects({name: _changed(body, len(body) // 2, 1)})
    try:
        code, words = told.verify("--verify")
        assert code == Exit.BROKEN, words
        assert os.path.basename(name) in words
    finally:
        assert told.objects({name: body}) == before
    assert told.verify("--verify")[0] == Exit.DONE


def _changed(body: bytes, place: int, by: int) -> bytes:
    return body[:place] + bytes([body[place] ^ by]) + body[place + 1 :]
