"""Does the data give the answer away? Checks of `prepare`, before anything is trained; each refuses with its numbers.

| reason | what is found |
|---|---|
| TimeInFuture | rows whose time is more than a day ahead |
| IdAsFeature | a feature that names rows: text that is another in every row, a counter, or the column of ids or groups again |
| LabelLeaked | a feature that tells the label by itself: AUC of at least 0.995 on the training rows; of a number: correlation |
| | of ranks of at least that; of several classes: the mean of their AUCs |
| TimeTellsLabel | the same of the time column |
| RowsShared | holdout rows that a training row repeats in every feature and the label |

How well a column tells the label: the larger of the AUC of its order and that of its rate of class 1. The rates are of each word,
or of each hundredth of the numbers (missing is one, too), from every other row, and judged on the rows between. Where the label
is a number, its ranks stand in its place: the larger of the correlation of ranks (Spearman's) with the column, and with the mean
rank of its words or hundredths. Of several classes each has such an AUC against all others, and their mean is judged: a feature
that knows one class is what features are for, one that knows them all is the label again.

A row repeats another by chance where features are coarse. So rows are compared only where a feature makes them recognisable: a
number that has more than six digits in most rows and is another one in at least a fifth of them (a few of these look coarse by
chance, so that the count is a little low). Rows are sampled as they pass by, at most about SAMPLE and CELLS a side, by bits of
the words of their features (`rows`), so that copies whose cells are written alike are in the sample together: the same rows give
the same sample, and what is held is bounded.
Times are judged on all rows. A column for which a reason is given (`may_leak`) is left out of all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import split
from perennial_runtime.answers import Refused
from perennial_runtime.columns import LOT, NUMERIC, numbers_in
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION, Column
from perennial_runtime.cpus import spread
from perennial_runtime.metrics_offline import rank_auc
from perennial_runtime.sampling import stride

SAMPLE = 200_000
CELLS = 8_000_000
"""Values of a side in memory: with over 40 columns the sample has fewer rows."""
BOUND = 0.995
FEWEST = 20
"""Rows of each class under which an AUC says too little."""
PARTS = 100
SHARED = 0.01
"""Share of the holdout that may repeat training rows: as many as may repeat each other (`prepare.MOST_DUPLICATES`)."""
NAMED = 50
"""Rows from which on text that is another in each of them names the rows."""
DIGITS = 6
NEARLY = 6.5e-8
"""A float32 holds any number as nearly as this: 0.1 that was one is still a number of one digit."""
FINE, DISTINCT = 0.5, 0.2
AHEAD = timedelta(days=1)
"""By so much a row may be later than now: clocks and time zones are not that wrong."""
_LISTED = 5
_PART = "__part"

Labels = NDArray[np.bool_]
Codes = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some rows of a side, chosen by their lot: copies that are written alike stay together. One of `every` is taken, with the
    columns `kept`."""

    kept: Sequence[str]
    every: int
    _pieces: list[pl.DataFrame] = field(default_factory=list)

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows of the side."""
        some = frame.select(self.kept)
        if self.every > 1:
            some = some[np.flatnonzero(frame[LOT].to_numpy() % self.every == 0)]  # of so few rows faster than a filter
        self._pieces.append(some)

    def rows(self) -> pl.DataFrame:
        """What was taken, in the order of the side."""
        return pl.concat(self._pieces)


def every(rows: int, columns: int) -> int:
    """One row of how many is taken into the samples of both sides, the larger of which has so many rows."""
    return max(stride(rows, SAMPLE), stride(rows * columns, CELLS))


def lot_columns(columns: Sequence[Column]) -> list[str]:
    """By which columns rows are drawn into a sample. Not by the label, which is written in many ways: 1, true, 1.0."""
    return [column.name for column in columns if column.role == "feature"]


def _told(columns: Sequence[Column]) -> list[str]:
    """What rows are told apart by."""
    return [column.name for column in columns if column.role in ("feature", "label")]


@dataclass(frozen=True, slots=True)
class Sides:
    """The sampled rows with their sides, typed, and what the columns are."""

    train: pl.DataFrame
    holdout: pl.DataFrame
    columns: Sequence[Column]
    kinds: Mapping[str, str]
    task: str = CLASSIFICATION

    def names(self, role: str) -> list[str]:
        """The columns of a role that are not allowed to leak."""
        return [column.name for column in self.columns if column.role == role and not column.may_leak]

    @property
    def label(self) -> str:
        """The label's column."""
        return next(column.name for column in self.columns if column.role == "label")


def check(sides: Sides, rows: int) -> None:
    """Raises Refused at the first kind of leak that is found in the samples; `rows` is how many there are in all."""
    _refuse_ids(sides, rows)
    _refuse_label_copies(sides)
    _refuse_shared_rows(sides)


def check_times(time: Column, ordered: NDArray[np.int64], now: datetime) -> None:
    """Raises Refused when some of the times, which ascend (microseconds since 1970), have not come yet.

    A holdout of such rows would be made of nonsense, and a horizon there would decide for all rows that come.
    """
    latest = now + AHEAD
    later = len(ordered) - int(np.searchsorted(ordered, split.from_moment(latest), side="right"))
    if later and not time.may_leak:
        raise Refused(
            "TimeInFuture",
            f"column {time.name!r} of {later} of {len(ordered)} rows is later than {latest:%Y-%m-%dT%H:%M:%SZ}, a day from now, "
            f"up to {split.to_text(int(ordered[-1]))}: give the role time to the time at which a row became known, correct the "
            "rows, or leave them out",
        )


# ---- ids ---------------------------------------------------------------------------------------------------------------------


def _refuse_ids(sides: Sides, rows: int) -> None:
    found = [f"{name!r} {what}" for name in sides.names("feature") if (what := _names_rows(sides, name, rows))]
    if found:
        raise Refused(
            "IdAsFeature",
            f"{_some(found)}: such a feature names rows, and a model learns them by heart; give it role id, leave it out of "
            "data.columns, or write allowLeakage with the reason",
        )


def _names_rows(sides: Sides, name: str, rows: int) -> str:
    """How a feature names rows; empty where it does not."""
    cells = sides.train[name]
    for role in ("id", "group"):
        for other in sides.names(role):
            if _same(cells, sides.train[other]):
                return f"is column {other!r} (role {role}) again"
    known = cells.drop_nulls()
    if known.len() < NAMED or known.n_unique() < known.len():
        return ""
    if sides.kinds[name] != NUMERIC:
        return f"is another text in each of {known.len()} training rows"
    values = known.to_numpy()
    if np.all(values == np.floor(values)) and values.max() - values.min() < 2 * rows:
        return f"is a counter: another whole number in each of {known.len()} training rows"
    return ""


def _same(cells: pl.Series, ids: pl.Series) -> bool:
    if cells.dtype == pl.String:
        return bool((cells == ids).all()) and cells.null_count() < cells.len()
    numbers = numbers_in(ids)
    return numbers is not None and numbers.null_count() < numbers.len() and bool((cells == numbers).all())


# ---- the label ---------------------------------------------------------------------------------------------------------------


def _refuse_label_copies(sides: Sides) -> None:
    rows = sides.train.height
    known = _teller(sides)
    if known is None:
        return
    what, tell = known
    names = [name for role in ("feature", "time") for name in sides.names(role)]
    found = dict(zip(names, spread(lambda name: tell(sides.train[name]), names), strict=True))
    leaks = {name: value for name, value in found.items() if value >= BOUND}
    times = [name for name in sides.names("time") if name in leaks]
    if not leaks:
        return
    shown = _some([f"{name!r} ({what} {value:.4f})" for name, value in leaks.items()])
    raise Refused(
        "TimeTellsLabel" if len(times) == len(leaks) else "LabelLeaked",
        f"{shown} by itself tells {sides.label!r} in {rows} training rows, the bound is {BOUND}: what is known only with "
        "the label is not there when a model is asked; leave it out of data.columns, or write allowLeakage with the reason",
    )


def _teller(sides: Sides) -> tuple[str, Callable[[pl.Series], float]] | None:
    """How well a column tells the label: what it is called, and the measure; None where rows are too few."""
    cells = sides.train[sides.label]
    if sides.task == REGRESSION:
        ranks = cells.rank().to_numpy().astype(np.float64)
        return ("correlation of ranks", lambda column: tells_number(column, ranks)) if len(ranks) >= FEWEST else None
    if sides.task == MULTICLASS:
        codes = cells.rank("dense").to_numpy().astype(np.intp) - 1
        judged = np.flatnonzero(_enough(np.bincount(codes)))
        words = f"mean AUC of {len(judged)} classes"
        return (words, lambda column: tells_class(column, codes, judged)) if len(judged) > 1 else None
    labels = cells.to_numpy() == 1
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        return None
    return "AUC", lambda column: tells(column, labels)


def tells(cells: pl.Series, labels: Labels) -> float:
    """How well a column by itself tells the label: an AUC, 0.5 for not at all."""
    known, values, parts = _parted(cells)
    order = _auc(labels[known], values[known])
    return max(order, 1 - order, _auc_of_rates(parts, labels))


def _enough(rows: NDArray[Any]) -> Labels:
    """Which classes have rows enough, and leave enough to the others."""
    enough: Labels = (rows >= FEWEST) & (rows.sum() - rows >= FEWEST)
    return enough


def tells_class(cells: pl.Series, codes: Codes, judged: Codes) -> float:
    """How well a column by itself tells the classes that are judged: the mean of their AUCs against all others."""
    classes = int(codes.max()) + 1
    known, values, parts = _parted(cells)
    order = _aucs(codes[known], values[known], classes)
    places = parts.fill_null("").rank("dense").to_numpy().astype(np.intp) - 1
    even = np.arange(len(codes)) % 2 == 0
    table = np.bincount(places[even] * classes + codes[even], minlength=(int(places.max()) + 1) * classes).reshape(-1, classes)
    other = np.bincount(places[~even] * classes + codes[~even], minlength=table.size).reshape(-1, classes)
    learnt = [(_of_parts(table, other, one) + _of_parts(other, table, one)) / 2 for one in judged]
    return float(np.mean(np.maximum(np.maximum(order, 1 - order)[judged], learnt)))


def _aucs(codes: Codes, values: Floats, classes: int) -> Floats:
    """Of the values' order, for each class against all others; 0.5 where there is one side only."""
    rows = np.bincount(codes, minlength=classes).astype(np.float64)
    ranks = pl.Series(values).rank().to_numpy() if len(values) else np.zeros(0)
    sums = np.bincount(codes, weights=ranks, minlength=classes)
    pairs = rows * (len(codes) - rows)
    return np.where(pairs > 0, (sums - rows * (rows + 1) / 2) / np.maximum(pairs, 1), 0.5)


def _of_parts(learnt: NDArray[Any], asked: NDArray[Any], one: int) -> float:
    """AUC of a class's rate by part, learnt from some rows' counts (parts, classes) and asked of others'; as `_means` has it."""
    totals, base = learnt.sum(axis=1), learnt[:, one].sum() / max(learnt.sum(), 1)
    rates = (learnt[:, one] + base) / (totals + 1)
    _, place = np.unique(rates, return_inverse=True)
    hits = np.bincount(place, weights=asked[:, one])
    others = np.bincount(place, weights=asked.sum(axis=1) - asked[:, one])
    pairs = hits.sum() * others.sum()
    return float((hits * (np.cumsum(others) - others / 2)).sum() / pairs) if pairs else 0.5


def tells_number(cells: pl.Series, ranks: Floats) -> float:
    """How well a column by itself tells a number, of which the ranks are given: a correlation, 0 for not at all."""
    known, values, parts = _parted(cells)
    order = _correlation(pl.Series(values[known]).rank().to_numpy(), ranks[known])
    even = np.arange(len(ranks)) % 2 == 0
    learnt = [_correlation(_means(parts, ranks, half, doubt=0), ranks[~half]) for half in (even, ~even)]
    return max(abs(order), sum(learnt) / 2)


def _parted(cells: pl.Series) -> tuple[Labels, Floats, pl.Series]:
    """Which cells are numbers, these, and all cells as words or as their hundredth (-1: missing)."""
    if cells.dtype == pl.String:
        return np.zeros(len(cells), dtype=np.bool_), np.zeros(len(cells)), cells
    numbers = cells.cast(pl.Int64 if isinstance(cells.dtype, pl.Datetime) else pl.Float64).cast(pl.Float64)
    known = numbers.is_not_null().to_numpy()
    values = numbers.fill_null(0.0).to_numpy()
    return known, values, pl.Series(np.where(known, _hundredths(values, known), -1.0)).cast(pl.String)


def _correlation(one: Floats, other: Floats) -> float:
    """Pearson's; 0 where one of them does not vary."""
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _hundredths(values: Floats, known: Labels) -> Floats:
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, PARTS + 1)[1:-1])) if known.any() else np.zeros(0)
    places: Floats = np.searchsorted(edges, values, side="right").astype(np.float64)
    return places


def _auc_of_rates(parts: pl.Series, labels: Labels) -> float:
    """AUC of the rates of class 1 by part: those of the even rows on the odd ones, and the reverse; their mean."""
    even = np.arange(len(labels)) % 2 == 0
    return (_across(parts, labels, even) + _across(parts, labels, ~even)) / 2


def _across(parts: pl.Series, labels: Labels, learnt: Labels) -> float:
    return _auc(labels[~learnt], _means(parts, labels, learnt))


def _means(parts: pl.Series, labels: Labels | Floats, learnt: Labels, doubt: int = 1) -> Floats:
    """For each row that is not among the learnt ones, the mean label of the learnt ones of its part, and of so many rows more of
    the average label: one row of a class is no rate."""
    base = float(labels[learnt].mean())
    frame = pl.DataFrame({_PART: parts, "hit": labels})
    counted = frame.filter(pl.Series(learnt)).group_by(_PART).agg(pl.col("hit").sum().alias("hits"), pl.len().alias("rows"))
    rates = counted.with_columns(rate=(pl.col("hits") + doubt * base) / (pl.col("rows") + doubt)).select(_PART, "rate")
    asked = frame.filter(pl.Series(~learnt)).join(rates, on=_PART, how="left", maintain_order="left", nulls_equal=True)
    return asked["rate"].fill_null(base).to_numpy()


def _auc(labels: Labels, values: Floats) -> float:
    return rank_auc(labels, values) if 0 < labels.sum() < len(labels) else 0.5


# ---- rows on both sides ------------------------------------------------------------------------------------------------------


def _refuse_shared_rows(sides: Sides) -> None:
    fine = [name for name in sides.names("feature") if sides.kinds[name] == NUMERIC and _is_fine(sides.train[name])]
    rows = sides.holdout.height
    if not fine or not rows:
        return
    told = _told(sides.columns)
    recognisable = np.logical_or.reduce([_has_digits(sides.holdout[name]) for name in fine])
    hashes = sides.holdout.select(told).hash_rows(seed=2).to_numpy()
    shared = int((np.isin(hashes, sides.train.select(told).hash_rows(seed=2).to_numpy()) & recognisable).sum())
    if shared > SHARED * rows:
        raise Refused(
            "RowsShared",
            f"{shared} of {rows} holdout rows ({shared / rows:.1%}) repeat a training row in every feature and the label, to "
            f"the digits of {_some([repr(name) for name in fine])}, over {SHARED:.0%}: a model that knows its training rows by "
            "heart would look good; remove the copies at the source, or write allowLeakage at these columns with the reason",
        )


def _is_fine(cells: pl.Series) -> bool:
    known = cells.drop_nulls()
    rows = known.len()
    return rows > 0 and _has_digits(known).mean() >= FINE and known.n_unique() >= DISTINCT * rows


def _has_digits(cells: pl.Series) -> Labels:
    """Whether a number has more than DIGITS significant digits."""
    values = cells.fill_null(0.0).to_numpy()
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(size)))
        off = np.abs(np.round(values * scale) / scale - values)
    digits: Labels = np.nan_to_num(off, nan=0.0, posinf=0.0) > NEARLY * size
    return digits


def _some(items: Iterator[str] | Sequence[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:_LISTED]) + (f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else "")
