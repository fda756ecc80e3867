"""The operator's own numbers and its health: /metrics, /healthz and /readyz on one port.

Healthy means: no pass hangs, and the door was open within the last minute. `perennial.bootstrap` starts it; the reconciler, the
queue, the door and the API client report to it.

docs/monitoring.md lists every series. Those of one model are made when they are asked for, of what its last pass left: they go
with the model, and evidence goes with its rollout. Their labels are `model_namespace` and `model`, for `namespace` is what
Prometheus calls the namespace of the pod that it reads.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from perennial.api.version import VersionState
from perennial.standing import OUTCOMES, PASSING, Outcome, Standing

HANGING_SECONDS = 120.0
"""A pass that lasts longer hangs: every request in it ends after 10 s."""
DOOR_SECONDS = 60.0
"""So long the door may be closed (it reopens after about a second)."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_STATE_BUCKETS = (1.0, 5.0, 15.0, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, _DAY, 7 * _DAY, 30 * _DAY)
_OF_MODEL = ("model_namespace", "model")


class Models(Collector):
    """How every model stands, as its last pass left it."""

    def __init__(self) -> None:
        self._standings: dict[tuple[str, str], Standing] = {}

    def put(self, key: tuple[str, str], standing: Standing) -> None:
        """A pass of this model has ended."""
        self._standings[key] = standing

    def forget(self, key: tuple[str, str]) -> None:
        """The model is gone."""
        self._standings.pop(key, None)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All series of models."""
        words = GaugeMetricFamily("perennial_models", "ModelDeployments by the first word of their summary", labels=["state"])
        for word, number in sorted(Tally(one.word for one in self._standings.values()).items()):
            words.add_metric([word], number)
        trouble = GaugeMetricFamily(
            "perennial_model_trouble", "1 while a condition asks for attention", labels=[*_OF_MODEL, "condition", "reason"]
        )
        for key, one in self._standings.items():
            for condition, reason in one.troubles:
                trouble.add_metric([*key, condition, reason], 1.0)
        unstored = GaugeMetricFamily(
            "perennial_ledger_unstored_entries", "Entries of the ledger that are not in the store", labels=_OF_MODEL
        )
        for key, one in self._standings.items():
            if one.unstored:
                unstored.add_metric(key, one.unstored)
        yield words
        yield trouble
        yield unstored
        yield from self._of_rollouts()

    def _of_rollouts(self) -> Iterator[GaugeMetricFamily]:
        labels = [*_OF_MODEL, "metric"]
        evidence = GaugeMetricFamily("perennial_rollout_evidence", "E: evidence of harm; 1 is none", labels=labels)
        threshold = GaugeMetricFamily("perennial_rollout_evidence_threshold", "E that takes it back", labels=labels)
        used = GaugeMetricFamily(
            "perennial_rollout_alpha_used_ratio", "Part of the metric's alpha that E is worth", labels=labels
        )
        for key, one in self._standings.items():
            for metric in one.evidence:
                evidence.add_metric([*key, metric.name], metric.e)
                threshold.add_metric([*key, metric.name], metric.threshold)
                used.add_metric([*key, metric.name], metric.alpha_used)
        yield from (evidence, threshold, used)


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
        self._ends = Counter("perennial_rollouts_total", "Rollouts by how they ended", ["outcome"], registry=self.registry)
        self._stays = Histogram(
            "perennial_version_state_seconds",
            "How long versions were in a state, when they leave it",
            ["state"],
            buckets=_STATE_BUCKETS,
            registry=self.registry,
        )
        self._requests = Counter(
            "perennial_api_requests_total", "Requests to the API server", ["verb", "code"], registry=self.registry
        )
        self._door_restarts = Counter(
            "perennial_door_restarts_total", "Times that the watches were reopened", registry=self.registry
        )
        watches = Gauge("perennial_watches_open", "1 while the operator sees what changes in the cluster", registry=self.registry)
        watches.set_function(lambda: float(self.ready and self._door_open))
        self._models = Models()
        self.registry.register(self._models)
        ProcessCollector(registry=self.registry)
        for outcome in OUTCOMES:
            self._ends.labels(outcome)  # at 0, for an increase that starts from nothing is not seen
        for state in PASSING:
            self._stays.labels(state)

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

    def model(self, key: tuple[str, str], standing: Standing) -> None:
        """How a ModelDeployment stands now."""
        self._models.put(key, standing)

    def forget(self, key: tuple[str, str]) -> None:
        """A ModelDeployment is gone."""
        self._models.forget(key)

    def rollout_ended(self, outcome: Outcome) -> None:
        """The status that ends a rollout is written."""
        self._ends.labels(outcome).inc()

    def state_left(self, state: VersionState, seconds: float) -> None:
        """A version has left a state that it was in for so long."""
        self._stays.labels(state).observe(seconds)

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
