"""Our test on simulated traffic: the shipped `perennial.core.analysis`, look by look, and the second of its verdict.

    simulate_traffic.Traffic -> breaches -> seconds to the verdict, for each run and each alpha

Nothing of the test is written again here. Only its normalising sums, a pure function of three counts, are remembered between
calls: the same counts come again thousands of times in simulated traffic (`remembered`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from benchmarks.simulate_traffic import Shares, Traffic
from perennial.core.analysis import Block, Breach, advance, eprocess, judge, start

MOST_REMEMBERED = 50_000
"""Counts whose sums are kept: about 70 MB."""

_SUMS = lru_cache(maxsize=MOST_REMEMBERED)(eprocess.log_normalisers)


def breaches(traffic: Traffic, *, look_seconds: int, tolerance: float, planned_seconds: float, alphas: Sequence[float]) -> Shares:
    """Seconds from the start to the verdict, (runs, alphas), inf where there was none. `alphas` come largest first.

    One course of E serves all alphas: a smaller one only asks for more of it.
    """
    looks = traffic.by_look(look_seconds)
    counts = (looks.candidate, looks.candidate_bad, looks.stable, looks.stable_bad)
    found = np.full((len(looks.candidate), len(alphas)), math.inf)
    for run in range(len(found)):
        blocks = zip(*(array[run].tolist() for array in counts), strict=True)
        for column, second in enumerate(_course(blocks, look_seconds, start(tolerance, planned_seconds), alphas)):
            found[run, column] = second
    return found


def _course(
    blocks: Iterator[tuple[int, int, int, int]], look_seconds: int, state: eprocess.EProcess, alphas: Sequence[float]
) -> Iterator[float]:
    """The seconds at which each alpha in turn is breached, as far as they are."""
    waiting = list(alphas)
    for number, block in enumerate(blocks, 1):
        state = advance(state, Block(*block), float(number * look_seconds))
        while waiting and isinstance(judge("errors", state, waiting[0]), Breach):
            waiting.pop(0)
            yield float(number * look_seconds)
        if not waiting:
            return


@contextmanager
def remembered() -> Iterator[None]:
    """Within it, the normalising sums of counts that were met before are not computed again. The results are the same."""
    original = eprocess.log_normalisers
    eprocess.log_normalisers = _SUMS  # type: ignore[assignment]
    try:
        yield
    finally:
        eprocess.log_normalisers = original
