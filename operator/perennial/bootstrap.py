"""The composition root: builds everything, starts it in order, and ends it within seconds of SIGTERM.

settings -> API client -> health server -> cache filled by LIST -> workers -> door. Nothing else in the operator knows more
than its ports. Started by `python -m perennial`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import signal
import time
from random import Random

from perennial.adapters.cache import Cache, Key
from perennial.adapters.clock import SteadyClock
from perennial.adapters.cluster import ApiServer
from perennial.adapters.credentials import Credentials
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, kind_of
from perennial.adapters.podmetrics import PodPorts
from perennial.adapters.podprogress import ReporterPorts
from perennial.adapters.prometheus import PrometheusSources
from perennial.adapters.relist import relist
from perennial.adapters.silence import Silence
from perennial.adapters.surroundings import Surroundings
from perennial.api.served import missing
from perennial.asking import Asking
from perennial.core.observed import Defaults, StoreSettings
from perennial.core.plan import plan, wanted_counters
from perennial.core.report import outdated
from perennial.door import Door
from perennial.following import Following
from perennial.gathering import Gatherer
from perennial.manifests import REVISION
from perennial.manifests.common import OPERATOR_LABEL
from perennial.ports import Cluster, ClusterError, Manifest, MetricProvider, NotFound, PodMetrics, Reporters
from perennial.reconciler import Reconciler
from perennial.settings import Settings
from perennial.telemetry import Telemetry
from perennial.wakequeue import WakeQueue

RELIST_SECONDS = 300.0
AFTER_REOPENING_SECONDS = 1.0
"""Between the LIST of the cache and the watches' own something may have been deleted."""
FIRST_FILL_SECONDS = 2.0
SPREAD_SECONDS = 120.0
AFTER_LISTS_SECONDS = 5.0
"""Kopf's lists are worked off by then."""

log = logging.getLogger("perennial.bootstrap")


class Operator:
    """The running operator."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        metrics: PodMetrics,
        provider: MetricProvider,
        reporters: Reporters,
        *,
        telemetry: Telemetry,
        chance: Random,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._telemetry = telemetry
        self._chance = chance
        self._cache = Cache()
        self._relist_now = asyncio.Event()
        clock = SteadyClock()
        self._queue: WakeQueue[Key] = WakeQueue(time.monotonic, chance, telemetry.waited)
        telemetry.watch_depth(self._queue.depth)
        self._surroundings = surroundings = Surroundings(cluster, _defaults(settings), time.monotonic)
        self._reconciler = Reconciler(
            cluster=cluster,
            cache=self._cache,
            gatherer=Gatherer(
                self._cache,
                surroundings,
                metrics,
                Asking(provider, clock),
                following=Following(reporters, time.monotonic),
                silence=Silence(time.monotonic),
                clock=clock,
            ),
            clock=clock,
            queue=self._queue,
            telemetry=telemetry,
            decide=plan,
            wanted=wanted_counters,
        )

    async def run(self, credentials: Credentials) -> None:
        """Until cancelled, or until a part of it ends, which is a fault."""
        await self._fill()
        await self._look_at_schemas()
        door = Door(
            credentials=credentials,
            namespaces=self._settings.namespaces,
            sink=self.take_in,
            reopened=self._relist_now.set,
            telemetry=self._telemetry,
            chance=self._chance,
        )
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.workers):
                group.create_task(self._reconciler.work(), name=f"worker {number}")
            group.create_task(self._queue.run_timers(), name="timers")
            group.create_task(self._relist_for_ever(), name="relist")
            group.create_task(door.keep_open(), name="door")
            self._telemetry.ready = True

    def take_in(self, event: str, manifest: Manifest) -> None:
        """An event of the door: into the cache, and the keys to wake when it is news."""
        if event == "DELETED" or not is_for(manifest, self._settings.operator):
            keys = self._cache.remove(manifest, float(manifest["metadata"]["resourceVersion"]))
        else:
            keys = self._cache.put(manifest)
        for key in keys:
            self._queue.wake(key)

    async def _fill(self) -> None:
        """Before any worker starts; a cluster that does not answer yet, or has no CRDs yet, is waited for."""
        while True:
            try:
                await relist(self._cluster, self._cache, self._settings.namespaces, self._settings.operator)
                break
            except NotFound as error:
                log.warning(
                    "the cluster does not know our kinds yet: %s; install the chart perennial-crds and the Gateway API", error
                )
            except ClusterError as error:
                log.warning("the cluster could not be listed: %s; trying again", error)
            await asyncio.sleep(FIRST_FILL_SECONDS * self._chance.uniform(0.75, 1.25))
        keys = self._cache.models()
        log.info("watching %d ModelDeployments", len(keys), extra={"namespaces": ",".join(self._settings.namespaces) or "all"})
        give_back_memory()
        for key in keys:
            self._queue.wake(key)

    async def _look_at_schemas(self) -> None:
        """Whether the cluster's CRDs have all that is written here; said once, and again when it has changed."""
        before = self._surroundings.installed.dropped
        try:
            fields = missing(await self._cluster.schemas())
        except ClusterError as error:
            log.warning("the cluster's schemas could not be read, so nobody knows whether its CRDs are older: %s", error)
            return
        self._surroundings.note_dropped(fields)
        give_back_memory()
        if fields and fields != before:
            log.warning("%s", outdated(fields))
        elif before and not fields:
            log.info("the CRDs in this cluster have all that this operator writes now")

    async def _relist_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._relist_now.wait(), RELIST_SECONDS * self._chance.uniform(0.8, 1.2))
                await asyncio.sleep(AFTER_REOPENING_SECONDS)
            self._relist_now.clear()
            try:
                news = await relist(self._cluster, self._cache, self._settings.namespaces, self._settings.operator)
            except ClusterError as error:
                log.warning("the cluster could not be relisted: %s", error)
                continue
            if self._surroundings.installed.dropped:
                await self._look_at_schemas()
            asyncio.get_running_loop().call_later(AFTER_LISTS_SECONDS, give_back_memory)
            for key in news:
                self._queue.wake(key)
            for key in self._cache.models():
                # a Gateway's new address wakes nobody: everyone is looked at now and then
                self._queue.wake_after(key, self._chance.uniform(0.0, SPREAD_SECONDS))


def give_back_memory() -> None:
    """Lists of a thousand objects are soon gone: what they took goes back to the system, where the C library can do that.

    Kopf lists everything once more when the door opens; the relist after that calls this too.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_for(manifest: Manifest, operator: str) -> bool:
    """Whether an object is this operator's business: a ModelDeployment may be given to another one by its label."""
    given = (manifest["metadata"].get("labels") or {}).get(OPERATOR_LABEL, "")
    return kind_of(manifest) != DEPLOYMENTS_OF_MODELS or given == operator


async def run(settings: Settings) -> None:
    """The whole process: ends cleanly on SIGTERM and SIGINT."""
    credentials = Credentials.from_environment()
    telemetry = Telemetry(time.monotonic)
    async with (
        ApiServer(credentials, telemetry.request) as cluster,
        PodPorts() as metrics,
        PrometheusSources(settings.metric_sources) as provider,
        ReporterPorts() as reporters,
    ):
        server = await telemetry.serve(settings.metrics_port)
        chance = Random()  # noqa: S311 - jitter
        operator = Operator(settings, cluster, metrics, provider, reporters, telemetry=telemetry, chance=chance)
        running = asyncio.create_task(operator.run(credentials), name="operator")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            log.info("told to end")
        finally:
            await server.cleanup()


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        serving_image=settings.serving_image,
        training_image=settings.training_image,
        manifest_revision=REVISION,
        store=StoreSettings(settings.store_uri, settings.store_secret, settings.store_serving_secret),
        metric_sources=tuple(source.name for source in settings.metric_sources),
        attested=settings.attestation,
        recordings=settings.recordings,
    )
