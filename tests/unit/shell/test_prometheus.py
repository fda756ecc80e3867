"""The adapter of Prometheus servers: servers that fail in every way, the token, and what is asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from fakes.metric_cases import ORDERS, read
from fakes.prometheus import FakePrometheus
from perennial.adapters.prometheus import LARGEST_ANSWER, PrometheusSources
from perennial.core.observed import MetricProblem, MetricQuery, MetricReading
from perennial.settings import MetricSource

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, UTC)
QUERY = MetricQuery("orders", "shop", "a", "b", "c", "d")
TOKEN = "s3cret-token"


def answering(*, status: int = 200, text: str = "") -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers={"Location": "/elsewhere"} if status == 302 else {})

    return handler


async def problem(server: FakePrometheus) -> MetricProblem:
    answer = await read(server, NOW)
    assert isinstance(answer, MetricProblem)
    assert answer.message.startswith("metric orders, source shop, query ")
    return answer


@pytest.mark.parametrize(
    ("status", "text", "reason", "words"),
    [
        (200, "<html>", "AnswerUnreadable", "is the source's url right?"),
        (200, "[]", "AnswerUnreadable", "is the source's url right?"),
        (200, "[" * 50_000, "AnswerUnreadable", "is the source's url right?"),
        (200, '{"status": "success"}', "AnswerUnreadable", "is the source's url right?"),
        (200, '{"status": "success", "data": {"resultType": "vector", "result": [{}]}}', "NotOneNumber", "not one number"),
        (200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}', "NotACount", "no number"),
        (200, '{"status": "success", "data": {"resultType": "scalar", "result": [1, "1e300"]}}', "NotACount", "no count"),
        (200, " " * (LARGEST_ANSWER + 1), "AnswerTooLarge", "more than 64 KiB"),
        (302, "", "SourceRedirects", "give the final address"),
        (401, "", "SourceRefused", "tokenSecret"),
        (403, '{"error": "no"}', "SourceRefused", "tokenSecret"),
        (422, '{"status": "error", "error": "many-to-many matching not allowed"}', "QueryRefused", "many-to-many"),
        (500, "oh", "SourceFailed", "HTTP 500: no reason given"),
        (503, '{"status": "error", "error": "query timed out"}', "SourceFailed", "query timed out"),
    ],
)
async def test_an_answer_that_is_none_is_told(status: int, text: str, reason: str, words: str) -> None:
    async with FakePrometheus(answering(status=status, text=text)) as server:
        told = await problem(server)
        assert told.reason == reason
        assert words in told.message
        assert set(server.paths) == {"/api/v1/query"}  # no redirect was followed


async def test_a_server_that_does_not_answer_in_time_is_told() -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(3)
        return web.Response()

    async with FakePrometheus(never) as server, server.sources(seconds=0.05) as sources:
        answer = await sources.read(QUERY, NOW)
    assert isinstance(answer, MetricProblem)
    assert answer.reason == "SourceTimedOut"
    assert "no answer within 0.05 s" in answer.message


async def test_a_server_that_is_not_there_is_told() -> None:
    async with FakePrometheus() as server:
        sources = server.sources()
    async with sources:
        answer = await sources.read(QUERY, NOW)
    assert isinstance(answer, MetricProblem)
    assert answer.reason == "SourceUnreachable"


async def test_a_source_that_is_unknown_is_told_with_those_that_are_known() -> None:
    async with PrometheusSources([MetricSource("b", "http://b"), MetricSource("a", "http://a")]) as sources:
        answer = await sources.read(QUERY, NOW)
    words = "metric orders: the operator has no source shop; known: a, b"
    assert answer == MetricProblem("MetricSourceUnknown", words)


async def test_a_long_query_leaves_room_for_what_to_do() -> None:
    async with FakePrometheus(answering(status=500)) as server, server.sources() as sources:
        answer = await sources.read(replace(QUERY, candidate_good="x" * 1024), NOW)
    assert isinstance(answer, MetricProblem)
    assert len(answer.message) < 400
    assert "x" * 256 + "...: HTTP 500" in answer.message


async def test_all_four_are_asked_for_the_same_time_in_a_form() -> None:
    async with FakePrometheus() as server:
        await read(server, NOW)
        assert len(server.asked) == 4
        assert {form["time"] for _, form in server.asked} == {f"{NOW.timestamp():.3f}"}
        assert not {name for headers, _ in server.asked for name in headers if name.lower() in ("authorization", "cookie")}


async def test_the_token_is_sent_read_anew_and_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    async with FakePrometheus(answering(status=401, text=TOKEN)) as server:
        async with PrometheusSources([MetricSource("shop", server.url, str(file))]) as sources:
            answer = await sources.read(QUERY, NOW)
            assert {headers["Authorization"] for headers, _ in server.asked} == {f"Bearer {TOKEN}"}
            server.asked.clear()
            file.write_text("another")
            await sources.read(QUERY, NOW)
            assert {headers["Authorization"] for headers, _ in server.asked} == {"Bearer another"}
        assert TOKEN not in str(answer)
        assert TOKEN not in repr(sources._sources)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("content", [None, "", f"{TOKEN}\nX-Other: 1", f"{TOKEN} 2", "ümlaut"])
async def test_a_token_that_is_none_is_told_and_nothing_is_asked(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    async with FakePrometheus() as server:
        async with PrometheusSources([MetricSource("shop", server.url, str(file))]) as sources:
            answer = await sources.read(QUERY, NOW)
        assert server.asked == []
    assert isinstance(answer, MetricProblem)
    assert answer.reason == "TokenUnreadable"
    assert str(file) in answer.message
    assert TOKEN not in answer.message


async def test_many_readings_at_once_share_few_connections() -> None:
    async with FakePrometheus() as server:
        at = await server.count(ORDERS)
        answers = await asyncio.gather(*(read(server, at) for _ in range(10)))
    assert answers == [MetricReading(at, 90, 100, 1000, 1001)] * 10
