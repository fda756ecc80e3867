"""A source of metrics on loopback: as much of a Prometheus server as the cases of `fakes.metric_cases` ask for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

from perennial.adapters.prometheus import PrometheusSources
from perennial.settings import MetricSource

LOOKBACK_SECONDS = 300.0
SERIES = re.compile(r'^(?P<sum>sum\()?orders_total\{v="(?P<v>[^"]*)"(,outcome="(?P<outcome>[^"]*)")?\}(?P<range>\[1m\])?\)?$')
Handler = Callable[[web.Request], Any]
Answer = tuple[int, Any]


class FakePrometheus:
    """Counts orders by version and outcome. `handler` stands in for all of it; `asked` are each question's headers and form."""

    def __init__(self, handler: Handler | None = None) -> None:
        self._handler = handler
        self._samples: list[tuple[float, dict[tuple[str, str], float]]] = []
        self.asked: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
        self.paths: list[str] = []

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def sources(self, **options: Any) -> PrometheusSources:
        """The operator's adapter, told of this server by the name shop."""
        return PrometheusSources([MetricSource("shop", self.url)], **options)

    async def count(self, orders: Mapping[tuple[str, str], float]) -> datetime:
        """So many orders by (version, outcome), and nothing else, as of the time that is returned."""
        now = datetime.now(UTC).replace(microsecond=0)
        if self._samples:
            now = max(now, datetime.fromtimestamp(self._samples[-1][0] + 1.0, UTC))
        self._samples.append((now.timestamp(), dict(orders)))
        return now

    async def _take(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self.asked.append((dict(request.headers), {name: str(value) for name, value in form.items()}))
        self.paths.append(request.path)
        if self._handler is not None:
            response: web.StreamResponse = await self._handler(request)
            return response
        status, body = self._answer(str(form["query"]), float(str(form["time"])))
        return web.json_response(body, status=status)

    def _answer(self, query: str, time: float) -> Answer:
        constants: dict[str, tuple[str, Any]] = {
            '"a text"': ("string", [time, "a text"]),
            "vector(1.5)": ("vector", [_sample(time, "1.5")]),
            "vector(-1)": ("vector", [_sample(time, "-1")]),
            "vector(0) / 0": ("vector", [_sample(time, "NaN")]),
            "vector(1) / 0": ("vector", [_sample(time, "+Inf")]),
            "scalar(vector(7))": ("scalar", [time, "7"]),
        }
        found = SERIES.match(query)
        if query in constants:
            return 200, _success(*constants[query])
        if found is None:
            words = f'invalid parameter "query": 1:{len(query)}: parse error: unexpected end of input'
            return 400, {"status": "error", "errorType": "bad_data", "error": words}
        orders = self._orders(time)
        wanted = [n for (v, outcome), n in orders.items() if v == found["v"] and found["outcome"] in (None, outcome)]
        if found["range"]:
            return 200, _success("matrix", [{"metric": {}, "values": [[time, str(n)]]} for n in wanted])
        if found["sum"] and wanted:
            wanted = [sum(wanted)]
        return 200, _success("vector", [_sample(time, str(n)) for n in wanted])

    def _orders(self, time: float) -> Mapping[tuple[str, str], float]:
        """The newest sample at that time, as a server looks back."""
        known = [orders for at, orders in self._samples if 0.0 <= time - at <= LOOKBACK_SECONDS]
        return known[-1] if known else {}


def _sample(time: float, value: str) -> dict[str, Any]:
    return {"metric": {}, "value": [time, value]}


def _success(kind: str, result: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}
