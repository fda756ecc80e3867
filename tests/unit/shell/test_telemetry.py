"""The operator's health and numbers."""

from __future__ import annotations

import json
import logging

import pytest
from aiohttp import ClientSession
from prometheus_client import generate_latest

from fakes.time import FakeClock
from perennial.api.evidence import MetricEvidence
from perennial.log import JsonLines, TextLines
from perennial.standing import OUTCOMES, Standing
from perennial.telemetry import DOOR_SECONDS, HANGING_SECONDS, Telemetry


def value(telemetry: Telemetry, series: str) -> float:
    lines = generate_latest(telemetry.registry).decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series + " "))


def series(telemetry: Telemetry, prefix: str) -> dict[str, float]:
    """Samples whose name begins so, without the times at which they were made."""
    lines = [line for line in generate_latest(telemetry.registry).decode().splitlines() if line.startswith(prefix)]
    kept = [line for line in lines if not line.startswith("#") and "_created" not in line]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in kept}


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


def test_operator_that_does_not_see_the_cluster_says_so() -> None:
    telemetry = Telemetry(FakeClock().monotonic)

    def sees() -> float:
        return value(telemetry, "perennial_watches_open")

    assert sees() == 0, "the cache is not filled"
    telemetry.ready = True
    assert sees() == 0, "no watch is open yet"
    telemetry.door(open_now=True)
    assert sees() == 1
    telemetry.door(open_now=False)
    assert sees() == 0
    telemetry.door(open_now=False)
    assert (sees(), value(telemetry, "perennial_door_restarts_total")) == (0, 1), "it does not reopen, so nothing else is counted"


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
    telemetry.model(("a", "x"), Standing("Canary"))
    telemetry.model(("a", "x"), Standing("Serving"))
    telemetry.model(("a", "y"), Standing("Serving"))
    assert series(telemetry, "perennial_models") == {'perennial_models{state="Serving"}': 2}
    telemetry.forget(("a", "x"))
    assert series(telemetry, "perennial_models") == {'perennial_models{state="Serving"}': 1}


def test_series_of_a_model_go_with_its_trouble_its_rollout_and_the_model() -> None:
    telemetry = Telemetry(FakeClock().monotonic)
    evidence = MetricEvidence(name="errors", e=3.5, threshold=200.0, alpha_used=0.0175)
    telemetry.model(("shop", "delays"), Standing("Canary", (("Measured", "PodsUnreachable"),), (evidence,)))
    labels = 'model="delays",model_namespace="shop"'
    reason = f'condition="Measured",{labels},reason="PodsUnreachable"'
    assert series(telemetry, "perennial_model_trouble") == {f"perennial_model_trouble{{{reason}}}": 1}
    assert series(telemetry, "perennial_rollout_") == {
        f'perennial_rollout_evidence{{metric="errors",{labels}}}': 3.5,
        f'perennial_rollout_evidence_threshold{{metric="errors",{labels}}}': 200.0,
        f'perennial_rollout_alpha_used_ratio{{metric="errors",{labels}}}': 0.0175,
    }
    telemetry.model(("shop", "delays"), Standing("Serving"))
    assert series(telemetry, "perennial_model_trouble") == series(telemetry, "perennial_rollout_") == {}
    telemetry.forget(("shop", "delays"))
    assert series(telemetry, "perennial_models") == {}


def test_a_first_rollout_is_an_increase_for_its_series_began_at_zero() -> None:
    telemetry = Telemetry(FakeClock().monotonic)
    before = series(telemetry, "perennial_rollouts_total")
    assert set(before.values()) == {0}
    assert len(before) == len(OUTCOMES)
    telemetry.rollout_ended("rolled_back")
    assert value(telemetry, 'perennial_rollouts_total{outcome="rolled_back"}') == 1


def test_a_thousand_models_at_rest_have_no_series_of_their_own() -> None:
    telemetry = Telemetry(FakeClock().monotonic)
    empty = len(series(telemetry, ""))
    for number in range(1000):
        telemetry.model(("shop", f"m{number}"), Standing("Serving"))
    assert len(series(telemetry, "")) == empty + 1


def test_the_operators_own_memory_is_told() -> None:
    assert value(Telemetry(FakeClock().monotonic), "process_resident_memory_bytes") > 1e6


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
