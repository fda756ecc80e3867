"""The operator's health and numbers."""

from __future__ import annotations

import json
import logging

import pytest
from aiohttp import ClientSession
from prometheus_client import generate_latest

from fakes.time import FakeClock
from perennial.log import JsonLines, TextLines
from perennial.telemetry import DOOR_SECONDS, HANGING_SECONDS, Telemetry


def value(telemetry: Telemetry, series: str) -> float:
    lines = generate_latest(telemetry.registry).decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series + " "))


def test_a_door_that_stays_closed_is_unhealthy() -> None:
    clock = FakeClock()
    telemetry = Telemetry(clock.monotonic)
    telemetry.door(open_now=True)
    clock.advance(1000)
    assert not telemetry.unhealthy()
    telemetry.ready = True
    telemetry.door(open_now=False)
    clock.advance(DOOR_SECONDS - 1)
    assert not telemetry.unhealthy()
    clock.advance(2)
    assert "the watches have been closed for 61 s" in telemetry.unhealthy()


def test_a_pass_that_hangs_is_unhealthy() -> None:
    clock = FakeClock()
    telemetry = Telemetry(clock.monotonic)
    telemetry.door(open_now=True)
    with telemetry.one_pass(("shop", "delays")):
        clock.advance(HANGING_SECONDS + 1)
        assert "('shop', 'delays') has hung" in telemetry.unhealthy()
    assert not telemetry.unhealthy()


def test_models_are_counted_by_their_word_once_each() -> None:
    telemetry = Telemetry(FakeClock().monotonic)
    telemetry.model(("a", "x"), "Canary 25 %", blocked=False)
    telemetry.model(("a", "x"), "Serving", blocked=True)
    telemetry.model(("a", "y"), "Serving", blocked=False)
    assert value(telemetry, 'perennial_models{state="Canary"}') == 0
    assert value(telemetry, 'perennial_models{state="Serving"}') == 2
    assert value(telemetry, "perennial_models_rollback_blocked") == 1
    telemetry.forget(("a", "x"))
    assert value(telemetry, 'perennial_models{state="Serving"}') == 1
    assert value(telemetry, "perennial_models_rollback_blocked") == 0


async def test_health_and_readiness_are_answered_over_http() -> None:
    clock = FakeClock()
    telemetry = Telemetry(clock.monotonic)
    runner = await telemetry.serve(0)
    port = next(address[1] for address in runner.addresses if len(address) == 2)  # IPv6 has another one when it is 0
    base = f"http://127.0.0.1:{port}"
    async with ClientSession() as session:

        async def status(path: str) -> int:
            async with session.get(base + path) as response:
                return response.status

        assert [await status("/healthz"), await status("/readyz"), await status("/metrics")] == [200, 503, 200]
        telemetry.ready = True
        clock.advance(DOOR_SECONDS + 1)
        assert [await status("/healthz"), await status("/readyz")] == [503, 200]
    await runner.cleanup()


@pytest.mark.parametrize("style", [JsonLines(), TextLines()], ids=["json", "text"])
def test_a_log_line_names_the_object(style: logging.Formatter) -> None:
    record = logging.makeLogRecord({"msg": "wrote %s", "args": ("Status",), "levelname": "INFO", "object": "shop/delays"})
    line = style.format(record)
    assert "shop/delays" in line
    assert "wrote Status" in line
    if isinstance(style, JsonLines):
        assert json.loads(line)["object"] == "shop/delays"
