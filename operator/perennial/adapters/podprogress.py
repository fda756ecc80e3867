"""How far a trainer is, read from the reporter's port in its pod: the port `perennial.ports.Reporters`.

What it answers comes from a user's trainer: numbers within bounds are taken, everything else is no answer.
"""

from __future__ import annotations

import json
import math
from typing import Any

import aiohttp

from perennial.core.observed import JobPod, TrainReading
from perennial_runtime.contract import PROGRESS_PORT

READ_SECONDS = 0.8
MOST_BYTES = 16 * 1024
LONGEST_SECONDS = 365 * 24 * 3600.0
"""What is left at most: more is a guess that says nothing, and dates have an end."""


class ReporterPorts:
    """Reads one pod at a time, within READ_SECONDS."""

    def __init__(self, port: int = PROGRESS_PORT) -> None:
        self._port = port
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ReporterPorts:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READ_SECONDS), trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, pod: JobPod) -> TrainReading | None:
        """What the pod's reporter answers, if it is one."""
        if self._session is None:
            raise RuntimeError("ReporterPorts is used as an asynchronous context manager")
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            async with self._session.get(f"http://{host}:{self._port}/progress", allow_redirects=False) as response:
                body = b""
                while len(body) < MOST_BYTES and (more := await response.content.read(MOST_BYTES - len(body))):
                    body += more
                return reading(body) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


def reading(body: bytes) -> TrainReading | None:
    """The answer of GET /progress; None where it does not tell how far the trainer is."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    percent, loss, left = (_number(document.get(name)) for name in ("percent", "loss", "left"))
    if percent is None or not 0.0 <= percent <= 100.0:
        return None
    return TrainReading(percent, loss, left if left is not None and 0.0 <= left <= LONGEST_SECONDS else None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
