"""The door: Kopf's watches, and nothing else of Kopf.

Only `on.event` handlers: those write nothing on our objects. Every event goes to a sink in the operator's own event loop. Kopf
runs in a thread with a loop of its own, because it cancels, on its way out, every task of its loop that it does not know; when
it ends on a fault (it does on several watch faults) it is started again here, while the workers go on. Started by
`perennial.bootstrap`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

import kopf
from kopf._cogs.structs.credentials import Vault

from perennial.adapters.credentials import Credentials
from perennial.adapters.kinds import RESOURCES, WATCHED, WHOLE
from perennial.manifests.common import MODEL_LABEL
from perennial.ports import Manifest
from perennial.telemetry import Telemetry

NAME = "perennial-operator"
"""Given, or Kopf looks for the name of the user, which a pod has none of."""
REOPEN_SECONDS = 1.0
LONGEST_SECONDS = 15.0
STEADY_SECONDS = 3.0
"""Watches that have lasted so long are open; before, nobody knows."""

Sink = Callable[[str, Manifest], None]
"""Takes (event type, object) in the operator's loop."""

log = logging.getLogger("perennial.door")


class Door:
    """Keeps the watches open until it is closed."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        namespaces: Sequence[str],
        sink: Sink,
        reopened: Callable[[], None],
        telemetry: Telemetry,
        chance: Random,
        reopen_seconds: float = REOPEN_SECONDS,
        steady_seconds: float = STEADY_SECONDS,
    ) -> None:
        self._credentials = credentials
        self._namespaces = tuple(namespaces)
        self._sink = sink
        self._reopened = reopened
        self._telemetry = telemetry
        self._chance = chance
        self._reopen_seconds = reopen_seconds
        self._steady_seconds = steady_seconds

    async def keep_open(self) -> None:
        """Runs Kopf again whenever it ends, until cancelled."""
        failures = 0
        while True:
            session = _Session(self._credentials, self._namespaces, self._sink, asyncio.get_running_loop())
            session.start()
            try:
                failures += 1
                if not (await asyncio.wait((session.ended,), timeout=self._steady_seconds))[0]:
                    failures = 0
                    self._telemetry.door(open_now=True)
                    self._reopened()
                problem = await session.ended
            finally:
                session.stop()
                self._telemetry.door(open_now=False)
            seconds = min(LONGEST_SECONDS, self._reopen_seconds * 2.0 ** min(failures, 10)) * self._chance.uniform(0.75, 1.5)
            log.warning("the watches ended: %s; reopening in %.1f s", problem, seconds)
            await asyncio.sleep(seconds)


class _Session:
    """One run of Kopf in a thread of its own."""

    def __init__(
        self, credentials: Credentials, namespaces: tuple[str, ...], sink: Sink, home: asyncio.AbstractEventLoop
    ) -> None:
        self._credentials = credentials
        self._namespaces = namespaces
        self._sink = sink
        self._home = home
        self._away: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopped = threading.Event()
        self.ended: asyncio.Future[str] = home.create_future()

    def start(self) -> None:
        """Starts the thread; it never holds up the end of the process."""
        threading.Thread(target=self._run, name="door", daemon=True).start()

    def stop(self) -> None:
        """Asks Kopf to end, and takes no more events from it."""
        self._stopped.set()
        if self._away is not None and self._stop is not None and not self._away.is_closed():
            self._away.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except Exception as error:  # noqa: BLE001 - whatever ends Kopf, the door is opened again
            self._tell_end(f"{type(error).__name__}: {error}")
        self._tell_end("Kopf ended by itself")

    def _tell_end(self, problem: str) -> None:
        """The first call counts."""

        def tell() -> None:
            if not self.ended.done():
                self.ended.set_result(problem)

        if not self._home.is_closed():
            self._home.call_soon_threadsafe(tell)

    async def _watch(self) -> None:
        """Until the first of Kopf's root tasks ends: nobody waits for Kopf's own way out."""
        self._away = asyncio.get_running_loop()
        self._away.set_exception_handler(_tell_fault)
        self._stop = asyncio.Event()
        if self._stopped.is_set():
            return
        vault = Vault()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=kopf_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            identity=cast(Any, NAME),
            stop_flag=self._stop,
            vault=vault,
        )
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failures = [task.exception() for task in done if not task.cancelled() and task.exception() is not None]
        self._tell_end(f"{type(failures[0]).__name__}: {failures[0]}" if failures else "Kopf ended by itself")
        await _end_all_others()
        await vault.close()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        for kind in WATCHED:
            resource = RESOURCES[kind]
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id="event")(self._on_event)
        return registry

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        connection = self._credentials.connection()
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_path=connection.ca_file,
            insecure=not connection.verify,
            token=connection.token,
            certificate_path=connection.certificate_file,
            private_key_path=connection.key_file,
        )

    async def _on_event(self, event: kopf.RawEvent, **_: Any) -> None:
        if not self._stopped.is_set() and not self._home.is_closed():
            manifest: Manifest = dict(event["object"])
            self._home.call_soon_threadsafe(self._sink, event["type"] or "LISTED", manifest)


async def _end_all_others() -> None:
    """Cancels again what swallows a cancellation, as Kopf's watchers do now and then; its own way out waits for them for ever."""
    this = asyncio.current_task()
    while others := [task for task in asyncio.all_tasks() if task is not this]:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=0.2)


def kopf_settings() -> kopf.OperatorSettings:
    """No events posted, no peering, and only what carries our label, but for users' own objects.

    Scanning stays on, or a deleted CRD ends Kopf.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.process.ultimate_exiting_timeout = None
    settings.queueing.exit_timeout = 0.5
    settings.watching.connect_timeout = 10.0
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    # Kopf would try for 54 s, also what is forbidden, before it tells; the door opens it again by itself
    settings.networking.error_backoffs = (0.2, 0.5, 1.0)
    for kind in WATCHED:
        if kind not in WHOLE:
            resource = RESOURCES[kind]
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = MODEL_LABEL
    return settings


def _tell_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A fault in a callback, as asyncio tells it, but for one of Kopf's.

    Kopf 1.45 ends a request that still waits for its answer by a callback that takes itself to be in a task, which it never is:
    when the watches are closed in that moment it fails, and nothing follows from it.
    """
    if isinstance(context.get("exception"), AssertionError) and "request_cancel_callback" in str(context.get("message")):
        log.debug("Kopf was told to end while a request of it was under way")
        return
    loop.default_exception_handler(context)
