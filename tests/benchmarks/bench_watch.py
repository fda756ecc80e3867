"""How long clients see the faults of a version that goes bad after its promotion, while it is watched.

100 requests a second, open loop, of which both versions fail 0.5 %; both metrics are on, the false-rollback rate is the default.
The version passes its step, is promoted, and 10 % of the requests stay with the one before it. 20 s after the promotion it
begins to fail 10 % of its requests on top. It is returned by one write of the HTTPRoute, which is counted in the API server's
audit log. Two ModelDeployments take turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmarks.lane import BAD_FOR_ALL, BAD_FOR_CANARY, SHARE_OF_ALL, SHARE_OF_CANARY, Lane, Manifest, road, trainer
from benchmarks.report import Report, histogram, median
from benchmarks.stand import Stand
from cluster_support import audit
from demo.ground import in_parallel

RUNS = 6
LANES = 2
MOST_SECONDS = 15.0
GOOD_SECONDS = 20.0
HOLD_BACK = 10
WATCHED = {
    "steps": [{"weight": 20, "hold": "5s"}],
    "minimumRequests": 100,
    "watch": {"for": "10m", "holdBack": HOLD_BACK},
}
AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Returned:
    """One version that went bad in its watch."""

    seconds: float
    """From the first to the last of its faulty answers that the client saw, from its turning bad on."""
    answers: int
    """Faulty ones in this time."""
    writes: int
    """Of the route from its turning bad on."""
    reason: str


def run(stand: Stand, runs: int = RUNS) -> Report:
    """All runs, on lanes side by side."""
    report = Report("watch", "Bad after the promotion", " ".join((__doc__ or "").split("\n\n")[1].split()))
    image = trainer(stand)
    with road(stand, "watch") as (place, operator, watch):
        lanes = [Watched(place, operator, watch, f"lane-{number}", image) for number in range(LANES)]
        turns = [len(range(lane, runs, LANES)) for lane in range(LANES)]
        works = [lambda lane=lane, count=count: lane.runs(count) for lane, count in zip(lanes, turns, strict=True) if count]
        returned = [one for found in in_parallel(*works) for one in found]
    report.add("runs", len(returned), "")
    report.add("first to last faulty answer, median", median([one.seconds for one in returned]), "s", MOST_SECONDS)
    report.add("longest", max(one.seconds for one in returned), "s")
    report.add("faulty answers, median", median([one.answers for one in returned]), "")
    report.add("writes of the route for a return, most", max(one.writes for one in returned), "", 1)
    reasons = ", ".join(sorted({one.reason for one in returned}))
    seconds = [one.seconds for one in returned]
    report.pictures.append(histogram(f"seconds from the first to the last faulty answer ({reasons})", seconds, 2.0, "s"))
    return report


class Watched(Lane):
    """Gets one version after the other that goes bad when it is watched."""

    def runs(self, count: int) -> list[Returned]:
        """Serves v1, then the versions that turn bad."""
        self.ship(WATCHED, BAD_FOR_ALL)
        self.until("v1 to serve", lambda: self.state() == "Serving")
        return [self.one() for _ in range(count)]

    def one(self) -> Returned:
        """One version: promoted, good for a while, bad, and returned to the one before."""
        stable = int(self.model()["status"]["stable"])
        self.ship(WATCHED, BAD_FOR_ALL, BAD_FOR_CANARY)
        self.until("the candidate to be deployed", lambda: self.state() in ("Accepted", "Deploying", "Canary"))
        with self.client(**{BAD_FOR_ALL: SHARE_OF_ALL}):
            shares = {self.number: 100 - HOLD_BACK, stable: HOLD_BACK}
            self.until("it to be watched", lambda: self.routed() == shares and self.state() == "Serving", "RolledBack")
            self.good()
        since = audit.now()
        with self.client(**{BAD_FOR_ALL: SHARE_OF_ALL, BAD_FOR_CANARY: SHARE_OF_CANARY}) as records:
            self.until("it to be returned", lambda: self.state() == "RolledBack" and self.routed() == {stable: 100})
            time.sleep(AFTER_SECONDS)
            return self.returned(records(), since)

    def good(self) -> None:
        """The watched version's good seconds."""
        deadline = time.monotonic() + GOOD_SECONDS
        while time.monotonic() < deadline:
            if self.state() != "Serving":
                raise AssertionError(f"{self.version} is {self.state()} before it turned bad: {self.words()}")
            time.sleep(0.2)

    def returned(self, records: Sequence[Manifest], since: datetime) -> Returned:
        """What the clients saw, and what the API server wrote down."""
        faulty = [one["done"] for one in records if one["version"] == self.version and not one["ok"]]
        if len(faulty) < 2:
            raise AssertionError(f"{self.version} was returned after {len(faulty)} faulty answers: {self.words()}")
        written = audit.writes(self.place.ground.cluster, since, self.place.namespace)
        mine = [line for line in written if line.split()[1].startswith("httproutes") and f"/{self.name} " in line]
        found = Returned(max(faulty) - min(faulty), len(faulty), len(mine), self.words().partition(":")[0][:60])
        print(f"  {self.version} bad after its promotion: {found.seconds:.1f} s, {found.answers} faulty answers")
        return found
