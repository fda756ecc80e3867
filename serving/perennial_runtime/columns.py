"""Declared columns -> typed columns, for each batch as it is read and once more when all files were seen.

    feature   number (integers, floats, decimals, booleans -> Float64, NaN is missing) or text (missing where empty)
    label     Int64 of 0 and 1
    time      Datetime in UTC, microseconds (a time without a zone is UTC)
    id        text
    slice     text

Parquet says what a feature is. In CSV a feature is a number when every cell of every file is one (NA, NaN, null are missing
then), 0 or 1 when every cell is true or false, and text otherwise. Every refusal names file, column and row, never a cell.
Neighbours: `tabular` reads, `prepare` writes what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.answers import Refused
from perennial_runtime.contract import Column

FILE, ROW, HASH = "__file", "__row", "__row_hash"
NUMERIC, CATEGORICAL = "numeric", "categorical"
NEARLY_NUMBERS = 0.99
"""A CSV column of which this share (and not all) are numbers is a column of numbers with mistakes, not text."""

_LABELS = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
_NO_NUMBER = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
_LISTED = 20


@dataclass(slots=True)
class Collector:
    """Gathers the declared columns of all files, typed as far as one batch tells."""

    columns: Sequence[Column]
    names: list[str] = field(default_factory=list)
    """File names by number (the column FILE)."""
    _all_columns: frozenset[str] | None = None
    _kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _texts: list[int] = field(default_factory=list)

    def start(self, name: str, is_text: bool) -> None:
        """The batches that follow come from this file; `is_text` for CSV."""
        if is_text:
            self._texts.append(len(self.names))
        self.names.append(name)

    def add(self, batch: pl.DataFrame, hashes: NDArray[np.uint64], first_row: int) -> None:
        """One batch of the current file."""
        self._check_names(batch.columns)
        rows = np.arange(first_row, first_row + batch.height, dtype=np.uint32)
        marks = pl.DataFrame({HASH: hashes, ROW: rows}).with_columns(pl.lit(len(self.names) - 1, pl.UInt32).alias(FILE))
        self._frames.append(marks.with_columns([self._typed(column, batch[column.name], first_row) for column in self.columns]))

    def finish(self) -> tuple[pl.DataFrame, dict[str, str]]:
        """All rows, and numeric or categorical for each feature."""
        frame = pl.concat(self._align(), how="vertical", rechunk=True)
        self._frames.clear()
        kinds: dict[str, str] = {}
        for column in self.columns:
            if column.role == "feature":
                series = self._feature(frame, column.name)
                kinds[column.name] = NUMERIC if series.dtype == pl.Float64 else CATEGORICAL
                frame = frame.with_columns(series)
        return frame, kinds

    def _check_names(self, found: list[str]) -> None:
        name = self.names[-1]
        for column in self.columns:
            if column.name not in found:
                raise Refused("ColumnMissing", f"{name} has no column {column.name!r} (role {column.role}); {_listing(found)}")
        if self._all_columns is None:
            self._all_columns = frozenset(found)
        elif self._all_columns != frozenset(found):
            differing = sorted(self._all_columns ^ frozenset(found))[:5]
            message = f"{name} and {self.names[0]} differ in the columns {', '.join(differing)}: give all files the same columns"
            raise Refused("SchemaDiffers", message)

    def _typed(self, column: Column, cells: pl.Series, first_row: int) -> pl.Series:
        where = f"{self.names[-1]}, column {column.name!r}"
        match column.role:
            case "label":
                return _label(cells, where, first_row)
            case "time":
                return _time(cells, where, first_row)
            case "id" | "slice":
                return cells.cast(pl.String, strict=False)
            case _:
                return self._parquet_feature(column.name, cells, where)

    def _parquet_feature(self, name: str, cells: pl.Series, where: str) -> pl.Series:
        kind = cells.dtype
        if kind.is_numeric() or kind == pl.Boolean:
            word, typed = NUMERIC, cells.cast(pl.Float64).fill_nan(None)
        elif kind in (pl.String, pl.Categorical, pl.Enum):
            word, typed = CATEGORICAL, cells.cast(pl.String)
            typed = typed.set(typed == "", None)
        elif kind == pl.Null:
            return cells.cast(pl.String)
        else:
            message = f"{where} is of type {kind}; a feature is a number, a boolean or text: derive such a column"
            raise Refused("UnsupportedType", message)
        if len(self.names) - 1 not in self._texts:
            known, file = self._kinds.setdefault(name, (word, self.names[-1]))
            if known != word:
                raise Refused("SchemaDiffers", f"{where} is {word}, and {known} in {file}: give it one type in all files")
        return typed

    def _align(self) -> list[pl.DataFrame]:
        """A batch whose column is all missing takes the type that the other batches have."""
        numbers = {name for name, (kind, _) in self._kinds.items() if kind == NUMERIC}
        if self._texts and numbers:
            return [self._numbers_of(frame, numbers) for frame in self._frames]
        casts = [pl.col(name).cast(pl.Float64) for name in sorted(numbers)]
        return [frame.with_columns(casts) for frame in self._frames]

    def _numbers_of(self, frame: pl.DataFrame, numbers: set[str]) -> pl.DataFrame:
        for name in sorted(numbers):
            if frame[name].dtype == pl.String:
                parsed = numbers_in(frame[name])
                if parsed is None:
                    where = f"{self.names[int(frame[FILE][0])]}, column {name!r}"
                    raise Refused(
                        "SchemaDiffers", f"{where} holds text, and numbers in {self._kinds[name][1]}: correct its cells"
                    )
                frame = frame.with_columns(parsed)
        return frame

    def _feature(self, frame: pl.DataFrame, name: str) -> pl.Series:
        cells = frame[name]
        if cells.dtype == pl.String and name not in self._kinds:
            cells = self._text_or_numbers(frame, name)
        if cells.null_count() == len(cells):  # asked last: words such as NA are missing by now
            raise Refused("ColumnEmpty", f"column {name!r} has no value in any file: leave it out of data.columns")
        if cells.dtype == pl.Float64:
            infinite = cells.is_infinite() | (cells.abs() > float(np.finfo(np.float32).max))
            if infinite.any():
                where = self._where(frame, infinite.fill_null(value=False))
                raise Refused("NotFinite", f"column {name!r} is infinite or beyond float32, first in {where}: correct that cell")
        return cells

    def _text_or_numbers(self, frame: pl.DataFrame, name: str) -> pl.Series:
        cells = frame[name]
        parsed = numbers_in(cells)
        if parsed is not None:
            return parsed
        known = cells.is_not_null() & ~cells.is_in(_NO_NUMBER)
        good = known & cells.cast(pl.Float64, strict=False).is_not_null()
        if int(good.sum()) >= NEARLY_NUMBERS * int(known.sum()):
            where = self._where(frame, known & ~good)
            message = f"column {name!r} holds numbers but for {(known & ~good).sum()} cells, first in {where}: correct them"
            raise Refused("WrongType", message)
        self._same_in_all_files(pl.DataFrame({FILE: frame[FILE], "known": known, "good": good}), name)
        return cells

    def _same_in_all_files(self, flags: pl.DataFrame, name: str) -> None:
        counts = flags.group_by(FILE).agg(pl.col("known").sum(), pl.col("good").sum()).filter(pl.col("known") > 0).sort(FILE)
        numbers = counts.filter(pl.col("good") == pl.col("known"))
        texts = counts.filter(pl.col("good") == 0)
        if numbers.height and texts.height:
            first, second = self.names[int(numbers[FILE][0])], self.names[int(texts[FILE][0])]
            message = f"column {name!r} holds numbers in {first} and text in {second}: give it one type in all files"
            raise Refused("SchemaDiffers", message)

    def _where(self, frame: pl.DataFrame, flags: pl.Series) -> str:
        first = frame.filter(flags).row(0, named=True)
        return f"{self.names[first[FILE]]}, row {first[ROW]}"


def numbers_in(cells: pl.Series) -> pl.Series | None:
    """The cells as Float64 when every one is a number (or every one true or false); None otherwise."""
    known = cells.set(cells.is_in(_NO_NUMBER), None)
    parsed = known.cast(pl.Float64, strict=False).fill_nan(None)
    if parsed.null_count() == known.null_count():
        return parsed
    lower = known.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return (lower == "true").cast(pl.Float64)
    return None


def _label(cells: pl.Series, where: str, first_row: int) -> pl.Series:
    kind = cells.dtype
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.String)):
        raise Refused("LabelNotBinary", f"{where} is of type {kind}: the label is 0 or 1, or a boolean")
    words = cells.cast(pl.Float64).cast(pl.String) if kind.is_numeric() else cells.cast(pl.String).str.to_lowercase()
    missing = words.is_null() | (words == "") | (words == "nan")
    if missing.any():
        row = first_row + int(missing.arg_true()[0])
        raise Refused("LabelMissing", f"{where}, row {row} is empty: leave rows without a label out of the data")
    labels = words.replace_strict(_LABELS, default=None, return_dtype=pl.Int64)
    if labels.null_count():
        row = first_row + int(labels.is_null().arg_true()[0])
        raise Refused("LabelNotBinary", f"{where}, row {row} is neither 0 nor 1: the label is 0 or 1, or a boolean")
    return labels


def _time(cells: pl.Series, where: str, first_row: int) -> pl.Series:
    kind = cells.dtype
    if kind == pl.Date or isinstance(kind, pl.Datetime):
        times = _in_utc(cells.cast(pl.Datetime("us", getattr(kind, "time_zone", None))))
    elif kind == pl.String:
        times = _parsed(cells)
    else:
        raise Refused("TimeWrongType", f"{where} is of type {kind}: write a timestamp, or text like 2013-01-31T05:00:00Z")
    if times.null_count():
        position = int(times.is_null().arg_true()[0])
        if cells[position] in (None, ""):
            raise Refused("TimeMissing", f"{where}, row {first_row + position} is empty: every row needs its time")
        raise Refused("TimeUnparsable", f"{where}, row {first_row + position} is no time: write it like 2013-01-31T05:00:00Z")
    return times


def _in_utc(times: pl.Series) -> pl.Series:
    zone = getattr(times.dtype, "time_zone", None)
    return times.dt.replace_time_zone("UTC") if zone is None else times.dt.convert_time_zone("UTC")


def _parsed(cells: pl.Series) -> pl.Series:
    """ISO 8601 dates and times: T or a space, seconds and their fraction optional, Z or an offset or nothing (UTC)."""
    text = cells.str.strip_chars().str.replace("T", " ", literal=True)
    text = text.str.replace(r"(\d)Z$", "${1}+00:00").str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1} 00:00:00")
    text = text.str.replace(r"^(\d{4}-\d\d-\d\d \d\d:\d\d)([+-].*)?$", "${1}:00${2}")
    has_zone = text.str.contains(r"[+-]\d\d:?\d\d$")
    text = text.zip_with(has_zone.fill_null(value=False), text + "+00:00")
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False).dt.convert_time_zone("UTC")


def _listing(found: list[str]) -> str:
    """The columns that were found, unless the first line may be data."""
    if not all(name.replace("_", "a").replace(" ", "a").replace("-", "a").isalnum() and not name[0].isdigit() for name in found):
        return "its first line does not look like column names: write the names there, with commas between them"
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"found {', '.join(found[:_LISTED])}{more}: correct data.columns or the file"
