"""A small Kubernetes around the operator's shell: Jobs that end with answers, Deployments that get ready, a route that is
accepted, pods that count requests. Time is the fake clock's. `World.start` is a new operator process over the same cluster.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from fakes.cluster import Crash, FakeCluster
from fakes.time import FakeClock
from perennial.adapters.cache import Cache, Key
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, PODS, ROUTES, WORKLOADS
from perennial.adapters.relist import relist
from perennial.adapters.silence import Silence
from perennial.adapters.surroundings import Surroundings
from perennial.asking import Asking
from perennial.core import storing
from perennial.core.observed import (
    Defaults,
    JobPod,
    MetricProblem,
    MetricQuery,
    MetricReading,
    MirrorCounters,
    PodCounters,
    ServingPod,
    StoreSettings,
    TrainReading,
)
from perennial.core.plan import plan, wanted_counters
from perennial.following import Following
from perennial.gathering import Gatherer
from perennial.ports import Manifest
from perennial.reconciler import Decide, Reconciler, Wanted
from perennial.telemetry import Telemetry
from perennial.wakequeue import WakeQueue
from perennial_runtime import ledger
from perennial_runtime.answers import Refused
from perennial_runtime.contract import (
    EXIT_REFUSED,
    EXIT_TRANSIENT,
    LATENCY_BOUNDS_MS,
    STEP_VARIABLE,
    EvaluateResult,
    EvaluateSpec,
    Fault,
    LedgerSpec,
    PollResult,
    PollSpec,
    PrepareResult,
    Refusal,
    ReproduceResult,
    TrainResult,
    decode,
    encode_answer,
)
from perennial_runtime.store import Store

NAMESPACE = "shop"
MODEL = "delays"
KEY: Key = (NAMESPACE, MODEL)
SPEC: Manifest = {
    "data": {
        "source": {"uri": "s3://bucket/data/"},
        "columns": [
            {"name": "hour", "role": "feature"},
            {"name": "time", "role": "time"},
            {"name": "late", "role": "label"},
        ],
    },
    "training": {"recipe": {}, "seed": 1},
    "serving": {"route": {"parentRefs": [{"name": "gw"}], "path": "/delays"}},
    "rollout": {"steps": [{"weight": 50, "hold": "2s"}], "minimumRequests": 10},
}
STORE = StoreSettings("s3://bucket/store", "perennial-store", "perennial-store-read")
DEFAULTS = Defaults(
    "registry/runtime@sha256:1", "registry/training@sha256:2", 1, STORE, metric_sources=("shop",), recordings=True
)
ROUNDS = 4
"""Of the event loop: enough for a source that answers at once."""
PREPARED = PrepareResult("d", "t", "h", "s", "x", 100, 80, 20, 0, "2026-01-01T00:00:00Z", 0.5)
_SPEAKER = {
    "prepare": "prepare",
    "train": "reporter",
    "evaluate": "evaluate",
    "ledger": "ledger",
    "reproduce": "compare",
    "poll": "poll",
}


def model(**spec: Any) -> Manifest:
    """A ModelDeployment as a person applies it."""
    return {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": MODEL, "namespace": NAMESPACE},
        "spec": {**copy.deepcopy(SPEC), **spec},
    }


class CountingPods:
    """Implements `perennial.ports.PodMetrics`: every pod has answered 200 requests a second, all of them well; as
    many were mirrored."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.silent: set[str] = set()
        self.bad_versions: set[int] = set()

    async def read(self, pods: Sequence[tuple[int, ServingPod]]) -> Sequence[PodCounters | str]:
        """Counters that grow with the clock."""
        return [
            f"pod {pod.name} did not answer" if pod.name in self.silent else self._counters(version, pod) for version, pod in pods
        ]

    def _counters(self, version: int, pod: ServingPod) -> PodCounters:
        total = int(self._clock.seconds * 200)
        bad = total // 2 if version in self.bad_versions else 0
        buckets = tuple(total for _ in LATENCY_BOUNDS_MS)
        return PodCounters(pod.uid, version, total, bad, total, buckets, mirror=MirrorCounters(total, bad, total, buckets))


class CountingSource:
    """Implements `perennial.ports.MetricProvider`: a shop that had 100 orders a second by each version, all good, as of the time
    that it is asked for; until it is told to be slow, to have a problem, or that the candidate's orders fail."""

    def __init__(self) -> None:
        self.slow: asyncio.Event | None = None
        """It answers when this is set."""
        self.problem: MetricProblem | None = None
        self.failing: set[str] = set()
        """Versions by name, half of whose orders fail."""
        self.asked: list[tuple[MetricQuery, datetime]] = []

    async def read(self, query: MetricQuery, at: datetime) -> MetricReading | MetricProblem:
        """Counters that grow with the time asked for."""
        self.asked.append((query, at))
        if self.slow is not None:
            await self.slow.wait()
        if self.problem is not None:
            return self.problem
        total = int(at.timestamp() - 1_700_000_000) * 100
        candidate, stable = (
            total // 2 if any(version in expression for version in self.failing) else total
            for expression in (query.candidate_good, query.stable_good)
        )
        return MetricReading(at, candidate, total, stable, total)


class Trainers:
    """Implements `perennial.ports.Reporters`: reporters that say nothing, until they are told what."""

    def __init__(self) -> None:
        self.says: TrainReading | None = None
        self.asked: list[str] = []
        """Names of pods."""

    async def read(self, pod: JobPod) -> TrainReading | None:
        """The same of every pod."""
        self.asked.append(pod.name)
        return self.says


class World:
    """A cluster with one namespace, and an operator process that may be started again."""

    def __init__(self, decide: Decide = plan, wanted: Wanted = wanted_counters) -> None:
        self.clock = FakeClock()
        self.cluster = FakeCluster(self.clock.stamp)
        self.pods = CountingPods(self.clock)
        self.shop = CountingSource()
        self.trainers = Trainers()
        self.decide, self.wanted = decide, wanted
        self.held: set[str] = set()
        """Steps whose Jobs do not end."""
        self.store: Store | None = None
        """Where the ledger is stored; None: the store does not answer."""
        self.listing, self.rows = "l", "d"
        """Digests of the files behind the data source, and of the rows in them."""

    async def start(self) -> None:
        """A new operator: nothing is known but what the cluster holds."""
        self.cache = Cache()
        self.queue: WakeQueue[Key] = WakeQueue(self.clock.monotonic, Random(1))
        self.telemetry = Telemetry(self.clock.monotonic)
        surroundings = Surroundings(self.cluster, DEFAULTS, self.clock.monotonic)
        self.reconciler = Reconciler(
            cluster=self.cluster,
            cache=self.cache,
            gatherer=Gatherer(
                self.cache,
                surroundings,
                self.pods,
                Asking(self.shop, self.clock, self.clock.now),
                following=Following(self.trainers, self.clock.monotonic),
                silence=Silence(self.clock.monotonic),
                clock=self.clock,
            ),
            clock=self.clock,
            queue=self.queue,
            telemetry=self.telemetry,
            decide=self.decide,
            wanted=self.wanted,
        )
        self.cluster.watchers = [self._take_in]
        await relist(self.cluster, self.cache, ())
        for key in self.cache.models():
            self.queue.wake(key)

    def _take_in(self, event: str, manifest: Manifest) -> None:
        at = float(manifest["metadata"]["resourceVersion"])
        for key in self.cache.remove(manifest, at) if event == "DELETED" else self.cache.put(manifest):
            self.queue.wake(key)

    async def outlive(self, seconds: float) -> None:
        """As `run`; an operator that is killed in it is started again."""
        try:
            await self.run(seconds)
        except Crash:
            await self.start()
            await self.run(seconds)

    async def rests(self, folder: Path) -> bool:
        """Whether nothing is written in an hour, nor after a restart, once the ledger is in a store in this folder."""
        self.store = Store(f"file://{folder}")
        await self.run(storing.OLDEST_SECONDS + 60)
        before = len(self.cluster.writes)
        await self.run(3600)
        await self.start()
        await self.run(600)
        return len(self.cluster.writes) == before

    async def run(self, seconds: float) -> None:
        """So much time passes, with everything that is due in it."""
        end = self.clock.seconds + seconds
        for _ in range(20_000):
            self.controllers()
            for _ in range(ROUNDS):
                await asyncio.sleep(0)  # what goes on beside the passes
            wait = self.queue.release_due()
            if self.queue.depth():
                key = await self.queue.take()
                await self.reconciler.look_at(key)
                self.queue.done(key)
            elif wait is None or self.clock.seconds + wait > end:
                self.clock.seconds = end
                return
            else:
                self.clock.advance(wait)
        raise AssertionError("the operator never comes to rest")

    def model(self) -> Manifest:
        """The ModelDeployment as it stands."""
        return next(m for m in self.cluster.of(DEPLOYMENTS_OF_MODELS) if m["metadata"]["name"] == MODEL)

    def change(self, **spec: Any) -> None:
        """A person edits the spec."""
        live = copy.deepcopy(self.model())
        live["spec"] |= spec
        self.cluster.edit(live)

    def annotate(self, **annotations: str) -> None:
        """A person annotates; underscores stand for dashes."""
        live = copy.deepcopy(self.model())
        wishes = {f"perennial.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        live["metadata"]["annotations"] = {**live["metadata"].get("annotations", {}), **wishes}
        self.cluster.edit(live)

    # ---- controllers ----

    def controllers(self) -> None:
        """What Kubernetes and the Gateway do between two passes."""
        for job in self.cluster.of(JOBS):
            if not job.get("status") and job["metadata"]["labels"]["perennial.dev/step"] not in self.held:
                self._end_job(job)
        for deployment in self.cluster.of(WORKLOADS):
            self._deploy(deployment)
        for route in self.cluster.of(ROUTES):
            self._accept(route)

    def _end_job(self, job: Manifest) -> None:
        meta = job["metadata"]
        step = meta["labels"]["perennial.dev/step"]
        said, code = (self._answered(job), 0) if step != "ledger" else self._stored(job)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-abcde",
                "namespace": meta["namespace"],
                "labels": meta["labels"],
                "ownerReferences": [{"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}],
            },
            "spec": job["spec"]["template"]["spec"],
            "status": {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [
                    {
                        "name": _SPEAKER[step],
                        "restartCount": 0,
                        "state": {"terminated": {"exitCode": code, "reason": "Completed", "message": said}},
                    }
                ],
            },
        }
        self.cluster.add(pod)
        self.cluster.set_status(job, {"conditions": [{"type": "Failed" if code else "Complete", "status": "True"}]})

    def _answered(self, job: Manifest) -> str:
        """As the source is now."""
        step = job["metadata"]["labels"]["perennial.dev/step"]
        if step == "poll":
            source = sha256(decode(PollSpec, _given(job)).source.encode()).hexdigest()
            return encode_answer(PollResult(source, self.listing, 2, 100))
        return answer(job) if step != "prepare" else encode_answer(replace(PREPARED, data=self.rows, listing=self.listing))

    def _stored(self, job: Manifest) -> tuple[str, int]:
        """What the step of the runtime really answers, and its exit code."""
        if self.store is None:
            return encode_answer(Fault("StoreUnavailable", "the store did not answer")), EXIT_TRANSIENT
        try:
            return encode_answer(ledger.append(decode(LedgerSpec, _given(job)), self.store)), 0
        except Refused as error:
            return encode_answer(Refusal(error.reason, error.message)), EXIT_REFUSED

    def _deploy(self, deployment: Manifest) -> None:
        meta, replicas = deployment["metadata"], deployment["spec"]["replicas"]
        pods = [pod for pod in self.cluster.of(PODS) if pod["metadata"]["name"].startswith(f"{meta['name']}-hash-")]
        for pod in pods[replicas:]:
            self.cluster.remove(pod)
        for number in range(len(pods), replicas):
            self.cluster.add(self._serving_pod(deployment, number))
        status = {
            "observedGeneration": meta["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        }
        if deployment.get("status") != status:
            self.cluster.set_status(deployment, status)

    def _serving_pod(self, deployment: Manifest, number: int) -> Manifest:
        meta = deployment["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-hash-{number}",
                "namespace": meta["namespace"],
                "labels": {**meta["labels"], "pod-template-hash": "hash"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": f"{meta['name']}-hash", "uid": "rs", "controller": True}],
            },
            "spec": deployment["spec"]["template"]["spec"],
            "status": {
                "phase": "Running",
                "podIP": "198.18.8.9",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": self.clock.stamp()}],
                "containerStatuses": [
                    {"name": "server", "restartCount": 0, "state": {"running": {"startedAt": self.clock.stamp()}}}
                ],
            },
        }

    def _accept(self, route: Manifest) -> None:
        generation = route["metadata"]["generation"]
        conditions = [{"type": t, "status": "True", "observedGeneration": generation} for t in ("Accepted", "ResolvedRefs")]
        status = {"parents": [{"parentRef": ref, "conditions": conditions} for ref in route["spec"]["parentRefs"]]}
        if route.get("status") != status:
            self.cluster.set_status(route, status)


def answer(job: Manifest) -> str:
    """The termination message of a train or evaluate Job that went well."""
    step = job["metadata"]["labels"]["perennial.dev/step"]
    version = job["metadata"]["labels"]["perennial.dev/version"]
    if step == "train":
        return encode_answer(TrainResult(model=f"model-{version}", parity="p", model_bytes=1))
    if step == "reproduce":
        return encode_answer(ReproduceResult(True, f"model-{version}", "model.onnx is bit-equal"))
    spec = decode(EvaluateSpec, _given(job))
    champion = spec.champion.identity if spec.champion else None
    return encode_answer(EvaluateResult(f"identity-{version}", f"bento-{version}", 1, 0.0, 20, 0, (), champion))


def _given(job: Manifest) -> str:
    """The input of a Job's container."""
    variables = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    return str(variables[STEP_VARIABLE])
