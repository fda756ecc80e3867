"""How long a client sees the faulty answers of a bad canary, from the first to the last.

Open-loop load of 100 requests a second through the gateway; the stable version fails 0.5 % of its requests, the canary has 10 %
of the traffic and comes to fail 10 % of its own on top. Both metrics are on, the false-rollback rate is the default. Real models
in real pods: the load generator sends words on which a model fails (tests/benchmarks/trainer). One half of the canaries is bad
from its first request, the other turns bad after 60 healthy seconds. Two ModelDeployments take turns with training and canary.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.lane import (
    BAD_FOR_ALL,
    BAD_FOR_CANARY,
    SHARE_OF_ALL,
    SHARE_OF_CANARY,
    Backtested,
    Lane,
    Manifest,
    road,
    tell_backtests,
    trainer,
)
from benchmarks.report import Report, histogram, median
from benchmarks.stand import Stand
from demo.ground import in_parallel

RUNS = 10
"""Of each scenario."""
LANES = 2
HEALTHY_SECONDS = 60.0
AT_ONCE_SECONDS, LATER_SECONDS = 6.0, 12.0
HEALTHY = {BAD_FOR_ALL: SHARE_OF_ALL}
BAD = {BAD_FOR_ALL: SHARE_OF_ALL, BAD_FOR_CANARY: SHARE_OF_CANARY}
STEPS = {"steps": [{"weight": 10, "hold": "10m"}]}


@dataclass(frozen=True, slots=True)
class Caught:
    """One run."""

    later: bool
    seconds: float
    """From the first to the last faulty answer of the canary that the client saw."""
    answers: int
    """Faulty answers of the canary in this time."""
    reason: str
    backtested: Backtested


def run(stand: Stand, runs: int = RUNS) -> Report:
    """All runs, on lanes side by side."""
    report = Report("detection", "Time to the end of harm", " ".join((__doc__ or "").split("\n\n")[1].split()))
    image = trainer(stand)
    with road(stand, "detection") as (place, operator, watch):
        lanes = [Detection(place, operator, watch, f"lane-{number}", image) for number in range(LANES)]
        shares = [[later for turn in range(runs) for later in (False, True) if turn % LANES == lane] for lane in range(LANES)]
        works = [lambda lane=lane, share=share: lane.runs(share) for lane, share in zip(lanes, shares, strict=True)]
        caught = [one for found in in_parallel(*works) for one in found]
    for later, words, most in (
        (False, "bad from its first request", AT_ONCE_SECONDS),
        (True, f"bad after {HEALTHY_SECONDS:.0f} healthy seconds", LATER_SECONDS),
    ):
        _tell(report, [one for one in caught if one.later is later], words, most)
    tell_backtests(report, [one.backtested for one in caught])
    return report


def _tell(report: Report, caught: Sequence[Caught], words: str, most: float) -> None:
    seconds = [one.seconds for one in caught]
    report.add(f"{words}: runs", len(caught), "")
    report.add(f"{words}: first to last faulty answer, median", median(seconds), "s", most)
    report.add(f"{words}: longest", max(seconds), "s")
    report.add(f"{words}: faulty answers of the canary, median", median([one.answers for one in caught]), "")
    reasons = ", ".join(sorted({one.reason for one in caught}))
    report.pictures.append(histogram(f"{words}: seconds from the first to the last faulty answer ({reasons})", seconds, 2.0, "s"))


class Detection(Lane):
    """One ModelDeployment that gets one bad candidate after the other."""

    def runs(self, scenarios: Sequence[bool]) -> list[Caught]:
        """Serves v1, then the runs."""
        self.ship(STEPS, BAD_FOR_ALL)
        self.until("v1 to serve", lambda: self.state() == "Serving")
        return [self.one(later) for later in scenarios]

    def one(self, later: bool) -> Caught:
        """One candidate: shipped, bad, taken back."""
        self.ship(STEPS, BAD_FOR_ALL, BAD_FOR_CANARY)
        self.until("the candidate to be deployed", lambda: self.state() in ("Accepted", "Deploying", "Canary"))
        with self.client(**(HEALTHY if later else BAD)) as records:
            if later:
                self.until("the canary's first answer", lambda: any(one["version"] == self.version for one in records()))
                self.healthy()
            else:
                self.until("the candidate to be taken back", lambda: self.state() == "RolledBack")
                time.sleep(2.0)
                return self.caught(records(), later)
        with self.client(**BAD) as records:
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
        return Caught(later, seconds, len(faulty), self.words().partition(":")[0][:60], self.backtested())
