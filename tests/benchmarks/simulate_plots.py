"""The three pictures of the simulation suite: false rollbacks over time, time to detection, power by odds ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.simulate_outcomes import binomial_interval, outcome
from benchmarks.simulate_run import COLUMNS, Times
from benchmarks.simulate_scenarios import ODDS_RATIOS, SEVERITIES
from benchmarks.svg_chart import COLOURS, Axis, Series, chart

FEWEST_SHOWN = 0.03
"""Per cent at which the logarithmic axis ends: less than one run of 2,000."""
COLOUR = dict(zip(COLUMNS, COLOURS, strict=True))
ALPHA = 1.0
"""Per cent; the line that our test promises to stay under."""


def pictures(results: Mapping[str, Times], folder: Path) -> dict[str, Path]:
    """Writes all of them; their words and files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "false-rollbacks": (
            "Healthy candidates rolled back, by time: stable and candidate answer 0.5 % badly",
            _false_rollbacks(results),
        ),
        "detection": ("Time to the rollback of a bad candidate: median, and the 10th to 90th percentile", _detection(results)),
        "power": ("Rolled back within ten minutes, by true odds ratio, with 95 % intervals", _power(results)),
    }
    files = {}
    for name, (words, text) in drawn.items():
        files[words] = folder / f"simulation-{name}.svg"
        files[words].write_text(text)
    return files


def _false_rollbacks(results: Mapping[str, Times]) -> str:
    seconds = np.arange(0, 601, 10)
    times = results["0.5 % bad"]
    lines = []
    for column in COLUMNS:
        shares = [100.0 * float(np.mean(times[column] <= second)) for second in seconds]
        lines.append(Series(column, list(zip(seconds.tolist(), shares, strict=True)), COLOUR[column]))
    lines.append(Series("alpha = 1 %", [(0.0, ALPHA), (600.0, ALPHA)], "#000", dashed=True))
    return chart(
        "Healthy candidates rolled back (0.5 % bad answers on both sides)",
        Axis("seconds since the start", 0, 600, range(0, 601, 60)),
        Axis(
            "rolled back so far, per cent (at the bottom: none)",
            FEWEST_SHOWN,
            100,
            (0.05, 0.1, 0.5, 1, 5, 10, 50, 100),
            logarithmic=True,
        ),
        lines,
    )


def _detection(results: Mapping[str, Times]) -> str:
    lines = []
    for column in COLUMNS:
        waits = [(100.0 * rate, outcome(results[f"0.5 -> {100 * rate:g} %"][column], 0.0)) for rate in SEVERITIES]
        found = [(rate, one) for rate, one in waits if math.isfinite(one.wait(0.5))]
        lines.append(
            Series(
                column,
                [(rate, one.wait(0.5)) for rate, one in found],
                COLOUR[column],
                marked=True,
                bars=[(rate, one.wait(0.1), one.wait(0.9)) for rate, one in found],
            )
        )
    return chart(
        "Time to the rollback of a candidate that is bad from the start (stable: 0.5 %)",
        Axis("bad answers of the candidate, per cent", 1, 50, (1, 2, 5, 10, 20, 50), logarithmic=True),
        Axis("seconds, median (bars: 10th to 90th percentile)", 1, 600, (1, 2, 5, 10, 20, 60, 120, 300, 600), logarithmic=True),
        lines,
    )


def _power(results: Mapping[str, Times]) -> str:
    lines = []
    shown = (("Perennial 1 %", 1.0, False), ("Perennial 1 %", 1.25, True), ("z-test 1 %", 1.0, False))
    for column, tolerance, dashed in shown:
        points, bars = [], []
        for ratio in ODDS_RATIOS:
            times = results[f"odds ratio {ratio:g}, tolerance {tolerance:g}"][column]
            hits = int(np.sum(np.isfinite(times)))
            low, high = binomial_interval(hits, len(times), 0.95)
            points.append((ratio, 100.0 * hits / len(times)))
            bars.append((ratio, 100.0 * low, 100.0 * high))
        name = f"{column}, tolerance {tolerance:g}" if column.startswith("Perennial") else column
        lines.append(Series(name, points, COLOUR[column], dashed=dashed, marked=True, bars=bars))
    lines.append(Series("alpha = 1 %", [(1.0, ALPHA), (1.5, ALPHA)], "#000", dashed=True))
    return chart(
        "Rolled back within ten minutes (stable: 5 % slow, 10 % weight)",
        Axis("true odds ratio", 1.0, 1.5, (1.0, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5)),
        Axis("rolled back, per cent", 0, 100, range(0, 101, 10)),
        lines,
    )
