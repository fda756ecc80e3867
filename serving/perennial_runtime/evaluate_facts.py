"""What a gate with a `maximum` holds against a version besides its errors: size, age of the data, latency.

Size and age are exact, their bounds are the value itself. The latency is measured by `latency_check` in a process of its own, on
the Bento that will be served; its bounds are order statistics. `evaluate_gates` puts all of them beside the metrics.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.answers import Refused
from perennial_runtime.evaluate_rows import newest
from perennial_runtime.evaluate_sandbox import SandboxLimits, latencies_in_sandbox
from perennial_runtime.metrics_offline import LEVEL, Estimate

MODEL_BYTES = "model_bytes"
DATA_AGE = "data_age_hours"
LATENCY = "latency_p99_ms"
QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Fact:
    """A measured number, and from how many requests where it comes from requests."""

    estimate: Estimate
    rows: int = 0


def exact(value: float) -> Fact:
    """A number without doubt."""
    return Fact(Estimate(float(value), float(value), float(value)))


def age(time: str | None, sides: Collection[Path], now: datetime) -> Fact:
    """Hours since the newest row of all files. Raises Refused."""
    if time is None:
        raise Refused(
            "NoTimeColumn",
            f"the gate {DATA_AGE} needs a column with role time, and data.columns names none: give that role, or drop the gate",
        )
    latest = max(moment for side in sides if (moment := newest(side, time)) is not None)
    return exact((now.timestamp() - latest / 1e6) / 3600)


def latency(bento_source: Path, scratch: Path, limits: SandboxLimits) -> Fact:
    """The 99th percentile, in milliseconds, of the predict path of an unpacked Bento. Raises ModelRefused."""
    taken = latencies_in_sandbox(bento_source, scratch, limits)
    return Fact(order_statistics(taken), len(taken))


def order_statistics(values: NDArray[np.float64]) -> Estimate:
    """The quantile with one-sided 95 % bounds that hold for any law of independent values (David, Nagaraja 2003, 7.1).

    Of n values, X values lie under the quantile, X binomial. So the k-th smallest is over it with P(X < k), and under it with
    P(X >= k); the bounds are the narrowest for which that is at most 5 %. 299 values are needed for an upper one.
    """
    from scipy.stats import binom  # noqa: PLC0415 - takes most of a second, and is needed for this gate alone

    ordered = np.sort(values)
    under = binom(len(ordered), QUANTILE)
    places = np.arange(1, len(ordered) + 1)
    lower = places[under.cdf(places - 1) <= LEVEL].max(initial=1)
    upper = places[under.sf(places - 1) <= LEVEL].min(initial=len(ordered))
    middle = int(np.ceil(QUANTILE * len(ordered)))
    return Estimate(float(ordered[middle - 1]), float(ordered[lower - 1]), float(ordered[upper - 1]))
