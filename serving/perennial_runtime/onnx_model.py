"""The model of a serving pod: which thread scores a request, and what a failure is called.

`service` loads one for the Bento that it serves; the scoring itself is `scoring.Scorer`, as in training's checks. A small model
answers on the event loop (a thread's hand-over would cost more than the model); one that was seen to take longer, or a large
request, runs in a thread, so that it holds up neither other requests nor the probes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.cpus import cpu_limit
from perennial_runtime.predict import Cell
from perennial_runtime.scoring import Schema, ScoreError, Scorer

LOOP_SECONDS = 0.003
"""A model whose requests usually take longer than this does not run on the event loop."""
LOOP_ROWS = 32
"""Nor does a request of more rows."""

Columns = Mapping[str, Sequence[Cell]]


class ModelBroken(Exception):
    """The model cannot be loaded."""


class ServedModel:
    """Scores requests, one at a time; onnxruntime's own threads share the CPU limit."""

    def __init__(self, path: Path, schema: Schema, threads: int | None = None) -> None:
        try:
            self._scorer = Scorer(path, schema, cpu_limit() if threads is None else threads)
        except Exception as error:
            # onnxruntime's errors have no common class
            raise ModelBroken(f"{path.name} cannot be loaded ({type(error).__name__})") from error
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._usual_seconds = 0.0

    async def score(self, columns: Columns) -> NDArray[np.float64]:
        """As `Scorer.score`: one number for each row, or of several classes one for each of them. Raises ScoreError."""
        if len(next(iter(columns.values()))) > LOOP_ROWS:
            return await self._in_thread(columns, timed=False)
        if self._usual_seconds > LOOP_SECONDS:
            return await self._in_thread(columns, timed=True)
        return self._timed(columns)

    async def _in_thread(self, columns: Columns, timed: bool) -> NDArray[np.float64]:
        work = self._timed if timed else self._score
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, columns)

    def _timed(self, columns: Columns) -> NDArray[np.float64]:
        started = time.perf_counter()
        scores = self._score(columns)
        self._usual_seconds = 0.9 * self._usual_seconds + 0.1 * (time.perf_counter() - started)
        return scores

    def _score(self, columns: Columns) -> NDArray[np.float64]:
        return self._scorer.score(columns)


__all__ = ["ModelBroken", "ScoreError", "ServedModel"]
