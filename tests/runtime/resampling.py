"""The bootstrap written out once more, for tests of the bounds that the metrics give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def draws(value: Callable[[Array], float], rows: int, times: int) -> tuple[float, float]:
    """The 5th and the 95th of 100 values among `times` draws of so many rows, with replacement; `value` gets their places."""
    chance = np.random.default_rng(99)
    found = [value(chance.integers(0, rows, rows)) for _ in range(times)]
    return float(np.quantile(found, 0.05)), float(np.quantile(found, 0.95))
