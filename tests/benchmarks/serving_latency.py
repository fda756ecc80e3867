"""What serving costs: latency beside a bare ASGI app, memory over 30,000 requests, and time to ready.

    python tests/benchmarks/serving_latency.py            (PYTHONPATH=serving:dev:tests; about two minutes)
    python tests/benchmarks/serving_latency.py --quick

Both apps run under the same uvicorn as processes of their own on loopback and get the same open-loop load, one after the other in
turns, so that a busy machine hits both. The bare app parses and answers JSON of the same size and does nothing else. Ends with 1
when a limit that the project promises is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from loadgen import Plan, run
from runtime.serving.bentos import ROW, write_source
from runtime.serving.pods import free_port, running

P50_OVER_BARE_MS = 0.5
P99_MS = 10.0
RSS_MB = 180.0
READY_SECONDS = 5.0

BARE = """
import sys, orjson, uvicorn
async def app(scope, receive, send):
    message = await receive()
    orjson.loads(message["body"])
    body = orjson.dumps({"predictions": [{"label": 1, "score": 0.123456789}], "version": "bare"})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
options = {"loop": "uvloop", "http": "httptools", "ws": "none", "lifespan": "off", "access_log": False, "log_config": None}
uvicorn.run(app, port=int(sys.argv[1]), **options)
"""


@contextlib.contextmanager
def bare_server() -> Iterator[str]:
    """The reference: uvicorn and orjson, nothing else."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    time.sleep(1.5)
    try:
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        process.terminate()
        process.wait()


def load(url: str, rate: float, seconds: float) -> tuple[float, float, int]:
    """p50 and p99 in milliseconds, failures."""
    found = asyncio.run(run(Plan(url, [json.dumps({"instances": [ROW]}).encode()], rate, seconds))).summary()
    return found.p50 * 1000, found.p99 * 1000, found.failures


def measure(quick: bool) -> list[str]:
    """Prints what was measured; returns the promises that were broken."""
    turns, seconds, total = (2, 3.0, 3000) if quick else (5, 10.0, 30_000)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        spec = write_source(work / "src")
        started = time.monotonic()
        with running(spec, work, work, warm=2.0) as pod, bare_server() as bare:
            pod.wait_ready()
            ready = time.monotonic() - started
            time.sleep(5.0)
            ours = pod.url + "/predict"
            rounds = [(load(bare, 100, seconds), load(ours, 100, seconds)) for _ in range(turns)]
            before = pod.rss_mb()
            *_, failures = load(ours, 500, total / 500)
            after = pod.rss_mb()
    for name, pick in (("bare ASGI", 0), ("serving", 1)):
        p50, p99 = (statistics.median(each[pick][index] for each in rounds) for index in (0, 1))
        print(
            f"{name:10} at 100 requests a second: p50 {p50:.2f} ms, p99 {p99:.2f} ms (medians of {turns} rounds of {seconds:g} s)"
        )
    over = statistics.median(each[1][0] - each[0][0] for each in rounds)
    p99 = statistics.median(each[1][1] for each in rounds)
    print(f"p50 over bare ASGI {over:.2f} ms; ready after {ready:.1f} s")
    print(f"memory {before:.0f} MB -> {after:.0f} MB over {total} requests at 500 a second, {failures} failures")
    checks = (
        (over <= P50_OVER_BARE_MS, f"p50 is {over:.2f} ms over bare ASGI (limit {P50_OVER_BARE_MS})"),
        (p99 <= P99_MS, f"p99 is {p99:.2f} ms (limit {P99_MS})"),
        (after <= RSS_MB, f"memory is {after:.0f} MB (limit {RSS_MB:g})"),
        (ready <= READY_SECONDS, f"ready after {ready:.1f} s (limit {READY_SECONDS:g})"),
        (failures == 0, f"{failures} failed requests"),
    )
    return [text for kept, text in checks if not kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a tenth of the load")
    broken = measure(parser.parse_args().quick)
    for text in broken:
        print(f"BROKEN: {text}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
