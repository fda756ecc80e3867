"""The requests that a serving pod sends to itself before it says that it is ready.

`server` runs it over the loopback interface, through the same HTTP stack that clients will use: first the Bento's golden
requests, whose scores were written down when the version was judged (a difference means that this pod does not serve what was
judged, and it must not start), then WARM_CALLS calls, so that the first client does not meet a cold process.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from perennial_runtime.bento import GOLDEN_FILE
from perennial_runtime.contract import SCORE_OUTPUT
from perennial_runtime.management import GOLDEN_HEADER
from perennial_runtime.service import PREDICT_PATH

WARM_CALLS = 500
"""A process is warm by calls, not by time: after so many nothing is done for the first time any more."""
WARM_CALL_SECONDS = 2.0
"""The most that they may take, on a slow node."""


class GoldenMismatch(Exception):
    """The pod answers otherwise than the version did when it was judged."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Requests and the scores expected for them: of each row one, or of several classes one for each, in their order."""

    tolerance: float
    rows: Sequence[Mapping[str, Any]]
    scores: Sequence[Sequence[float]]
    answer: str = SCORE_OUTPUT
    """What of a prediction is compared."""


def read_golden(directory: Path) -> Golden:
    """golden.json of a Bento's src. Raises GoldenMismatch when it is no set of requests."""
    try:
        document = json.loads((directory / GOLDEN_FILE).read_bytes())
        scores = [_numbers(score) for score in document["scores"]]
        golden = Golden(float(document["tolerance"]), document["rows"], scores, str(document.get("answer", SCORE_OUTPUT)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GoldenMismatch(f"{GOLDEN_FILE} cannot be read: {type(error).__name__}: {error}") from error
    if not golden.rows or len(golden.rows) != len(golden.scores):
        raise GoldenMismatch(f"{GOLDEN_FILE} has {len(golden.rows)} rows and {len(golden.scores)} scores")
    return golden


def _numbers(answer: Any) -> list[float]:
    """A score, or those of all classes: listed, or by name in their order."""
    found = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else [answer]
    return [float(one) for one in found]


async def golden_run(port: int, token: str, golden: Golden, warm_seconds: float = WARM_CALL_SECONDS) -> int:
    """Golden requests, one by one and together, then warm calls; returns how many requests were sent. Raises GoldenMismatch."""
    sent = 0
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={GOLDEN_HEADER: token}, trust_env=False, timeout=30
    ) as client:
        for index, (row, score) in enumerate(zip(golden.rows, golden.scores, strict=True)):
            _compare(index, await _ask(client, [row], golden.answer), [score], golden.tolerance)
        _compare(0, await _ask(client, golden.rows, golden.answer), golden.scores, golden.tolerance)
        sent = len(golden.rows) + 1
        until = time.monotonic() + warm_seconds
        while sent < WARM_CALLS and time.monotonic() < until:
            await _ask(client, [golden.rows[sent % len(golden.rows)]], golden.answer)
            sent += 1
            await asyncio.sleep(0)
    return sent


async def _ask(client: httpx.AsyncClient, rows: Sequence[Mapping[str, Any]], answer: str) -> list[list[float]]:
    response = await client.post(PREDICT_PATH, json={"instances": list(rows)})
    if response.status_code != 200:
        raise GoldenMismatch(f"a golden request was answered {response.status_code}: {response.text[:300]}")
    return [_numbers(item[answer]) for item in response.json()["predictions"]]


def _compare(first: int, found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]], tolerance: float) -> None:
    if list(map(len, found)) != list(map(len, wanted)):
        raise GoldenMismatch(f"{len(wanted)} golden rows were answered by {len(found)} scores, or by those of other classes")
    apart = [max(abs(one - other) for one, other in zip(*pair, strict=True)) for pair in zip(found, wanted, strict=True)]
    worst = max(range(len(apart)), key=lambda index: apart[index])
    difference = apart[worst]
    if difference > tolerance or not math.isfinite(difference):
        raise GoldenMismatch(
            f"golden request {first + worst} is off by {difference:.3g} (tolerance {tolerance:g}): this pod does not answer as "
            "the version did when it was judged. Compare the runtime image and the node's CPU with the evaluate Job's, or retrain"
        )
