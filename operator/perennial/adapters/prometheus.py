"""Requests counted elsewhere, read from Prometheus servers (or what answers as one): the port `perennial.ports.MetricProvider`.

Four questions to /api/v1/query, one for each counter of each arm, all for the same time. What is not exactly one count is a
problem in words, never a measurement. Redirects are not followed, and a token goes to the address it was given for and no other.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from perennial.core.observed import MetricProblem, MetricQuery, MetricReading
from perennial.settings import MetricSource

READ_SECONDS = 2.0
"""For all four questions together."""
LARGEST_ANSWER = 64 * 1024
"""Bytes; the answer that is wanted has about 100."""
LARGEST_TOKEN = 16 * 1024
LARGEST_COUNT = 2**53
"""Prometheus counts in floating point numbers: beyond this one more request changes nothing."""
CONNECTIONS = 8
"""At most so many to one source."""


class _Unanswered(Exception):
    """A question without a count for an answer; `problem` says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.problem = MetricProblem(reason, message)


class PrometheusSources:
    """All sources that the operator was installed with; an asynchronous context manager."""

    def __init__(self, sources: Iterable[MetricSource], seconds: float = READ_SECONDS) -> None:
        self._sources: Mapping[str, MetricSource] = {source.name: source for source in sources}
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> PrometheusSources:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            connector=aiohttp.TCPConnector(limit_per_host=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, query: MetricQuery, at: datetime) -> MetricReading | MetricProblem:
        """The four counters as they stood at `at`, or the first problem among them."""
        source = self._sources.get(query.source)
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            words = f"the operator has no source {query.source}"
            return MetricProblem("MetricSourceUnknown", f"metric {query.metric}: {words}; known: {known}")
        expressions = (query.candidate_good, query.candidate_total, query.stable_good, query.stable_total)
        answers = await asyncio.gather(*(self._count(source, each, at) for each in expressions), return_exceptions=True)
        for expression, answer in zip(expressions, answers, strict=True):
            if isinstance(answer, _Unanswered):
                return MetricProblem(answer.problem.reason, f"{query.about(expression)}: {answer.problem.message}")
            if isinstance(answer, BaseException):
                raise answer
        candidate_good, candidate_total, stable_good, stable_total = (
            int(answer) for answer in answers if isinstance(answer, int)
        )
        return MetricReading(at, candidate_good, candidate_total, stable_good, stable_total)

    async def _count(self, source: MetricSource, expression: str, at: datetime) -> int:
        status, body = await self._asked(source, expression, at)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status != 200:
            raise _refusal(status, answer)
        if not isinstance(answer, dict) or answer.get("status") != "success" or not isinstance(answer.get("data"), dict):
            raise _Unanswered("AnswerUnreadable", "the answer is not that of a Prometheus server: is the source's url right?")
        return _count(answer["data"])

    async def _asked(self, source: MetricSource, expression: str, at: datetime) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("PrometheusSources is used as an asynchronous context manager")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **_authorization(source)}
        form = {"query": expression, "time": f"{at.timestamp():.3f}", "timeout": f"{self._seconds:g}s"}
        try:
            async with self._session.post(
                f"{source.url}/api/v1/query", data=form, headers=headers, allow_redirects=False
            ) as response:
                body = bytearray()
                async for part in response.content.iter_chunked(LARGEST_ANSWER):
                    body += part
                    if len(body) > LARGEST_ANSWER:
                        raise _Unanswered(
                            "AnswerTooLarge", f"the answer has more than {LARGEST_ANSWER // 1024} KiB: ask for one sum"
                        )
                return response.status, bytes(body)
        except TimeoutError as error:
            raise _Unanswered("SourceTimedOut", f"no answer within {self._seconds:g} s; asking again") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            words = f"cannot be asked ({type(error).__name__}): does its url answer from the operator's pod? Asking again"
            raise _Unanswered("SourceUnreachable", words) from error


def _authorization(source: MetricSource) -> dict[str, str]:
    """The token, which is never part of a message."""
    if not source.token_file:
        return {}
    try:
        with Path(source.token_file).open(encoding="ascii") as file:
            token = file.read(LARGEST_TOKEN).strip()
    except (OSError, ValueError) as error:
        words = f"its token cannot be read from {source.token_file} ({type(error).__name__}): is the Secret there?"
        raise _Unanswered("TokenUnreadable", words) from error
    if not token or not token.isprintable() or " " in token:
        raise _Unanswered("TokenUnreadable", f"what is in {source.token_file} is no token: one line without spaces is needed")
    return {"Authorization": f"Bearer {token}"}


def _refusal(status: int, answer: Any) -> _Unanswered:
    """Prometheus says why it cannot answer (400, 422, 503); others say less."""
    said = str(answer.get("error", ""))[:300] if isinstance(answer, dict) else ""
    if status in (401, 403):
        return _Unanswered(
            "SourceRefused", f"HTTP {status}: the source wants another token; see tokenSecret of the chart's metricSources"
        )
    if 300 <= status < 400:
        return _Unanswered(
            "SourceRedirects", f"HTTP {status}: redirects are not followed; give the final address as the source's url"
        )
    if status in (400, 422):
        return _Unanswered("QueryRefused", f"HTTP {status}: {said or 'no reason given'}; correct the expression")
    return _Unanswered("SourceFailed", f"HTTP {status}: {said or 'no reason given'}; asking again")


def _count(data: Mapping[str, Any]) -> int:
    """The one count in an answer. Raises _Unanswered."""
    match data:
        case {"resultType": "scalar", "result": [_, str(value)]}:
            return _whole(value)
        case {"resultType": "vector", "result": []}:
            raise _Unanswered("NoData", "nothing has these labels at that time: are they right, and is it scraped?")
        case {"resultType": "vector", "result": [{"value": [_, str(value)]}]}:
            return _whole(value)
        case {"resultType": "vector", "result": [_, _, *_]}:
            raise _Unanswered("SeveralSeries", "more than one series answers: write sum(...) around it")
        case {"resultType": "matrix"}:
            raise _Unanswered("NotOneNumber", "the answer is a range of values: leave out the [...] behind the series")
        case {"resultType": "string"}:
            raise _Unanswered("NotOneNumber", "the answer is a text: ask for a counter")
    raise _Unanswered("NotOneNumber", "the answer is not one number: ask for a counter")


def _whole(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        raise _Unanswered("NotACount", "the answer is no number: ask for a counter") from None
    if not math.isfinite(value):
        raise _Unanswered("NotACount", "the answer is NaN or infinite: ask for a counter, not for a ratio")
    if value < 0 or value != math.floor(value) or value > LARGEST_COUNT:
        raise _Unanswered(
            "NotACount", "the answer is no count of requests: ask for a counter itself, without rate() or increase()"
        )
    return int(value)
