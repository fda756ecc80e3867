"""Training rows and holdout, each as its rows pass by on their way into a file: what is counted of them, and what is refused.

Only counts, a few values and a sample of bounded size (`leakage.Sample`) are held. `prepare` drives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from perennial_runtime.answers import Refused
from perennial_runtime.contract import CLASSIFICATION, REGRESSION
from perennial_runtime.leakage import Sample
from perennial_runtime.spill import write_parquet


@dataclass(slots=True)
class Side:
    """One of both. `kept` are the columns of its file; `sample` takes some of its rows."""

    name: str
    kept: Sequence[str]
    sample: Sample
    slices: Sequence[str] = ()
    """Columns of which it is noted whether they have more than one value."""
    task: str = CLASSIFICATION
    weight: str = ""
    """Column by which rows count."""
    weighing: tuple[int, int] = (0, 0)
    """Rows of more than no weight, and of them those of the positive class."""
    rows: int = 0
    positives: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    """Of the label."""
    _values: dict[str, pl.Series] = field(default_factory=dict)
    """Two different values of each of these columns at most."""

    def write(self, frames: Iterator[pl.DataFrame], label: str, path: Path) -> Path:
        """All rows of the side, in order, as a Parquet file."""

        def passing() -> Iterator[pl.DataFrame]:
            for frame in frames:
                self._count(frame, label)
                yield frame.select(self.kept)

        return write_parquet(passing(), path)

    def _count(self, frame: pl.DataFrame, label: str) -> None:
        self.rows += frame.height
        labels = frame[label]
        if self.task == REGRESSION:
            numbers = labels.to_numpy()
            self.lowest = min(self.lowest, float(numbers.min(initial=math.inf)))
            self.highest = max(self.highest, float(numbers.max(initial=-math.inf)))
        else:
            self.positives += int(labels.sum())
        if self.weight:
            some = frame.filter(pl.col(self.weight) > 0)
            ones = int((some[label] == 1).sum())
            self.weighing = self.weighing[0] + some.height, self.weighing[1] + ones
        self.sample.add(frame)
        for name in self.slices:
            found = frame[name].unique().head(2)
            self._values[name] = pl.concat([self._values[name], found]).unique().head(2) if name in self._values else found

    def check_label(self, label: str) -> None:
        """Refused when there is nothing to tell apart: rows of one class only, or of one number."""
        if self.task == REGRESSION and self.lowest == self.highest:
            raise Refused(
                "OneValue",
                f"column {label!r} has the same number in all {self.rows} {self.name} rows: there is nothing to predict; check "
                "the label, or add data",
            )
        if self.task == CLASSIFICATION and self.positives in (0, self.rows):
            raise Refused(
                "OneClass",
                f"column {label!r} has only one class in the {self.rows} {self.name} rows: both classes are needed there; "
                "check the label, or add data",
            )

    def check_weights(self) -> None:
        """Refused when no row counts, or no row of a class."""
        rows, ones = self.weighing
        one_class = self.task == CLASSIFICATION and ones in (0, rows)
        if self.weight and (not rows or one_class):
            whose = f"but {rows} of one class" if rows else "of them"
            raise Refused(
                "WeightsZero",
                f"column {self.weight!r} (role weight) is 0 in {self.rows - rows} of {self.rows} {self.name} rows, all {whose}: "
                "rows that count are needed; correct the weights, or leave the column out",
            )

    def check_slices(self) -> None:
        """Refused when one of its slice columns tells nothing apart."""
        for name in self.slices:
            if len(self._values[name]) < 2:
                raise Refused(
                    "SliceOneValue",
                    f"column {name!r}, which evaluation.slices names, has one value in all {self.rows} {self.name} rows: there "
                    "is nothing to tell apart; leave it out of evaluation.slices, or add data",
                )
