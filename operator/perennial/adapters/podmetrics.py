"""Counters of serving pods, read straight from their management ports: the port `perennial.ports.PodMetrics`.

Series of kind=live and, apart, of kind=mirror count; golden and warm-up requests are the pod's own. What a pod does not
answer in time is no measurement, never a bad one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from perennial.core.observed import MirrorCounters, PodCounters, ServingPod
from perennial_runtime.contract import (
    DURATION_SERIES,
    IN_FLIGHT_SERIES,
    LATENCY_BOUNDS_MS,
    MANAGEMENT_PORT,
    REQUESTS_SERIES,
    SCORE_BINS,
    SCORES_SERIES,
    Container,
)

READ_SECONDS = 0.8


@dataclass(slots=True)
class _Sums:
    total: int = 0
    bad: int = 0
    timed: int = 0
    in_flight: int = 0
    buckets: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    """Cumulative, by bin."""

    def bucket_counts(self) -> tuple[int, ...]:
        """In the order of the bounds."""
        return tuple(self.buckets.get(bound, 0) for bound in LATENCY_BOUNDS_MS)

    def score_counts(self) -> tuple[int, ...]:
        """Of each bin alone; empty when a version's runtime is older than scores."""
        if not self.scores:
            return ()
        cumulative = [self.scores.get(index, 0) for index in range(SCORE_BINS)]
        return tuple(count - before for before, count in zip([0, *cumulative], cumulative, strict=False))


class PodPorts:
    """Reads all pods at once, each within READ_SECONDS."""

    def __init__(self, port: int = MANAGEMENT_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> PodPorts:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READ_SECONDS), trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, pods: Sequence[tuple[int, ServingPod]]) -> Sequence[PodCounters | str]:
        """For each (version, pod), in order, its counters or the reason why they could not be read."""
        return await asyncio.gather(*(self._one(version, pod) for version, pod in pods))

    async def _one(self, version: int, pod: ServingPod) -> PodCounters | str:
        if self._session is None:
            raise RuntimeError("PodPorts is used as an asynchronous context manager")
        if not pod.ip:
            return f"pod {pod.name} has no address yet"
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            async with self._session.get(f"http://{host}:{self._port}/metrics", allow_redirects=False) as response:
                text = await response.text()
                if response.status != 200:
                    return f"pod {pod.name} answered HTTP {response.status} on its management port"
            return counters(text, version, pod)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"pod {pod.name} did not answer on its management port: {error or type(error).__name__}"
        except (ValueError, KeyError) as error:
            return f"pod {pod.name} answered metrics that cannot be read: {error}"


def counters(text: str, version: int, pod: ServingPod) -> PodCounters:
    """The counters in a pod's Prometheus text. Raises ValueError or KeyError when it is none."""
    kinds = {"live": _Sums(), "mirror": _Sums()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums = kinds.get(sample.labels.get("kind", "live"))
            if sums is not None:
                _add(sums, sample.name, sample.labels, sample.value)
    live, mirror = kinds["live"], kinds["mirror"]
    restarts = next((container.restarts for container in pod.containers if container.name == Container.SERVER), 0)
    return PodCounters(
        uid=pod.uid,
        version=version,
        total=live.total,
        bad=live.bad,
        timed=live.timed,
        buckets=live.bucket_counts(),
        in_flight=live.in_flight,
        restarts=restarts,
        mirror=MirrorCounters(mirror.total, mirror.bad, mirror.timed, mirror.bucket_counts(), mirror.in_flight),
        scores=live.score_counts(),
    )


def _add(sums: _Sums, name: str, labels: dict[str, str], value: float) -> None:
    if name == REQUESTS_SERIES:
        sums.total += int(value)
        sums.bad += int(value) if labels["outcome"] == "bad" else 0
    elif name == IN_FLIGHT_SERIES:
        sums.in_flight += int(value)
    elif name == f"{DURATION_SERIES}_count":
        sums.timed += int(value)
    elif name == f"{DURATION_SERIES}_bucket" and labels["le"] != "+Inf":
        bound = round(float(labels["le"]) * 1000)
        sums.buckets[bound] = sums.buckets.get(bound, 0) + int(value)
    elif name == f"{SCORES_SERIES}_bucket" and labels["le"] != "+Inf":
        index = round(float(labels["le"]) * SCORE_BINS) - 1
        sums.scores[index] = sums.scores.get(index, 0) + int(value)
