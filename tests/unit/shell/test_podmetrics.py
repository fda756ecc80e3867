"""Counters read from serving pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from perennial.adapters.podmetrics import PodPorts, counters
from perennial.core.observed import ContainerState, PodCounters, ServingPod
from perennial_runtime.contract import (
    DURATION_SERIES,
    IN_FLIGHT_SERIES,
    LATENCY_BOUNDS_MS,
    REQUESTS_SERIES,
    SCORE_BINS,
    SCORES_SERIES,
)

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def pod(ip: str = "127.0.0.1") -> ServingPod:
    server = ContainerState("server", "running", restarts=3)
    return ServingPod("pod-1", "u1", ip, EPOCH, True, EPOCH, False, (server,))


def exposition() -> str:
    """As a serving pod writes it: three live requests, one of them bad and slow, two mirrored, and a golden one."""
    registry = CollectorRegistry()
    requests = Counter(REQUESTS_SERIES.removesuffix("_total"), "r", ["version", "kind", "outcome"], registry=registry)
    seconds = Histogram(
        DURATION_SERIES, "s", ["version", "kind"], buckets=[bound / 1000 for bound in LATENCY_BOUNDS_MS], registry=registry
    )
    flight = Gauge(IN_FLIGHT_SERIES, "f", ["version", "kind"], registry=registry)
    for kind, outcome, took in (
        ("live", "good", 0.003),
        ("live", "good", 0.004),
        ("live", "bad", 0.3),
        ("mirror", "bad", 0.3),
        ("mirror", "good", 0.003),
        ("golden", "good", 0.001),
    ):
        requests.labels("m-v1", kind, outcome).inc()
        seconds.labels("m-v1", kind).observe(took)
    scores = Histogram(
        SCORES_SERIES, "p", ["version", "kind"], buckets=[(i + 1) / SCORE_BINS for i in range(20)], registry=registry
    )
    for score in (0.01, 0.05, 0.5, 1.0):
        scores.labels("m-v1", "live").observe(score)
    flight.labels("m-v1", "live").set(2)
    flight.labels("m-v1", "mirror").set(1)
    return generate_latest(registry).decode()


def test_only_live_requests_count() -> None:
    read = counters(exposition(), 1, pod())
    assert (read.total, read.bad, read.timed, read.in_flight, read.restarts) == (3, 1, 3, 2, 3)


def test_scores_are_read_bin_by_bin_and_are_none_of_an_older_runtime() -> None:
    read = counters(exposition(), 1, pod()).scores
    assert read == (2, *(0,) * 8, 1, *(0,) * 9, 1)
    older = "\n".join(line for line in exposition().splitlines() if SCORES_SERIES not in line) + "\n"
    assert counters(older, 1, pod()).scores == ()


def test_mirrored_requests_are_read_apart() -> None:
    seen = counters(exposition(), 1, pod()).mirror
    assert (seen.total, seen.bad, seen.timed, seen.in_flight) == (2, 1, 2, 1)
    buckets = dict(zip(LATENCY_BOUNDS_MS, seen.buckets, strict=True))
    assert (buckets[2], buckets[5], buckets[300]) == (0, 1, 2)


def test_a_pod_of_a_runtime_before_shadows_has_no_mirrored_request() -> None:
    lines = [line for line in exposition().splitlines() if 'kind="mirror"' not in line]
    read = counters("\n".join(lines) + "\n", 1, pod())
    assert (read.total, read.mirror.total, read.mirror.timed) == (3, 0, 0)


def test_buckets_are_cumulative_in_the_order_of_the_bounds() -> None:
    buckets = dict(zip(LATENCY_BOUNDS_MS, counters(exposition(), 1, pod()).buckets, strict=True))
    assert (buckets[2], buckets[5], buckets[250], buckets[300], buckets[5000]) == (0, 2, 2, 3, 3)


@pytest.fixture
async def management() -> AsyncIterator[tuple[int, list[web.Response]]]:
    """A pod's management port that answers what the test puts there."""
    answers: list[web.Response] = []

    async def metrics(_: web.Request) -> web.Response:
        return answers[0]

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], answers
    await runner.cleanup()


async def test_pods_are_read_over_http(management: tuple[int, list[web.Response]]) -> None:
    port, answers = management
    answers.append(web.Response(text=exposition()))
    async with PodPorts(port) as ports:
        (answer,) = await ports.read([(1, pod())])
    assert isinstance(answer, PodCounters)
    assert answer.total == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [(web.Response(status=503), "answered HTTP 503"), (web.Response(text="]]nonsense{{"), "cannot be read")],
)
async def test_an_answer_that_is_none_is_told(
    management: tuple[int, list[web.Response]], answer: web.Response, words: str
) -> None:
    port, answers = management
    answers.append(answer)
    async with PodPorts(port) as ports:
        (told,) = await ports.read([(1, pod())])
    assert isinstance(told, str)
    assert words in told
    assert "pod-1" in told


async def test_a_pod_without_an_address_or_without_a_server_is_told() -> None:
    async with PodPorts(1) as ports:
        nowhere, closed = await ports.read([(1, pod("")), (1, pod())])
    assert nowhere == "pod pod-1 has no address yet"
    assert "did not answer on its management port" in str(closed)
