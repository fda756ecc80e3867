"""Whether healthy candidates are left alone.

Stable and canary come from the same image and answer alike; only the weights' last digits differ, so that the canary is another
version. Both fail 0.5 % of their requests, 100 a second come through the gateway in an open loop, the latency metric is on and
the false-rollback rate is the default. Each candidate has two steps of 30 s, at 10 % and at 50 %, and is promoted by them or
taken back. Two ModelDeployments take turns with training and canary, so that every analysis meets the noise of a training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.lane import BAD_FOR_ALL, SHARE_OF_ALL, WAIT_SECONDS, Backtested, Lane, Manifest, road, tell_backtests, trainer
from benchmarks.report import Report, histogram, median, quantile
from benchmarks.stand import Stand
from demo.ground import in_parallel

RUNS = 20
LANES = 2
MOST_ROLLED_BACK = 1
ANALYSIS_SECONDS = 60.0
"""The least that an analysis of a candidate that is promoted must have lasted."""
STEPS = {"steps": [{"weight": 10, "hold": "30s"}, {"weight": 50, "hold": "30s"}]}
AFTER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate's end."""

    rolled_back: bool
    seconds: float
    """From the first to the last answer of the canary that a client saw while it shared the traffic."""
    answers: int
    """Of the canary in this time."""
    latencies: Sequence[float]
    """Of every answer in it, either arm's, in milliseconds."""
    suspicion: float
    """The largest E of its metrics in parts of the threshold, as the status shows it at the end."""
    words: str
    backtested: Backtested


def run(stand: Stand, runs: int = RUNS) -> Report:
    """All runs, on lanes side by side."""
    report = Report("healthy", "Healthy candidates", " ".join((__doc__ or "").split("\n\n")[1].split()))
    image = trainer(stand)
    with road(stand, "healthy") as (place, operator, watch):
        lanes = [Healthy(place, operator, watch, f"lane-{number}", image) for number in range(LANES)]
        turns = [len(range(lane, runs, LANES)) for lane in range(LANES)]
        works = [lambda lane=lane, count=count: lane.runs(count) for lane, count in zip(lanes, turns, strict=True) if count]
        judged = [one for found in in_parallel(*works) for one in found]
    tell_backtests(report, [one.backtested for one in judged])
    latencies = [value for one in judged for value in one.latencies]
    report.add("candidates", len(judged), "")
    report.add("rolled back", sum(one.rolled_back for one in judged), "", MOST_ROLLED_BACK)
    report.add("analysis, median", median([one.seconds for one in judged]), "s")
    report.add("answers of a candidate in it, median", median([one.answers for one in judged]), "")
    report.add("latency as the clients saw it, p50", quantile(latencies, 0.5), "ms")
    report.add("latency as the clients saw it, p99", quantile(latencies, 0.99), "ms")
    shares = [100 * one.suspicion for one in judged]
    report.pictures.append(histogram("largest E at the end, in parts of its threshold", shares, 10.0, "%"))
    return report


class Healthy(Lane):
    """Gets one healthy candidate after the other."""

    def runs(self, count: int) -> list[Judged]:
        """Serves v1, then the candidates."""
        self.ship(STEPS, BAD_FOR_ALL)
        self.until("v1 to serve", lambda: self.state() == "Serving")
        return [self.one() for _ in range(count)]

    def one(self) -> Judged:
        """One candidate: shipped, and promoted or taken back."""
        self.ship(STEPS, BAD_FOR_ALL)
        self.until("the candidate to be deployed", lambda: self.state() in ("Accepted", "Deploying", "Canary"))
        with self.client(**{BAD_FOR_ALL: SHARE_OF_ALL}) as records:
            self.until("the end of the canary", self.ended, seconds=2 * WAIT_SECONDS)
            time.sleep(AFTER_SECONDS)
            judged = self.judged(records())
        end = f"ROLLED BACK, {judged.words}" if judged.rolled_back else "promoted"
        print(f"  {self.version}: {end} after {judged.seconds:.0f} s and {judged.answers} answers")
        if not judged.rolled_back and judged.seconds < ANALYSIS_SECONDS:
            raise AssertionError(f"{self.version} was promoted after {judged.seconds:.1f} s of analysis: {self.words()}")
        return judged

    def ended(self) -> bool:
        """Whether one version has all requests again."""
        return self.state() in ("Serving", "RolledBack") and list(self.routed().values()) == [100]

    def judged(self, records: Sequence[Manifest]) -> Judged:
        """What the clients saw of both arms while the canary had a part of the traffic."""
        first = min(one["done"] for one in records if one["version"] == self.version)
        others = [one["done"] for one in records if one["version"] not in (None, self.version)]
        mine = [one["done"] for one in records if one["version"] == self.version]
        last = min(max(others), max(mine))
        shared = [one for one in records if first <= one["done"] <= last]
        evidence = self.status().get("evidence", [])
        return Judged(
            rolled_back=self.state() == "RolledBack",
            seconds=last - first,
            answers=sum(one["version"] == self.version for one in shared),
            latencies=[1000 * (one["done"] - one["scheduled"]) for one in shared],
            suspicion=max((one.get("alphaUsed", 0.0) for one in evidence), default=0.0),
            words=self.words(),
            backtested=self.backtested(),
        )
