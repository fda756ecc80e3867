"""The mean of one number per row with one-sided 95 % bounds: what a metric of the user's own is.

Costs are skewed: most rows cost nothing and a few cost much. Student's interval of a mean is then on the wrong side of the truth
far more often than it says (its error falls with 1 / sqrt(rows), by the skewness). Hall's transformation takes that term away:
with T = (mean - truth) / error, error = s / sqrt(n), and a = skewness / (6 sqrt(n)),

    g(T) = T + 2 a T^2 + 4 a^2 T^3 / 3 + a      is nearly normal, and       g^-1(z) = (cbrt(1 + 6 a (z - a)) - 1) / (2 a)

(Hall: JRSS B 54 (1992) 221). The quantile is Student's, for few rows. Where both tails are long, as of the differences of two
models, few rows tell the skewness badly and Student's own bound may be the better one: of the two the wider is taken, on each
side. A difference of two models is the mean of the differences of their rows, by the same formula: pairs, as in a paired
bootstrap. Its coverage here: tests/benchmarks/simulate_means.py.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.metrics_offline import LEVEL, Estimate

STRAIGHT = 1e-9
"""A skewness term under this changes no bound, and its formula divides by it."""


def mean_of(values: NDArray[np.float64]) -> Estimate:
    """The mean of at least two finite values. Where all are the same the bounds are that value: nothing tells of others."""
    rows, mean = len(values), float(values.mean())
    deviations = values - mean
    spread = math.sqrt(float(np.square(deviations).sum()) / (rows - 1))
    error = spread / math.sqrt(rows)
    if values.min() == values.max() or error == 0.0:
        return Estimate(mean, mean, mean)
    skewness = float(((deviations / spread) ** 3).mean())
    z = _quantile(rows - 1)
    term = skewness / (6.0 * math.sqrt(rows))
    below, above = max(z, _back(z, term)), max(z, -_back(-z, term))
    return Estimate(mean, mean - error * below, mean + error * above)


def _back(z: float, term: float) -> float:
    """g^-1(z)."""
    if abs(term) < STRAIGHT:
        return z
    return (math.cbrt(1.0 + 6.0 * term * (z - term)) - 1.0) / (2.0 * term)


def _quantile(freedom: int) -> float:
    from scipy.stats import t  # noqa: PLC0415 - takes most of a second, and is needed for these gates alone

    return float(t.ppf(1.0 - LEVEL, freedom))
