"""The load generator: it keeps its schedule whatever the server does, tells the truth, and never leaves the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from loadgen import Plan, PlanError, Record, run
from loadgen.plan import check, read_bodies


@contextlib.asynccontextmanager
async def server(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/predict", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        await runner.cleanup()


async def _good(request: web.Request) -> web.Response:
    return web.Response(headers={"x-perennial-version": "delays-v1"}, text="{}")


async def test_sends_each_request_at_its_own_time() -> None:
    async with server(_good) as url:
        results = await run(Plan(url, [b"{}"], rate=100, seconds=0.5))
    assert len(results.records) == 50
    scheduled = sorted(record.scheduled for record in results.records)
    gaps = [late - early for early, late in itertools.pairwise(scheduled)]
    assert gaps == pytest.approx([0.01] * 49, abs=1e-4)
    assert all(record.scheduled <= record.sent <= record.done for record in results.records)
    assert results.versions == ["delays-v1"]
    assert results.failures == []


async def test_a_stalled_server_does_not_hold_up_the_schedule_and_the_stall_is_in_the_latencies() -> None:
    stalled = asyncio.Event()
    asyncio.get_running_loop().call_later(0.4, stalled.set)

    async def stalls(request: web.Request) -> web.Response:
        await stalled.wait()
        return await _good(request)

    async with server(stalls) as url:
        results = await run(Plan(url, [b"{}"], rate=100, seconds=0.4, connections=2))
    assert len(results.records) == 40
    # those that waited for one of the two connections waited from their own scheduled time
    assert results.summary().p50 > 0.1


async def test_failures_and_silence_are_told_apart() -> None:
    answers = iter([200, 500, None, 422])

    async def mixed(request: web.Request) -> web.Response:
        status = next(answers)
        if status is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.Response(status=status, headers={"x-perennial-version": "delays-v2"})

    async with server(mixed) as url:
        results = await run(Plan(url, [b"{}"], rate=20, seconds=0.2))
    assert [record.status for record in sorted(results.records, key=lambda record: record.scheduled)] == [200, 500, 0, 422]
    assert [record.ok for record in sorted(results.records, key=lambda record: record.scheduled)] == [True, False, False, False]
    silent = next(record for record in results.records if record.status == 0)
    assert silent.version is None
    assert silent.error
    assert results.summary().failures == 3


async def test_requests_under_way_are_bounded_and_the_rest_is_noted_as_not_sent() -> None:
    released = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, released.set)

    async def stalls(request: web.Request) -> web.Response:
        await released.wait()
        return await _good(request)

    async with server(stalls) as url:
        results = await run(Plan(url, [b"{}"], rate=100, seconds=0.2, under_way=5))
    assert sum(record.error.startswith("not sent") for record in results.records) == 15
    assert sum(record.ok for record in results.records) == 5


async def test_ends_early_when_it_is_told_to_and_awaits_what_is_under_way() -> None:
    stop = asyncio.Event()
    seen: list[Record] = []
    asyncio.get_running_loop().call_later(0.1, stop.set)
    async with server(_good) as url:
        results = await run(Plan(url, [b"{}"], rate=50, seconds=60), seen.append, stop)
    assert results.records == []
    assert 1 <= len(seen) < 20
    assert all(record.ok for record in seen)


@pytest.mark.parametrize(
    "url", ["http://1.1.1.1/predict", "http://8.8.8.8:80/", "http://192.168.0.1/", "http://0.0.0.0/", "http://[2001:db8::1]/"]
)
def test_refuses_every_address_outside_this_machine_and_the_cluster(url: str) -> None:
    with pytest.raises(PlanError, match="no load is sent there"):
        check(Plan(url, [b"{}"]))


@pytest.mark.parametrize("host", ["127.0.0.1", "198.18.0.2", "198.19.255.1", "10.96.0.10", "10.244.3.7", "[::1]"])
def test_accepts_this_machine_and_the_cluster(host: str) -> None:
    assert check(Plan(f"http://{host}:3000/predict?a=b", [b"{}"])).url == f"http://{host}:3000/predict?a=b"


def test_a_name_is_resolved_once_and_kept_as_host_header() -> None:
    target = check(Plan("http://localhost:3000/predict", [b"{}"]))
    assert target.host == "localhost:3000"
    assert "localhost" not in target.url


@pytest.mark.parametrize(
    "plan",
    [
        Plan("https://127.0.0.1/", [b"{}"]),
        Plan("127.0.0.1", [b"{}"]),
        Plan("http://127.0.0.1/", []),
        Plan("http://127.0.0.1/", [b"{}"], rate=0),
        Plan("http://127.0.0.1/", [b"{}"], rate=1e6),
        Plan("http://127.0.0.1/", [b"{}"], seconds=1e6),
        Plan("http://127.0.0.1/", [b"{}"], connections=0),
    ],
)
def test_refuses_a_plan_out_of_bounds(plan: Plan) -> None:
    with pytest.raises(PlanError):
        check(plan)


def test_a_line_is_one_instance_or_a_whole_body(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"hour": 1}\n\n{"instances": [{"hour": 2}, {"hour": 3}]}\n')
    assert [json.loads(body) for body in read_bodies(path)] == [
        {"instances": [{"hour": 1}]},
        {"instances": [{"hour": 2}, {"hour": 3}]},
    ]


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_broken_body_file_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"hour": 1}\n' + text)
    with pytest.raises(PlanError, match=r"rows\.jsonl line 2"):
        read_bodies(tmp_path / "rows.jsonl")
