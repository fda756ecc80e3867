"""A real Prometheus server on loopback that reads one exporter, whose counters the test sets."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cluster import host
from cluster.progress import Progress
from cluster.settings import from_environment
from perennial.adapters.prometheus import PrometheusSources
from perennial.settings import MetricSource

START_SECONDS = 30.0
SCRAPE_SECONDS = 10.0
CONFIGURATION = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: shop
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


class RealPrometheus:
    """Implements `fakes.metric_cases.Counting`."""

    def __init__(self, url: str, exporter: Exporter) -> None:
        self.url = url
        self._exporter = exporter

    def sources(self) -> PrometheusSources:
        """The operator's adapter, told of this server by the name shop."""
        return PrometheusSources([MetricSource("shop", self.url)])

    async def count(self, orders: Mapping[tuple[str, str], float]) -> datetime:
        """Sets the exporter's counters and waits until the server has read them."""
        mark = self._exporter.expose(orders)
        deadline = time.monotonic() + SCRAPE_SECONDS
        while await asyncio.to_thread(self._newest) != mark:
            assert time.monotonic() < deadline, f"the counters were not read within {SCRAPE_SECONDS:.0f} s"
            await asyncio.sleep(0.05)
        return datetime.now(UTC)

    def _newest(self) -> int:
        answer = _get(f"{self.url}/api/v1/query?{urlencode({'query': 'exposed'})}")
        result = answer["data"]["result"]
        return int(result[0]["value"][1]) if result else 0


class Exporter(ThreadingHTTPServer):
    """Answers /metrics with what was last exposed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Metrics)
        self.text, self._mark = "exposed 0\n", 0

    def expose(self, orders: Mapping[tuple[str, str], float]) -> int:
        """A number that tells this state from all before."""
        self._mark += 1
        lines = [f'orders_total{{v="{v}",outcome="{outcome}"}} {value}' for (v, outcome), value in orders.items()]
        self.text = "\n".join([*lines, f"exposed {self._mark}", ""])
        return self._mark


class _Metrics(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        body = self.server.text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@contextmanager
def running(folder: Path) -> Iterator[RealPrometheus]:
    """The server and its exporter while the block lasts."""
    program = host.prometheus(from_environment(), Progress())
    with Exporter() as exporter:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        configuration = folder / "prometheus.yml"
        configuration.write_text(CONFIGURATION % exporter.server_address[1])
        port = _free_port()
        words = [
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.console.templates={folder}",
            f"--web.console.libraries={folder}",
        ]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen([program, *words], stdout=log, stderr=log, cwd=folder) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_ready(process, url, folder / "log")
                yield RealPrometheus(url, exporter)
            finally:
                process.terminate()
        exporter.shutdown()


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=1) as answer:  # noqa: S310 - loopback
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"Prometheus did not get ready:\n{log.read_text()[-2000:]}")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Metrics) as taken:
        return int(taken.server_address[1])
