"""Times the predict path of an unpacked Bento, in a process of its own under resource limits.

`perennial_runtime.evaluate_sandbox` starts `python -m perennial_runtime.latency_check <request.json>`: the model's native code
runs here, as in `onnx_check`. Asked are the Bento's golden rows, one in a request, one request after the other: JSON to checked
rows to scores to JSON, as a serving pod does it, without gateway, network and the requests of others.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perennial_runtime.bento import GOLDEN_FILE
from perennial_runtime.evaluate_child import ModelRefused, carry_out
from perennial_runtime.evaluate_sandbox import LATENCIES_FILE
from perennial_runtime.onnx_model import ModelBroken
from perennial_runtime.scoring import ScoreError
from perennial_runtime.service import Predictor

WARM = 100
LEAST = 400
"""Requests that are timed however long they take: fewer have no upper bound of their 99th percentile."""
MOST = 4000
SECONDS = 20.0
"""After which no more than LEAST are timed."""


def _work(request: Mapping[str, Any], out: Path) -> None:
    directory = Path(request["bento"])
    rows = json.loads((directory / GOLDEN_FILE).read_text(encoding="utf-8"))["rows"]
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    try:
        taken = asyncio.run(_measure(Predictor(directory), bodies))
    except (ModelBroken, ScoreError) as error:
        raise ModelRefused("ScoresInvalid", f"model.onnx does not answer the golden requests of its own Bento: {error}") from None
    np.save(out / LATENCIES_FILE, np.array(taken))


async def _measure(predictor: Predictor, bodies: list[bytes]) -> list[float]:
    """Milliseconds of each request."""
    for number in range(WARM):
        await predictor.answer(bodies[number % len(bodies)])
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < MOST and (len(taken) < LEAST or time.perf_counter() - began < SECONDS):
        started = time.perf_counter()
        await predictor.answer(bodies[len(taken) % len(bodies)])
        taken.append((time.perf_counter() - started) * 1000)
    return taken


if __name__ == "__main__":
    carry_out(sys.argv[1], _work)
