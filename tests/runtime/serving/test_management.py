"""What is counted, and what the management port says: the operator decides rollouts by it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from perennial_runtime.contract import DURATION_SERIES, IN_FLIGHT_SERIES, LATENCY_BOUNDS_MS, REQUESTS_SERIES, SCORES_SERIES
from perennial_runtime.management import MIRROR, Counters, Counting, Health, management_app
from perennial_runtime.service import SCORED

VERSION = "delays-v2"
TOKEN = "0123456789abcdef"


class World:
    """A counted app whose next answer and clock the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.status = 200
        self.takes = 0.004
        self.scores: list[float] = []
        self.health = Health(clock=lambda: self.now)
        self.counters = Counters(VERSION)
        self.app = Counting(self._answer, self.counters, self.health, TOKEN)
        self.mirrored = Counting(self._answer, self.counters, self.health, TOKEN, MIRROR)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.now += self.takes
        if SCORED in scope:
            scope[SCORED](self.scores)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(self, path: str = "/predict", method: str = "POST", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app), base_url="http://pod") as client:
            return await client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def copy(self, **headers: str) -> httpx.Response:
        """A mirrored request."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.mirrored), base_url="http://pod") as client:
            return await client.post("/predict", headers=headers)

    async def managed(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=management_app(self.counters, self.health))
        async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
            return await client.get(path)

    async def series(self) -> dict[tuple[str, ...], float]:
        text = (await self.managed("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        assert {sample.labels["version"] for sample in samples} == {VERSION}
        keys = ("kind", "outcome", "le")
        return {(item.name, *(item.labels[key] for key in keys if key in item.labels)): item.value for item in samples}

    async def counted(self, kind: str = "live") -> tuple[float, float, float]:
        """Good, bad, timed."""
        found = await self.series()
        return (
            found[REQUESTS_SERIES, kind, "good"],
            found[REQUESTS_SERIES, kind, "bad"],
            found[f"{DURATION_SERIES}_count", kind],
        )

    def warm(self) -> None:
        self.health.turn_ready()
        self.now += 6.0


@pytest.mark.parametrize(("status", "good"), [(200, 1), (204, 1), (429, 1), (400, 0), (415, 0), (422, 0), (500, 0), (302, 0)])
async def test_bad_is_every_answer_that_is_no_2xx_but_429(status: int, good: int) -> None:
    world = World()
    world.status = status
    await world.ask()
    assert await world.counted() == (good, 1 - good, 0)


@pytest.mark.parametrize(("attempt", "counted"), [("1", 1), ("2", 0), ("3", 0)])
async def test_a_gateways_second_attempt_is_not_counted(attempt: str, counted: int) -> None:
    world = World()
    await world.ask(x_envoy_attempt_count=attempt)
    assert await world.counted() == (counted, 0, 0)


@pytest.mark.parametrize(("method", "path"), [("GET", "/predict"), ("GET", "/docs.json"), ("POST", "/other"), ("GET", "/livez")])
async def test_only_predictions_are_counted(method: str, path: str) -> None:
    world = World()
    await world.ask(path, method)
    assert await world.counted() == (0, 0, 0)


async def test_golden_requests_are_counted_apart() -> None:
    world = World()
    await world.ask(x_perennial_golden=TOKEN)
    assert await world.counted() == (0, 0, 0)
    assert await world.counted("golden") == (1, 0, 0)


async def test_mirrored_requests_are_counted_apart() -> None:
    world = World()
    world.warm()
    await world.copy()
    world.status = 500
    await world.copy()
    assert await world.counted() == (0, 0, 0)
    assert await world.counted("mirror") == (1, 1, 2)


@pytest.mark.parametrize("headers", [{"host": "models.example.com-shadow"}, {"x_envoy_is_shadow": "true"}, {"kind": "mirror"}])
async def test_a_client_cannot_pass_a_live_request_for_a_mirrored_one(headers: dict[str, str]) -> None:
    world = World()
    world.status = 500
    await world.ask(**headers)
    assert await world.counted() == (0, 1, 0)
    assert await world.counted("mirror") == (0, 0, 0)


async def test_a_client_cannot_pass_for_golden() -> None:
    world = World()
    world.status = 500
    await world.ask(x_perennial_golden="guess")
    assert await world.counted() == (0, 1, 0)


async def test_durations_count_from_five_seconds_after_ready() -> None:
    world = World()
    await world.ask()
    world.health.turn_ready()
    world.now += 4.9
    await world.ask()
    assert (await world.counted())[2] == 0
    world.now += 0.2
    await world.ask()
    assert (await world.counted())[2] == 1


@pytest.mark.parametrize(("seconds", "within"), [(0.0005, 1), (0.001, 1), (0.0011, 2), (0.049, 50), (0.0501, 60), (2.9, 3000)])
async def test_a_duration_falls_into_the_buckets_at_or_over_it(seconds: float, within: int) -> None:
    counters = Counters(VERSION)
    counters.begin("live")
    counters.end("live", True, seconds)
    world = World()
    world.counters = counters
    found = await world.series()
    held = {bound: found[f"{DURATION_SERIES}_bucket", "live", str(bound / 1000)] for bound in LATENCY_BOUNDS_MS}
    assert held == {bound: float(bound >= within) for bound in LATENCY_BOUNDS_MS}


async def test_every_bound_of_the_contract_has_a_bucket_that_the_operator_can_find() -> None:
    found = await World().series()
    bounds = [key[2] for key in found if key[:2] == (f"{DURATION_SERIES}_bucket", "live")]
    assert [float(bound) * 1000 for bound in bounds[:-1]] == pytest.approx(LATENCY_BOUNDS_MS)
    assert bounds[-1] == "+Inf"


async def test_an_application_that_raises_counts_as_bad_and_slow() -> None:
    world = World()
    world.warm()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError

    world.app = Counting(broken, world.counters, world.health, TOKEN)
    with pytest.raises(RuntimeError):
        await world.ask()
    assert await world.counted() == (0, 1, 1)
    assert (await world.series())[f"{DURATION_SERIES}_bucket", "live", "5.0"] == 0


async def test_a_client_that_hangs_up_during_a_slow_answer_counts_as_bad_and_slow() -> None:
    world = World()
    world.warm()
    world.takes = 0.2
    gone = asyncio.Event()
    gone.set()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    await world.app({"type": "http", "path": "/predict", "method": "POST", "headers": []}, receive, send)
    assert await world.counted() == (0, 1, 1)
    assert (await world.series())[f"{DURATION_SERIES}_bucket", "live", "5.0"] == 0


async def test_a_client_that_waits_for_a_slow_answer_counts_as_good() -> None:
    world = World()
    world.warm()
    world.takes = 0.2
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        raise AssertionError

    async def send(message: Any) -> None:
        pass

    await world.app({"type": "http", "path": "/predict", "method": "POST", "headers": []}, receive, send)
    assert await world.counted() == (1, 0, 1)


async def test_requests_under_way_are_shown_and_gone_afterwards() -> None:
    world = World()
    seen: list[float] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await world.series())[IN_FLIGHT_SERIES, "live"])
        await world._answer(scope, receive, send)

    world.app = Counting(look, world.counters, world.health, TOKEN)
    await world.ask()
    assert seen == [1.0]
    assert (await world.series())[IN_FLIGHT_SERIES, "live"] == 0


async def test_a_draining_pod_is_unready_and_asks_clients_to_close_but_still_answers() -> None:
    world = World()
    world.warm()
    assert (await world.managed("/readyz")).status_code == 200
    assert "connection" not in (await world.ask()).headers
    world.health.draining = True
    assert (await world.managed("/readyz")).status_code == 503
    response = await world.ask()
    assert (response.status_code, response.headers["connection"]) == (200, "close")
    assert (await world.managed("/livez")).status_code == 200


async def test_a_pod_is_unready_until_it_says_so_and_alive_from_the_start() -> None:
    world = World()
    assert (await world.managed("/readyz")).status_code == 503
    assert (await world.managed("/livez")).status_code == 200
    assert (await world.managed("/predict")).status_code == 404


async def test_scores_of_live_requests_are_counted_in_twenty_bins() -> None:
    world = World()
    world.scores = [0.0, 0.05, 0.051, 0.5, 1.0]
    await world.ask()
    world.scores = [0.9]
    await world.ask(x_perennial_golden=TOKEN)
    found = await world.series()
    cumulative = [found[f"{SCORES_SERIES}_bucket", "live", str((bin_ + 1) / 20)] for bin_ in range(20)]
    assert cumulative == [2.0] + [3.0] * 8 + [4.0] * 10 + [5.0]
    assert found[f"{SCORES_SERIES}_sum", "live"] == pytest.approx(1.601)
    assert (f"{SCORES_SERIES}_count", "golden") not in found
