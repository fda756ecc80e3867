"""All rows in order, and the side of each: not the rows, but a few bytes of each, on disk.

    spill.Runs, part by part -> times, and whether a row is held out or was made -> the split -> sides of the rows of a part

A row that was made (role synthetic) is never holdout. Where it falls on the holdout's side it is on no side at all: beside the
real rows of its time, its group or its id it would tell the trainer of what is held out. `prepare` reads the rows again by this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import leakage
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import at_most_one
from perennial_runtime.contract import PrepareSpec
from perennial_runtime.prepare_gather import HELD_OUT, Gathered
from perennial_runtime.prepare_split import Rule
from perennial_runtime.split import Split

MOST_DUPLICATES = 0.01
TRAINED, HELD, LEFT = 0, 1, 2
"""Sides; LEFT is neither."""
_TIMES, _REAL_TIMES, _HELD_OUT, _MADE = "times", "real-times", "held-out", "made"


@dataclass(frozen=True, slots=True)
class Ordered:
    """All rows without repeats, in order. `sizes` has the rows of each part of the runs; what does not apply is empty."""

    sizes: tuple[int, ...]
    times: NDArray[np.int64]
    real_times: NDArray[np.int64]
    """Of the rows that were not made."""
    held_out: NDArray[np.bool_]
    """By key."""
    made: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    def sides(self, rule: Rule) -> Iterator[NDArray[np.uint8]]:
        """Of the rows of each part, in order."""
        start = 0
        for size in self.sizes:
            yield self._sides(rule, slice(start, start + size))
            start += size

    def _sides(self, rule: Rule, part: slice) -> NDArray[np.uint8]:
        times = self.times[part]
        undecided = rule.holds_out(times) if isinstance(rule, Split) else self.held_out[part]
        sides = np.where(undecided, HELD, TRAINED).astype(np.uint8)
        if len(self.made):
            if isinstance(rule, Split) and rule.horizon is not None:
                undecided = undecided | (times > rule.horizon)  # no real row is so new: its side is still to be decided
            sides[undecided & self.made[part]] = LEFT
        return sides


def put_in_order(spec: PrepareSpec, gathered: Gathered, room: Path, now: datetime) -> Ordered:
    """Counts what is left without repeats, and checks the dataset as a whole."""
    time, synthetic = (at_most_one(spec.columns, role) for role in ("time", "synthetic"))
    sizes, made, runs = [], 0, gathered.runs
    with ExitStack() as files:
        names = (_TIMES, _REAL_TIMES, _HELD_OUT, _MADE)
        out = {name: files.enter_context((room / name).open("wb")) for name in names}
        for number in range(runs.parts):
            rows = runs.keys(number)
            sizes.append(rows.height)
            real = ~rows[synthetic.name] if synthetic else pl.repeat(value=True, n=rows.height, eager=True)
            made += rows.height - int(real.sum())
            if time is not None:
                moments = rows[time.name].cast(pl.Int64)
                out[_TIMES].write(moments.to_numpy().tobytes())
                out[_REAL_TIMES].write(moments.filter(real).to_numpy().tobytes() if synthetic else b"")
            if synthetic is not None:
                out[_MADE].write((~real).to_numpy().tobytes())
            if gathered.is_keyed:
                out[_HELD_OUT].write(rows[HELD_OUT].to_numpy().tobytes())
    times = _mapped(room / _TIMES, np.int64)
    found = Ordered(
        tuple(sizes),
        times,
        _mapped(room / _REAL_TIMES, np.int64) if synthetic else times,
        _mapped(room / _HELD_OUT, np.bool_),
        _mapped(room / _MADE, np.bool_),
    )
    say("rows put in order", rows=runs.rows, different=found.rows, parts=runs.parts)
    _check_size(spec, runs.rows, found.rows, made)
    if time is not None:
        leakage.check_times(time, found.times, now)
    return found


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    """The file as an array; of an empty one there is nothing to map."""
    return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, dtype=kind)


def _check_size(spec: PrepareSpec, rows: int, different: int, made: int) -> None:
    duplicates = rows - different
    if duplicates > MOST_DUPLICATES * rows:
        which = "all columns" if spec.duplicates_by == "source" else "all columns that data.columns names"
        raise Refused(
            "TooManyDuplicates",
            f"{duplicates} of {rows} rows repeat another row in {which}, over {MOST_DUPLICATES:.0%}: remove them at the "
            "source, or add a column that tells the rows apart",
        )
    if different - made < spec.minimum_rows:
        beside = f" beside {made} synthetic ones" if made else ""
        raise Refused(
            "TooFewRows",
            f"the data has {different - made} different rows{beside}, data.minimumRows asks for {spec.minimum_rows}: "
            "add data or lower minimumRows",
        )
