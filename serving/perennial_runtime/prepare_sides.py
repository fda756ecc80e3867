"""Training rows and holdout, each as its rows pass by on their way into a file: what is counted of them, and what is refused.

Only counts, a few values and a sample of bounded size (`leakage.Sample`) are held. `prepare` drives it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from perennial_runtime import prepare_split
from perennial_runtime.answers import Refused
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION, PrepareSpec
from perennial_runtime.leakage import Sample
from perennial_runtime.parquet_file import write_parquet
from perennial_runtime.prepare_classes import ClassCounts
from perennial_runtime.prepare_gather import Groups
from perennial_runtime.prepare_order import HELD, LEFT, TRAINED, Ordered
from perennial_runtime.prepare_split import Rule
from perennial_runtime.split import Split
from perennial_runtime.split_keys import GROUP

FEWEST = 0.5
"""Of its share of data.minimumRows that a side must have, where keys decide: a thousand rows by chance come nowhere near."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What came out of the split, in rows without repeats."""

    trained: int
    held_out: int
    left_out: int
    """Made ones on the holdout's side."""
    made: int
    groups: Groups

    @classmethod
    def of(cls, ordered: Ordered, rule: Rule, groups: Groups) -> Shares:
        """Counted, a part at a time."""
        counts = np.zeros(3, dtype=np.int64)
        for sides in ordered.sides(rule):
            counts += np.bincount(sides, minlength=3)
        return cls(int(counts[TRAINED]), int(counts[HELD]), int(counts[LEFT]), int(np.count_nonzero(ordered.made)), groups)

    @property
    def told(self) -> dict[str, int]:
        """For the log: what there is of it."""
        given = {"groups": self.groups.all, "held_out_groups": self.groups.held_out}
        made = {"synthetic": self.made, "left_out": self.left_out}
        return {**(given if self.groups.all else {}), **(made if self.made else {})}


def check_shares(shares: Shares, spec: PrepareSpec, rule: Rule) -> None:
    """Raises Refused where a side is empty or, by key, far smaller than was asked for."""
    how, groups = prepare_split.words(rule, spec), shares.groups
    if isinstance(rule, Split):
        fix = "the data needs rows at more different times"
    elif rule.by == GROUP:
        if groups.all == 1:
            raise Refused(
                "OneGroup",
                f"column {rule.column!r} (role group) has one value in all {shares.trained + shares.held_out} rows: a group is "
                "never parted, so nothing can be held out; name a finer group, or use holdout.by: hash",
            )
        fix = f"the {groups.all} groups are all on one side; name a finer group, or add data"
    else:
        fix = "add data, or give the role id to a column with more values"
    if 0 in (shares.trained, shares.held_out):
        reason, side = ("HoldoutEmpty", "holdout") if shares.held_out == 0 else ("TrainingEmpty", "training")
        raise Refused(reason, f"the split by {how} leaves no {side} rows: {fix}")
    if isinstance(rule, Split):
        return
    wanted = {"holdout": spec.holdout_fraction, "training": 1 - spec.holdout_fraction}
    for side, rows in (("holdout", shares.held_out), ("training", shares.trained)):
        fewest = FEWEST * spec.minimum_rows * wanted[side]
        if rows < fewest:
            among = f" ({groups.held_out} of {groups.all} groups are held out)" if groups.all else ""
            raise Refused(
                "SideTooSmall",
                f"the split by {how} leaves {rows} {side} rows{among}, and data.minimumRows {spec.minimum_rows} with "
                f"holdout.fraction {spec.holdout_fraction:g} asks for {math.ceil(fewest)} at least: a few values of the column "
                "are most of the rows; name a finer one, add data, or lower minimumRows",
            )


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
    classes: ClassCounts = field(default_factory=ClassCounts)
    """Where there are several."""
    _values: dict[str, pl.Series] = field(default_factory=dict)
    """Two different values of each of these columns at most."""

    def write(self, frames: Iterator[pl.DataFrame], label: str, path: Path) -> str:
        """All rows of the side, in order, as a Parquet file; its digest."""

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
        elif self.task == MULTICLASS:
            self.classes.add(labels, frame[self.weight] if self.weight else None)
        else:
            self.positives += int(labels.sum())
        if self.weight:
            some = frame.filter(pl.col(self.weight) > 0)
            ones = 0 if self.task == MULTICLASS else int((some[label] == 1).sum())
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
