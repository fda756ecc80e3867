"""Declared columns -> typed columns: each batch as it is read, then, when all files were seen, what a feature is.

    feature   number (integers, floats, decimals, booleans -> Float64, NaN is missing) or text (missing where empty)
    label     Int64 of 0 and 1; of a regression Float64; of several classes String or Int64 (`class_labels`)
    time      Datetime in UTC, microseconds (a time without a zone is UTC)
    id        text
    slice     text
    weight    Float64, 0 or more
    group     text
    synthetic Boolean; true: the row was made
    sensitive not here: such a column is never read

Parquet says what a feature is. In CSV, and where a folder's name gives the value, a feature is a number when every cell of every
file is one (NA, NaN, null are missing then), 0 or 1 when every cell is true or false, and text otherwise. No rows are kept here:
only counts, and the places of what may have to be refused. Every refusal names file, column and row, never a cell.
Neighbours: `tabular` reads, `spill` keeps the rows, `prepare` writes what comes out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from perennial_runtime.answers import Refused
from perennial_runtime.class_labels import ClassLabels, refuse_missing
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION, Column

HASH = "__row_hash"
LOT = "__row_lot"
"""Bits of a row's features, by which samples are drawn."""
NUMERIC, CATEGORICAL = "numeric", "categorical"
NEARLY_NUMBERS = 0.99
"""A CSV column of which this share (and not all) are numbers is a column of numbers with mistakes, not text."""

_LABELS = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
_TWO_CLASSES = (
    "the label is 0 or 1, or a boolean; a number is predicted by task: regression, one of several classes by task: multiclass "
    "(training.recipe.task of a recipe, else data.task)"
)
_SWITCHES = ("true", "false")
_NO_NUMBER = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
_LISTED = 20


@dataclass(slots=True)
class _Texts:
    """What the text cells of a feature were, in all files so far."""

    known: dict[int, int] = field(default_factory=dict)
    """By number of the file: cells that are not missing, and of them those that are numbers."""
    numbers: dict[int, int] = field(default_factory=dict)
    switches: int = 0
    """Cells that are true or false."""
    cells: int = 0
    """That hold anything, NA and the like included."""
    odd: tuple[int, int] | None = None
    """File and row of the first cell that is no number."""

    @property
    def are_numbers(self) -> bool:
        return sum(self.numbers.values()) == sum(self.known.values())

    @property
    def are_switches(self) -> bool:
        return self.switches == sum(self.known.values())

    def add(self, cells: pl.Series, file: int, first_row: int) -> None:
        known = cells.set(cells.is_in(_NO_NUMBER), None)
        parsed = known.cast(pl.Float64, strict=False).fill_nan(None)
        known_count, good = len(known) - known.null_count(), len(parsed) - parsed.null_count()
        self.cells += len(cells) - cells.null_count()
        self.known[file] = self.known.get(file, 0) + known_count
        self.numbers[file] = self.numbers.get(file, 0) + good
        if good < known_count:
            self.switches += int(known.str.to_lowercase().is_in(_SWITCHES).sum())
            if self.odd is None:
                self.odd = file, first_row + int((known.is_not_null() & parsed.is_null()).arg_true()[0])


@dataclass(slots=True)
class _Counted:
    """Cells of a column that must hold a finite number in every row, and do not."""

    role: str
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    text: int = 0
    negative: int = 0
    first: tuple[int, int] | None = None
    """File and row of the first of them."""

    def add(self, known: pl.Series, numbers: pl.Series, file: int, first_row: int) -> None:
        missing = known.is_null() | numbers.is_nan().fill_null(value=False)
        infinite = numbers.is_infinite().fill_null(value=False)
        wrong = numbers.is_null() | missing | infinite
        if self.role == "weight":
            negative = (numbers < 0).fill_null(value=False) & ~infinite
            self.negative += int(negative.sum())
            wrong |= negative
        self.rows += len(numbers)
        self.missing += int(missing.sum())
        self.infinite += int(infinite.sum())
        self.text += int((numbers.is_null() & ~missing).sum())
        if self.first is None and wrong.any():
            self.first = file, first_row + int(wrong.arg_true()[0])

    @property
    def wanted(self) -> str:
        return "finite number of 0 or more" if self.role == "weight" else "finite number"

    def refuse(self, name: str, where: Callable[[tuple[int, int] | None], str]) -> None:
        """Raises Refused where there is any."""
        if self.first is None:
            return
        found = {"missing or NaN": self.missing, "infinite": self.infinite, "no number": self.text, "under 0": self.negative}
        counts = ", ".join(f"{count} {what}" for what, count in found.items() if count)
        raise Refused(
            "WeightWrong" if self.role == "weight" else "NotANumber",
            f"column {name!r} (role {self.role}) is no {self.wanted} in {sum(found.values())} of {self.rows} rows ({counts}), "
            f"first in {where(self.first)}: correct these rows, or leave them out of the data",
        )


@dataclass(slots=True)
class Collector:
    """Types the declared columns batch by batch, and remembers what only all batches together tell."""

    columns: Sequence[Column]
    whole_rows: bool = True
    """All columns of a file count, not the declared ones alone."""
    task: str = CLASSIFICATION
    names: list[str] = field(default_factory=list)
    """File names by number."""
    kinds: dict[str, str] = field(default_factory=dict)
    """numeric or categorical for each feature, once `finish` was called."""
    _all_columns: frozenset[str] | None = None
    _told: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What Parquet says a feature is, and the file that said it first."""
    _as_text: frozenset[str] | None = frozenset()
    """Columns of the current file whose cells are text whatever they mean; None: all."""
    _texts: dict[str, _Texts] = field(default_factory=dict)
    _values: dict[str, int] = field(default_factory=dict)
    """Cells of a Parquet feature that are not missing."""
    _infinite: dict[str, tuple[int, int]] = field(default_factory=dict)
    _no_numbers: dict[str, _Counted] = field(default_factory=dict)
    """Of a column that must hold a number in every row: those that hold none."""
    _classes: ClassLabels | None = None
    """Of the label, where there are several."""

    def start(self, name: str, is_text: bool, from_path: Collection[str] = ()) -> None:
        """The batches that follow come from this file; `is_text` for CSV, `from_path` are columns that its path gives."""
        self.names.append(name)
        self._as_text = None if is_text else frozenset(from_path)

    @property
    def identity(self) -> list[str]:
        """The columns by which a row is told from another, sorted; known once a batch was added."""
        return sorted(self._all_columns or ()) if self.whole_rows else sorted(column.name for column in self.columns)

    def add(self, batch: pl.DataFrame, first_row: int) -> pl.DataFrame:
        """The declared columns of one batch of the current file, typed as far as they can be before all files were seen."""
        self._check_names(batch.columns)
        return batch.select([self._typed(column, batch[column.name], first_row) for column in self.columns])

    def finish(self) -> None:
        """Decides what the features are. Refused when a column is two things, or holds what no feature may."""
        for name, counted in self._no_numbers.items():
            counted.refuse(name, self._where)
        if self._classes is not None:
            self._classes.finish(self._where)
        for column in self.columns:
            if column.role == "feature":
                self.kinds[column.name] = self._decided(column.name)

    def final(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows that `add` typed, with their features, and a label of several classes, in the kinds that `finish` decided."""
        if self._classes is not None:
            frame = frame.with_columns(self._classes.final(frame[self._classes.name]))
        return frame.with_columns(
            [
                self._numbers(frame[name])
                for name, kind in self.kinds.items()
                if kind == NUMERIC and frame[name].dtype == pl.String
            ]
        )

    def _check_names(self, found: list[str]) -> None:
        name = self.names[-1]
        for column in self.columns:
            if column.name not in found:
                there = _listing(found, self._likeliest(column.name, found))
                raise Refused("ColumnMissing", f"{name} has no column {column.name!r} (role {column.role}); {there}")
        if self._all_columns is None:
            self._all_columns = frozenset(found)
        elif self.whole_rows and self._all_columns != frozenset(found):
            differing = sorted(self._all_columns ^ frozenset(found))[:5]
            message = f"{name} and {self.names[0]} differ in the columns {', '.join(differing)}: give all files the same columns"
            raise Refused("SchemaDiffers", message)

    def _likeliest(self, name: str, found: list[str]) -> str:
        """The column that was meant by `name`, as far as one can tell: most often a letter differs, or its case. Empty: none."""
        free = {other.casefold(): other for other in found if other not in {column.name for column in self.columns}}
        near = difflib.get_close_matches(name.casefold(), list(free), 1)
        return free[near[0]] if near else ""

    def _typed(self, column: Column, cells: pl.Series, first_row: int) -> pl.Series:
        where = f"{self.names[-1]}, column {column.name!r}"
        match column.role:
            case "label" if self.task == REGRESSION:
                return self._number(column, cells, where, first_row)
            case "label" if self.task == MULTICLASS:
                return self._class(column, cells, first_row)
            case "weight":
                return self._number(column, cells, where, first_row)
            case "label":
                return _label(cells, where, first_row)
            case "time":
                return _time(cells, where, first_row)
            case "id" | "slice" | "group":
                return cells.cast(pl.String, strict=False)
            case "synthetic":
                return _flag(cells, where, first_row)
            case _:
                return self._feature(column.name, cells, where, first_row)

    def _class(self, column: Column, cells: pl.Series, first_row: int) -> pl.Series:
        self._classes = self._classes or ClassLabels(column.name, _NO_NUMBER)
        is_text = self._as_text is None or column.name in self._as_text
        return self._classes.add(cells, (len(self.names) - 1, self.names[-1]), first_row, is_text=is_text)

    def _number(self, column: Column, cells: pl.Series, where: str, first_row: int) -> pl.Series:
        """A column that must hold a finite number in every row; those that hold none are counted and refused at the end."""
        kind = cells.dtype
        if not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null)):
            raise Refused("NotANumber", f"{where} is of type {kind}: the {column.role} is a number in every row")
        known = cells.set(cells.is_in(_NO_NUMBER) | (cells == ""), None) if kind == pl.String else cells
        numbers = known.cast(pl.Float64, strict=False).alias(column.name)
        counted = self._no_numbers.setdefault(column.name, _Counted(column.role))
        counted.add(known, numbers, len(self.names) - 1, first_row)
        return numbers

    def _feature(self, name: str, cells: pl.Series, where: str, first_row: int) -> pl.Series:
        if cells.dtype == pl.Null:
            return cells.cast(pl.String)
        word, typed = _read_as(cells, where)
        file = len(self.names) - 1
        if self._as_text is None or name in self._as_text:
            self._texts.setdefault(name, _Texts()).add(typed, file, first_row)
            parsed = typed.cast(pl.Float64, strict=False)
            self._find_infinite(name, parsed, file, first_row)
            return typed
        known, first = self._told.setdefault(name, (word, self.names[-1]))
        if known != word:
            raise Refused("SchemaDiffers", f"{where} is {word}, and {known} in {first}: give it one type in all files")
        self._values[name] = self._values.get(name, 0) + len(typed) - typed.null_count()
        if word == NUMERIC:
            self._find_infinite(name, typed, file, first_row)
        return typed

    def _find_infinite(self, name: str, numbers: pl.Series, file: int, first_row: int) -> None:
        if name in self._infinite:
            return
        infinite = numbers.abs() > float(np.finfo(np.float32).max)  # infinity is larger
        if infinite.any():
            self._infinite[name] = file, first_row + int(infinite.fill_null(value=False).arg_true()[0])

    def _decided(self, name: str) -> str:
        texts = self._texts.get(name, _Texts())
        kind = self._told[name][0] if name in self._told else self._kind_of_texts(name, texts)
        if kind == NUMERIC and not (texts.are_numbers or texts.are_switches):
            where = f"{self._file(texts.odd)}, column {name!r}"
            raise Refused("SchemaDiffers", f"{where} holds text, and numbers in {self._told[name][1]}: correct its cells")
        values = self._values.get(name, 0) + (sum(texts.known.values()) if kind == NUMERIC else texts.cells)
        if values == 0:  # words such as NA are missing by now
            raise Refused("ColumnEmpty", f"column {name!r} has no value in any file: leave it out of data.columns")
        if kind == NUMERIC and name in self._infinite:
            where = self._where(self._infinite[name])
            raise Refused("NotFinite", f"column {name!r} is infinite or beyond float32, first in {where}: correct that cell")
        return kind

    def _kind_of_texts(self, name: str, texts: _Texts) -> str:
        if texts.are_numbers or texts.are_switches:
            return NUMERIC
        known, good = sum(texts.known.values()), sum(texts.numbers.values())
        if good >= NEARLY_NUMBERS * known:
            where = self._where(texts.odd)
            raise Refused(
                "WrongType", f"column {name!r} holds numbers but for {known - good} cells, first in {where}: correct them"
            )
        filled = [file for file, count in texts.known.items() if count]
        numbers = [file for file in filled if texts.numbers[file] == texts.known[file]]
        words = [file for file in filled if texts.numbers[file] == 0]
        if numbers and words:
            first, second = self.names[numbers[0]], self.names[words[0]]
            message = f"column {name!r} holds numbers in {first} and text in {second}: give it one type in all files"
            raise Refused("SchemaDiffers", message)
        return CATEGORICAL

    def _numbers(self, cells: pl.Series) -> pl.Series:
        known = cells.set(cells.is_in(_NO_NUMBER), None)
        texts = self._texts.get(cells.name, _Texts())
        return (
            known.cast(pl.Float64).fill_nan(None) if texts.are_numbers else (known.str.to_lowercase() == "true").cast(pl.Float64)
        )

    def _file(self, place: tuple[int, int] | None) -> str:
        return self.names[place[0]] if place else "a file"

    def _where(self, place: tuple[int, int] | None) -> str:
        return f"{self._file(place)}, row {place[1]}" if place else "a file"


def _read_as(cells: pl.Series, where: str) -> tuple[str, pl.Series]:
    """What a file says that a feature is, and its cells as that."""
    kind = cells.dtype
    if kind.is_numeric() or kind == pl.Boolean:
        numbers = cells.cast(pl.Float64)
        return NUMERIC, numbers.fill_nan(None) if numbers.is_nan().any() else numbers
    if kind in (pl.String, pl.Categorical, pl.Enum):
        typed = cells.cast(pl.String)
        return CATEGORICAL, typed.set(typed == "", None)
    message = f"{where} is of type {kind}; a feature is a number, a boolean or text: derive such a column"
    raise Refused("UnsupportedType", message)


def only(columns: Sequence[Column], role: str) -> Column:
    """The one column of a role. Refused when there is none or more than one."""
    found = [column for column in columns if column.role == role]
    if len(found) != 1:
        raise Refused("ColumnsWrong", f"data.columns names {len(found)} columns with the role {role}: name exactly one")
    return found[0]


def at_most_one(columns: Sequence[Column], role: str) -> Column | None:
    """The column of a role that need not be there. Refused when there are several."""
    return only(columns, role) if any(column.role == role for column in columns) else None


def numbers_in(cells: pl.Series) -> pl.Series | None:
    """The cells as Float64 when every one is a number (or every one true or false); None otherwise."""
    known = cells.set(cells.is_in(_NO_NUMBER), None)
    parsed = known.cast(pl.Float64, strict=False).fill_nan(None)
    if parsed.null_count() == known.null_count():
        return parsed
    lower = known.str.to_lowercase()
    if lower.drop_nulls().is_in(_SWITCHES).all():
        return (lower == "true").cast(pl.Float64)
    return None


def _label(cells: pl.Series, where: str, first_row: int) -> pl.Series:
    kind = cells.dtype
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.String)):
        raise Refused("LabelNotBinary", f"{where} is of type {kind}: {_TWO_CLASSES}")
    if kind.is_numeric():
        numbers = cells.cast(pl.Float64).fill_nan(None)
        missing = numbers.is_null()
        labels = numbers.cast(pl.Int64, strict=False).set((numbers != 0) & (numbers != 1), None)
    else:
        words = cells.cast(pl.String).str.to_lowercase()
        missing = words.is_null() | (words == "") | (words == "nan")
        labels = words.replace_strict(_LABELS, default=None, return_dtype=pl.Int64)
    refuse_missing(missing, where, first_row)
    if labels.null_count():
        row = first_row + int(labels.is_null().arg_true()[0])
        raise Refused("LabelNotBinary", f"{where}, row {row} is neither 0 nor 1: {_TWO_CLASSES}")
    return labels


def _flag(cells: pl.Series, where: str, first_row: int) -> pl.Series:
    kind = cells.dtype
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null)):
        raise Refused("SyntheticNotBoolean", f"{where} is of type {kind}: the role synthetic is for true and false, or 1 and 0")
    if kind.is_numeric():
        words = cells.cast(pl.Float64).fill_nan(None).cast(pl.String)
    else:
        words = cells.cast(pl.String).str.to_lowercase()
    missing = words.is_null() | (words == "")
    if missing.any():
        row = first_row + int(missing.arg_true()[0])
        raise Refused(
            "SyntheticMissing", f"{where}, row {row} is empty: say of every row whether it was made (true) or not (false)"
        )
    flags = words.replace_strict(_LABELS, default=None, return_dtype=pl.Int64)
    if flags.null_count():
        row = first_row + int(flags.is_null().arg_true()[0])
        raise Refused("SyntheticNotBoolean", f"{where}, row {row} is neither true nor false: write true or false, or 1 or 0")
    return flags.cast(pl.Boolean).alias(cells.name)


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


def _listing(found: list[str], likeliest: str) -> str:
    """The columns that were found, the likeliest first of all, unless the first line may be data."""
    if not all(name.replace("_", "a").replace(" ", "a").replace("-", "a").isalnum() and not name[0].isdigit() for name in found):
        return "its first line does not look like column names: write the names there, with commas between them"
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    meant = f"is {likeliest!r} meant? " if likeliest else ""
    return f"{meant}found {', '.join(found[:_LISTED])}{more}: correct data.columns or the file"
