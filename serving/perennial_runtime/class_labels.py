"""The label of several classes, file by file: text or whole numbers, and nothing that is neither.

    Parquet   integers, and floats that are whole -> Int64; text -> String
    CSV       whole numbers where every cell of every file is one; else text, as it stands there

Leading zeros make a text: 007 is the name of something. Names of classes are shown to people and stand in answers, so that they
are short and hold no control signs. Neighbours: `columns` reads the cells through it, `prepare_classes` counts them by side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl

from perennial_runtime.answers import Refused

MOST_SIGNS = 63
"""Of a class's name."""
MOST_NUMBER = 10**15
"""Whole numbers have at most 15 digits: JSON and float64 hold them exactly."""
NEARLY_NUMBERS = 0.99
"""As with features: a CSV column of which this share (and not all) are whole numbers is one with mistakes, not text."""
_WHOLE = r"^-?(0|[1-9][0-9]{0,14})(\.0+)?$"
_UNFIT = r"[\p{Cc}\x{2028}\x{2029}\x{202A}-\x{202E}\x{2066}-\x{2069}]"
"""Control signs, line and paragraph separators, and what turns the direction of the text around it."""
_TEXT, _NUMBER = "text", "whole numbers"
_TWO_KINDS = "the label of several classes is text or a whole number in every row"

Place = tuple[int, int]
"""Number of a file, and a row."""


@dataclass(slots=True)
class ClassLabels:
    """What the label's cells were in all files so far. `missing` are the words that stand for nothing in a CSV of numbers."""

    name: str
    missing: Collection[str]
    told: tuple[str, str] | None = None
    """What Parquet says that the label is, and the file that said it first."""
    cells: int = 0
    """Of CSV, and of them those that are whole numbers, other numbers, and words for nothing."""
    whole: int = 0
    fractions: int = 0
    absent: int = 0
    is_padded: bool = False
    """Some have leading zeros, as codes have."""
    odd: Place | None = None
    """The first cell that is no whole number."""
    is_number: bool = False
    """Once `finish` was called."""

    def add(self, cells: pl.Series, file: tuple[int, str], first_row: int, *, is_text: bool) -> pl.Series:
        """The cells of a batch of one file (its number and name), as Int64 or String. Raises Refused."""
        where = f"{file[1]}, column {self.name!r}"
        kind = cells.dtype
        if kind.is_numeric():
            return self._numbers(cells, file[1], where, first_row)
        if kind not in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null):
            raise Refused("LabelNotClass", f"{where} is of type {kind}: {_TWO_KINDS}")
        words = cells.cast(pl.String)
        refuse_missing(words.is_null() | (words == ""), where, first_row)
        self._check_names(words, where, first_row)
        if is_text:
            self._count(words, (file[0], first_row))
        else:
            self._tell(_TEXT, file[1], where)
        return words

    def finish(self, where: Callable[[Place | None], str]) -> None:
        """Decides what the classes are. Raises Refused where they are two things."""
        others = self.cells - self.whole
        if self.told is not None:
            self.is_number = self.told[0] == _NUMBER
            if self.is_number and others:
                message = (
                    f"{where(self.odd)}, column {self.name!r} holds text, and whole numbers in {self.told[1]}: correct its cells"
                )
                raise Refused("SchemaDiffers", message)
            return
        self.is_number = not others
        if not others or not self.whole + self.fractions:
            return
        first = f"first in {where(self.odd)}"
        if others == self.absent:
            raise Refused(
                "LabelMissing",
                f"column {self.name!r} holds whole numbers but for {others} cells that stand for nothing ({first}): leave rows "
                "without a label out of the data",
            )
        if self.fractions and self.whole + self.fractions + self.absent == self.cells:
            raise Refused(
                "LabelNotClass", f"column {self.name!r} holds {self.fractions} numbers with a fraction, {first}: {_TWO_KINDS}"
            )
        if self.whole >= NEARLY_NUMBERS * self.cells and not self.is_padded:
            raise Refused("WrongType", f"column {self.name!r} holds whole numbers but for {others} cells, {first}: correct them")

    def final(self, cells: pl.Series) -> pl.Series:
        """Cells that `add` gave, in the type that `finish` decided."""
        return cells.cast(pl.Float64).cast(pl.Int64) if self.is_number and cells.dtype == pl.String else cells

    def _numbers(self, cells: pl.Series, file: str, where: str, first_row: int) -> pl.Series:
        self._tell(_NUMBER, file, where)
        numbers = cells.cast(pl.Float64)
        refuse_missing(numbers.is_null() | numbers.is_nan().fill_null(value=False), where, first_row)
        wrong = (numbers != numbers.floor()) | (numbers.abs() >= MOST_NUMBER)
        if wrong.any():
            row = first_row + int(wrong.arg_true()[0])
            raise Refused(
                "LabelNotClass",
                f"{where}, row {row} is no whole number of at most 15 digits: {_TWO_KINDS}; a number with a fraction is "
                "predicted by task: regression",
            )
        return cells.cast(pl.Int64)

    def _tell(self, what: str, file: str, where: str) -> None:
        known, first = self.told = self.told or (what, file)
        if known != what:
            raise Refused("SchemaDiffers", f"{where} is {what}, and {known} in {first}: give it one type in all files")

    def _check_names(self, words: pl.Series, where: str, first_row: int) -> None:
        unfit = (words.str.len_chars() > MOST_SIGNS) | words.str.contains(_UNFIT)
        if unfit.any():
            row = first_row + int(unfit.arg_true()[0])
            raise Refused(
                "ClassNameUnfit",
                f"{where}, row {row} has over {MOST_SIGNS} signs or a control sign: a class's name is shown to people and stands "
                "in answers; give the classes short names",
            )

    def _count(self, words: pl.Series, start: Place) -> None:
        whole = words.str.contains(_WHOLE)
        self.cells += len(words)
        self.whole += int(whole.sum())
        if whole.all():
            return
        numbers = words.cast(pl.Float64, strict=False)
        self.fractions += int((numbers != numbers.floor()).fill_null(value=False).sum())
        self.is_padded = self.is_padded or bool(words.str.contains(r"^-?0[0-9]").any())
        self.absent += int(words.is_in(list(self.missing)).sum())
        if self.odd is None:
            self.odd = start[0], start[1] + int((~whole).arg_true()[0])


def refuse_missing(missing: pl.Series, where: str, first_row: int) -> None:
    """Raises Refused where rows of a batch have no label: with the first, and how many of the batch have none."""
    if missing.any():
        row = first_row + int(missing.arg_true()[0])
        many = f"{int(missing.sum()):,} of the {len(missing):,} rows read with it"
        raise Refused("LabelMissing", f"{where}, row {row} is empty ({many}): leave rows without a label out of the data")
