"""The small cluster of `world` with traffic by chance: bad and slow answers, servers that end, pods that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from perennial.api.v1alpha1 import ModelDeploymentStatus
from perennial.core import actions
from perennial.core.observed import MetricProblem, MetricReading, MirrorCounters, PodCounters
from perennial.core.tape import Tape, read
from perennial_runtime.contract import LATENCY_BOUNDS_MS, SCORE_BINS
from unit.core.world import World, spec

ENDED = ("RolledBack", "Serving", "Superseded", "Failed", "Retired")


@dataclass
class RecordedWorld(World):
    """`share_bad` and `share_slow` are those of version 2; version 1 has 2 % of each."""

    chance: Random = field(default_factory=Random)
    rate: float = 60.0
    share_bad: float = 0.02
    share_slow: float = 0.02
    crashes: float = 0.0
    """How likely a server of version 2 ends in a second."""
    saved: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    """The status in the cluster."""

    def write(self, decided: actions.Plan) -> None:
        """The status write, if there is one."""
        super().write(decided)
        if decided.persist:
            self.saved = decided.status

    def restart_operator(self) -> None:
        """Another process: nothing is known but what the cluster holds."""
        self.status, self.recordings = self.saved, ()

    def second(self) -> None:
        """About a second, and a pass."""
        self._traffic_by_chance()
        self._source()
        self.now += timedelta(microseconds=self.chance.randint(850_000, 1_150_000))
        self.run()

    def rolled_out(self, limit: int = 150) -> World:
        """Until version 2 has ended and its recording is kept."""
        for _ in range(limit):
            self.second()
            if 2 in self.kept:
                return self
        return self

    def tape(self, version: int = 2) -> Tape:
        """The recording in the cluster."""
        return read(self.kept[version])

    def _source(self) -> None:
        """A shop at which every request is an order."""
        if not any(metric.prometheus for metric in self.wish.rollout.metrics):
            return
        if self.chance.random() < 0.05:
            self.readings["orders"] = MetricProblem("NoData", "nobody answers")
            return
        arms = [[pod for pod in self.totals.values() if pod.version == version] for version in (2, 1)]
        good = [sum(pod.total - pod.bad for pod in arm) for arm in arms]
        total = [sum(pod.total for pod in arm) for arm in arms]
        self.readings["orders"] = MetricReading(self.now, good[0], total[0], good[1], total[1])

    def _traffic_by_chance(self) -> None:
        route = self.route
        if route is None:
            return
        for version, weight in route.weights:
            self._arm(version, self.rate * weight / 100, mirrored=False)
        if route.mirror is not None:
            self._arm(route.mirror.version, self.rate * route.mirror.percent / 100, mirrored=True)

    def _arm(self, version: int, rate: float, *, mirrored: bool) -> None:
        pods = [pod for pod in self.workloads[version].pods if pod.ready] if version in self.workloads else []
        for pod in pods:
            old = self._counters(version, pod)
            if version == 2 and self.chance.random() < self.crashes:
                old = PodCounters(pod.uid, version, 0, 0, 0, (0,) * len(LATENCY_BOUNDS_MS), restarts=old.restarts + 1)
                self.restart(pod.uid, old.restarts)
            self.totals[pod.uid] = self._counted(old, self.chance.randint(0, round(2 * rate / len(pods))), mirrored=mirrored)

    def _counted(self, old: PodCounters, count: int, *, mirrored: bool) -> PodCounters:
        bad = sum(self.chance.random() < (self.share_bad if old.version == 2 else 0.02) for _ in range(count))
        slow = sum(self.chance.random() < (self.share_slow if old.version == 2 else 0.02) for _ in range(count))
        slowest = LATENCY_BOUNDS_MS[self.chance.randrange(len(LATENCY_BOUNDS_MS))]
        more = [count - slow if bound < 50 or bound < slowest else count for bound in LATENCY_BOUNDS_MS]
        if mirrored:
            seen = old.mirror
            buckets = tuple(map(sum, zip(seen.buckets or (0,) * len(more), more, strict=True)))
            in_flight = self.chance.randint(0, 2)
            return replace(old, mirror=MirrorCounters(seen.total + count, seen.bad + bad, seen.timed + count, buckets, in_flight))
        scores = list(old.scores or (0,) * SCORE_BINS)
        for _ in range(count):
            scores[self.chance.randrange(SCORE_BINS)] += 1
        return replace(
            old,
            total=old.total + count,
            bad=old.bad + bad,
            timed=old.timed + count,
            buckets=tuple(map(sum, zip(old.buckets, more, strict=True))),
            scores=tuple(scores),
            in_flight=self.chance.randint(0, 3),
        )


def rolling_out(seed: int, rollout: dict[str, Any], **world: Any) -> RecordedWorld:
    """v1 serves and v2 is about to be rolled out, by this policy."""
    made = RecordedWorld(wish=spec(rollout=rollout), chance=Random(seed), **world)
    made.until(lambda w: w.status.stable == 1 and w.status.summary == "Serving")
    made.annotations["perennial.dev/retrain"] = "now"
    return made
