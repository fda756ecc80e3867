"""What a serving pod tells about itself: its counters, its health, and the port that shows both.

`server` wraps the service in `Counting` and serves `management_app` on MANAGEMENT_PORT. The operator reads /metrics every second
and decides rollouts by it, so the rules of counting are here and nowhere else: each POST /predict once, its first attempt only;
what comes on MIRROR_PORT as mirrored, everything else as live;
bad is any answer that is no 2xx but 429; a client that hung up counts as bad and slow; durations count from WARM_SECONDS after
the pod turned ready. The counters are plain numbers: prometheus_client's own would turn into files if BentoML's
PROMETHEUS_MULTIPROC_DIR were set when they are made.
"""

from __future__ import annotations

import asyncio
import bisect
import hmac
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from perennial_runtime.contract import (
    DURATION_SERIES,
    IN_FLIGHT_SERIES,
    LATENCY_BOUNDS_MS,
    REQUESTS_SERIES,
    SCORE_BINS,
    SCORES_SERIES,
    WARM_SECONDS,
)
from perennial_runtime.service import CLIENT_GONE, PREDICT_PATH, SCORED, App, Message, Receive, Scope, Send

GOLDEN_HEADER = "x-perennial-golden"
"""Carries the process's own secret: only the pod itself can send golden requests."""
_ATTEMPT_HEADER = b"x-envoy-attempt-count"
_HUNG_UP_SECONDS = LATENCY_BOUNDS_MS[-1] / 1000 + 1.0
"""Duration noted for a client that hung up: over every bound."""
_PROBE_SECONDS = 0.02
"""An answer that took longer is checked for a client that hung up meanwhile."""
_BOUNDS = tuple(bound / 1000 for bound in LATENCY_BOUNDS_MS)
_SCORE_BOUNDS = tuple((index + 1) / SCORE_BINS for index in range(SCORE_BINS))

LIVE = "live"
MIRROR = "mirror"
GOLDEN = "golden"
_KINDS = (LIVE, MIRROR, GOLDEN)


@dataclass(slots=True)
class _Tally:
    good: int = 0
    bad: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    scores: list[int] = field(default_factory=lambda: [0] * SCORE_BINS)
    score_sum: float = 0.0


class Counters:
    """Counts of one version's requests, by kind; a prometheus_client collector."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._tallies = {kind: _Tally() for kind in _KINDS}

    def begin(self, kind: str) -> None:
        """A request came in."""
        self._tallies[kind].in_flight += 1

    def end(self, kind: str, good: bool, seconds: float | None) -> None:
        """It was answered, or its client is gone; `seconds` is None while durations do not count."""
        tally = self._tallies[kind]
        tally.in_flight -= 1
        if good:
            tally.good += 1
        else:
            tally.bad += 1
        if seconds is not None:
            tally.seconds += seconds
            tally.buckets[bisect.bisect_left(_BOUNDS, seconds)] += 1

    def scored(self, kind: str, scores: Sequence[float]) -> None:
        """The scores of one answer, each from 0 to 1; those of live requests are shown."""
        tally = self._tallies[kind]
        for score in scores:
            tally.scores[max(0, math.ceil(score * SCORE_BINS) - 1)] += 1
        tally.score_sum += math.fsum(scores)

    def collect(self) -> Iterator[Metric]:
        """The series, for /metrics."""
        requests = CounterMetricFamily(
            REQUESTS_SERIES.removesuffix("_total"), "First attempts answered.", labels=("version", "kind", "outcome")
        )
        durations = HistogramMetricFamily(DURATION_SERIES, "Seconds to the answer.", labels=("version", "kind"))
        scores = HistogramMetricFamily(SCORES_SERIES, "Scores answered.", labels=("version", "kind"))
        in_flight = GaugeMetricFamily(IN_FLIGHT_SERIES, "Requests being answered.", labels=("version", "kind"))
        for kind, tally in self._tallies.items():
            requests.add_metric((self._version, kind, "good"), tally.good)
            requests.add_metric((self._version, kind, "bad"), tally.bad)
            durations.add_metric((self._version, kind), _cumulative(_BOUNDS, tally.buckets), tally.seconds)
            if kind == LIVE:
                scores.add_metric((self._version, kind), _cumulative(_SCORE_BOUNDS, [*tally.scores, 0]), tally.score_sum)
            in_flight.add_metric((self._version, kind), tally.in_flight)
        yield requests
        yield durations
        yield scores
        yield in_flight


def _cumulative(bounds: Sequence[float], buckets: Sequence[int]) -> list[tuple[str, float]]:
    total = 0
    found: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, bounds), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


@dataclass(slots=True)
class Health:
    """Where the pod is in its life."""

    clock: Callable[[], float] = time.monotonic
    ready_at: float | None = None
    draining: bool = False

    def turn_ready(self) -> None:
        """Golden requests and warm calls are done."""
        self.ready_at = self.clock()

    @property
    def ready(self) -> bool:
        """Whether new requests may come."""
        return self.ready_at is not None and not self.draining

    @property
    def warm(self) -> bool:
        """Whether durations count."""
        return self.ready_at is not None and self.clock() - self.ready_at >= WARM_SECONDS


class Counting:
    """ASGI, outermost on a serving port: counts POST /predict, and asks clients to leave while the pod drains.

    `kind` is what is counted of requests that are not golden: the port that they came in by says it, nothing in them does.
    """

    def __init__(self, app: App, counters: Counters, health: Health, golden_token: str, kind: str = LIVE) -> None:
        self._app = app
        self._counters = counters
        self._health = health
        self._token = golden_token.encode()
        self._port_kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._health.draining:
            send = _closing(send)
        kind = self._kind(scope)
        if kind is None:
            await self._app(scope, receive, send)
            return
        await self._count(kind, scope, receive, send)

    def _kind(self, scope: Scope) -> str | None:
        """live, mirror or golden; None for what is not counted."""
        if scope["path"] != PREDICT_PATH or scope["method"] != "POST":
            return None
        headers = dict(scope["headers"])
        if headers.get(_ATTEMPT_HEADER, b"1").strip() != b"1":
            return None
        return GOLDEN if hmac.compare_digest(headers.get(GOLDEN_HEADER.encode(), b""), self._token) else self._port_kind

    async def _count(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._health.clock()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                slow = self._health.clock() - started > _PROBE_SECONDS
                gone = message["status"] == CLIENT_GONE or (slow and await _hung_up(receive))
                status = 0 if gone else message["status"]
            await send(message)

        self._counters.begin(kind)
        if kind == LIVE:
            scope[SCORED] = partial(self._counters.scored, kind)
        try:
            await self._app(scope, receive, watched)
        finally:
            taken = self._health.clock() - started
            # no status: the client hung up before its answer, or no answer could be made
            seconds = taken if status else max(taken, _HUNG_UP_SECONDS)
            good = 200 <= status < 300 or status == 429
            self._counters.end(kind, good, seconds if self._health.warm else None)


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return closing


async def _hung_up(receive: Receive) -> bool:
    """Whether the client is gone. The server learns of a closed socket on one turn of the loop and tells us on the next."""
    waiting = asyncio.ensure_future(receive())
    for _ in range(4):
        await asyncio.sleep(0)
        if waiting.done():
            return bool(waiting.result()["type"] == "http.disconnect")
    waiting.cancel()
    return False


def management_app(counters: Counters, health: Health) -> App:
    """ASGI: /livez, /readyz and /metrics, and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counters)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, body = _manage(scope["path"], registry, health)
        headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _manage(path: str, registry: CollectorRegistry, health: Health) -> tuple[int, bytes]:
    match path:
        case "/metrics":
            return 200, generate_latest(registry)
        case "/livez":
            return 200, b"alive\n"
        case "/readyz" if health.ready:
            return 200, b"ready\n"
        case "/readyz":
            return 503, b"draining\n" if health.draining else b"not ready: golden requests and warm calls are under way\n"
        case _:
            return 404, b"only /livez, /readyz and /metrics are here\n"
