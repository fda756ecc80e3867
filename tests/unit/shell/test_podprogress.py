"""How far a trainer is, read from the reporter's port; what it answers comes from a user's trainer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web

from perennial.adapters.podprogress import MOST_BYTES, ReporterPorts, reading
from perennial.core.observed import JobPod, TrainReading

POD = JobPod("pod-1", "u1", "Running", datetime(2026, 1, 1, tzinfo=UTC), ip="127.0.0.1")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"seconds": 3.0, "percent": 40.0, "loss": 0.5, "left": 60}, TrainReading(40.0, 0.5, 60.0)),
        ({"percent": 40}, TrainReading(40.0)),
        ({"percent": 40.0, "loss": "low", "left": -1}, TrainReading(40.0)),
        ({"percent": 40.0, "left": 1e300}, TrainReading(40.0)),
        ({"percent": 101.0}, None),
        ({"percent": True}, None),
        ({"seconds": 3.0, "progress": None}, None),
        ([40.0], None),
    ],
)
def test_numbers_within_bounds_are_taken_and_nothing_else(answer: object, expected: TrainReading | None) -> None:
    assert reading(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"percent": NaN}', b'{"percent": 1' + b"0" * 400 + b"}"])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert reading(body) is None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A reporter; one of its paths never ends."""

    async def progress(request: web.Request) -> web.StreamResponse:
        if request.headers["Host"].startswith("localhost"):
            answer = web.StreamResponse()
            await answer.prepare(request)
            for _ in range(100):
                await answer.write(b"1" * MOST_BYTES)
            return answer
        return web.json_response({"percent": 40.0})

    application = web.Application()
    application.router.add_get("/progress", progress)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def test_a_reporter_is_read(port: int) -> None:
    async with ReporterPorts(port) as ports:
        assert await ports.read(POD) == TrainReading(40.0)


async def test_an_answer_that_does_not_end_is_cut_off(port: int) -> None:
    async with ReporterPorts(port) as ports:
        assert await ports.read(JobPod("pod-2", "u2", "Running", POD.created_at, ip="localhost")) is None


async def test_a_pod_that_does_not_listen_is_no_reading() -> None:
    async with ReporterPorts(1) as ports:
        assert await ports.read(POD) is None
