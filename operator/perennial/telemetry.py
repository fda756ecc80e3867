"""The operator's own numbers and its health: /metrics, /healthz and /readyz on one port.

Healthy means: no pass hangs, and the door was open within the last minute. `perennial.bootstrap` starts it; the reconciler, the
queue, the door and the API client report to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

HANGING_SECONDS = 120.0
"""A pass that lasts longer hangs: every request in it ends after 10 s."""
DOOR_SECONDS = 60.0
"""So long the door may be closed (it reopens after about a second)."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """One registry of our own series. `time` gives monotonic seconds."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._passes: dict[object, float] = {}
        self._door_open = False
        self._door_since = time()
        self._ready = False
        self.registry = CollectorRegistry()
        self._duration = Histogram("perennial_reconcile_seconds", "Duration of a pass", buckets=_BUCKETS, registry=self.registry)
        self._ended = Counter("perennial_reconcile_total", "Passes by outcome", ["outcome"], registry=self.registry)
        self._waits = Histogram("perennial_queue_seconds", "Wait for a worker", buckets=_BUCKETS, registry=self.registry)
        self._depth = Gauge("perennial_queue_depth", "Models that wait for a worker", registry=self.registry)
        self._states = Gauge("perennial_models", "ModelDeployments by their summary word", ["state"], registry=self.registry)
        self._blocked = Gauge("perennial_models_rollback_blocked", "Models whose rollback is blocked", registry=self.registry)
        self._rollbacks = Counter("perennial_rollbacks_total", "Candidates taken back after a breach", registry=self.registry)
        self._requests = Counter(
            "perennial_api_requests_total", "Requests to the API server", ["verb", "code"], registry=self.registry
        )
        self._door_restarts = Counter(
            "perennial_door_restarts_total", "Times that the watches were reopened", registry=self.registry
        )
        self._words: dict[tuple[str, str], tuple[str, bool]] = {}

    def request(self, verb: str, status: int) -> None:
        """A request to the API server was made; 0: no answer."""
        self._requests.labels(verb, str(status)).inc()

    def waited(self, seconds: float) -> None:
        """A key was taken from the queue."""
        self._waits.observe(seconds)

    def watch_depth(self, depth: Callable[[], int]) -> None:
        """Where the queue's depth comes from."""
        self._depth.set_function(depth)

    @contextmanager
    def one_pass(self, key: object) -> Iterator[None]:
        """Around a pass: its duration, and the sign that it hangs."""
        self._passes[key] = self._time()
        try:
            yield
        finally:
            self._duration.observe(self._time() - self._passes.pop(key))

    def passed(self, outcome: str) -> None:
        """A pass ended: quiet, wrote, conflict, refused, failed or gone."""
        self._ended.labels(outcome).inc()

    def model(self, key: tuple[str, str], summary: str, *, blocked: bool) -> None:
        """How a ModelDeployment stands now."""
        self.forget(key)
        word = summary.split(" ", maxsplit=1)[0] or "Pending"
        self._words[key] = (word, blocked)
        self._states.labels(word).inc()
        self._blocked.inc(int(blocked))

    def forget(self, key: tuple[str, str]) -> None:
        """A ModelDeployment is gone."""
        word, blocked = self._words.pop(key, ("", False))
        if word:
            self._states.labels(word).dec()
            self._blocked.dec(int(blocked))

    def rolled_back(self) -> None:
        """A candidate was taken back."""
        self._rollbacks.inc()

    def door(self, *, open_now: bool) -> None:
        """The watches run, or not."""
        if open_now != self._door_open:
            self._door_open = open_now
            self._door_since = self._time()
            if not open_now:
                self._door_restarts.inc()

    @property
    def ready(self) -> bool:
        """The cache is filled. Until then a closed door is no fault: a restart would only wait again, and later."""
        return self._ready

    @ready.setter
    def ready(self, filled: bool) -> None:
        self._ready = filled
        self._door_since = self._time()

    def unhealthy(self) -> str:
        """Why this process should be started again; empty when it need not."""
        now = self._time()
        for key, since in self._passes.items():
            if now - since > HANGING_SECONDS:
                return f"the pass of {key} has hung for {now - since:.0f} s"
        if self.ready and not self._door_open and now - self._door_since > DOOR_SECONDS:
            return f"the watches have been closed for {now - self._door_since:.0f} s"
        return ""

    async def serve(self, port: int) -> web.AppRunner:
        """Starts the server; the caller cleans it up."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, None, port).start()
        return runner

    async def _metrics(self, _: web.Request) -> web.Response:
        headers: Mapping[str, str] = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(self.registry), headers=headers)

    async def _healthz(self, _: web.Request) -> web.Response:
        problem = self.unhealthy()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok" if self.ready else "the cache is not filled yet", status=200 if self.ready else 503)
