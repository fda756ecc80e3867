"""The command `serve`: the process of a serving pod.

Loads the Bento that `fetch_bento` unpacked, refuses one that is not the version that was judged, and runs BentoML's ASGI app in
this process under uvicorn (half the memory and time to start of BentoML's supervisor and worker), with the port for mirrored
requests and the management port beside it on the same event loop. Order of a pod's life: identity -> model loaded -> the ports
listen -> golden requests and warm calls over loopback -> ready -> SIGTERM -> drain -> exit 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import uvicorn
import uvloop

from perennial_runtime.answers import Refused, say
from perennial_runtime.bento import SOURCE
from perennial_runtime.contract import BENTO_PATH, MANAGEMENT_PORT, MIRROR_PORT, SERVING_PORT, ServeSpec
from perennial_runtime.drain import DRAIN_SECONDS, FINISH_SECONDS, Drain
from perennial_runtime.golden_run import WARM_CALL_SECONDS, Golden, GoldenMismatch, golden_run, read_golden
from perennial_runtime.identity import verify
from perennial_runtime.management import MIRROR, Counters, Counting, Health, management_app
from perennial_runtime.onnx_model import ModelBroken
from perennial_runtime.predict import SchemaBroken
from perennial_runtime.service import App, make_app

KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time-out of the gateway's own connections (60 s), so that the gateway is the one who closes."""


@dataclass(frozen=True, slots=True)
class Process:
    """Where a server listens and how patient it is; the defaults are a pod's."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod's own network namespace
    port: int = SERVING_PORT
    mirror_port: int = MIRROR_PORT
    management_port: int = MANAGEMENT_PORT
    warm_seconds: float = WARM_CALL_SECONDS
    drain_seconds: float = DRAIN_SECONDS
    bento: Path = Path(BENTO_PATH)


def main(spec: ServeSpec) -> None:
    """Serve until SIGTERM. Raises Refused when this Bento is not to be served."""
    serve(spec, Process())


def serve(spec: ServeSpec, process: Process) -> None:
    """Serve until SIGTERM. Raises Refused: IdentityMismatch, BentoBroken, GoldenMismatch."""
    source = process.bento / SOURCE
    verify(spec, source)
    try:
        app = make_app(source)
        golden = read_golden(source)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Pod(spec, app, process).live(golden))
    except (SchemaBroken, ModelBroken) as error:
        raise Refused("BentoBroken", f"the Bento of {spec.version} cannot be served: {error}. Train again") from error
    except GoldenMismatch as error:
        raise Refused("GoldenMismatch", f"{spec.version}: {error}") from error


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: SIGTERM belongs to the drain."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class _Pod:
    """The ports and the life of the process between them."""

    def __init__(self, spec: ServeSpec, app: App, process: Process) -> None:
        self._process = process
        self._version = spec.version
        self._token = secrets.token_hex(32)
        self._health = Health()
        counters = Counters(spec.version)
        counting = Counting(app, counters, self._health, self._token)
        mirrored = Counting(app, counters, self._health, self._token, MIRROR)
        self._public = _Server(_config(counting, process.host, process.port, "on"))
        self._mirror = _Server(_config(mirrored, process.host, process.mirror_port, "off"))
        self._management = _Server(_config(management_app(counters, self._health), process.host, process.management_port, "off"))

    async def live(self, golden: Golden) -> None:
        """From listening to the end of the drain. Raises GoldenMismatch."""
        Drain(self._health, self._stop, self._process.drain_seconds).listen()
        public = asyncio.ensure_future(self._public.serve())
        mirror = asyncio.ensure_future(self._mirror.serve())
        management = asyncio.ensure_future(self._management.serve())
        preparing = asyncio.ensure_future(self._prepare(golden))
        try:
            await asyncio.wait((public, preparing), return_when=asyncio.FIRST_COMPLETED)
            if preparing.done() and not self._health.draining:
                preparing.result()
            await public
        finally:
            preparing.cancel()
            self._stop()
            self._management.should_exit = True
            await asyncio.gather(public, mirror, management, preparing, return_exceptions=True)
        say("served", version=self._version)

    async def _prepare(self, golden: Golden) -> None:
        started = time.monotonic()
        await self._public.listening.wait()
        await self._mirror.listening.wait()
        sent = await golden_run(self._process.port, self._token, golden, self._process.warm_seconds)
        gc.collect()
        gc.freeze()  # what is loaded now stays: no collection walks it again (it made the tail of the latencies)
        self._health.turn_ready()
        say("ready", version=self._version, golden_requests=sent, seconds=round(time.monotonic() - started, 2))

    def _stop(self) -> None:
        self._public.should_exit = True
        self._mirror.should_exit = True


def _config(app: App, host: str, port: int, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="none",
        http="httptools",
        ws="none",
        lifespan=lifespan,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=FINISH_SECONDS,
        backlog=2048,
    )
