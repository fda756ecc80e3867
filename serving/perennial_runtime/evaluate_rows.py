"""The rows that `prepare` wrote -> the arrays that evaluate works on: features, labels, row hashes."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.columns import numbers_in
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.scoring import CATEGORICAL, NUMERIC, Schema

HASH_COLUMN = "__row_hash"


def read_table(frame: pl.DataFrame, schema: Schema) -> Table:
    """The schema's features of a frame."""
    numbers: dict[str, NDArray[np.float64]] = {}
    texts: dict[str, tuple[list[str], NDArray[np.int32]]] = {}
    for feature in schema["features"]:
        name = feature["name"]
        if feature["kind"] == NUMERIC:
            numbers[name] = frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        else:
            texts[name] = _codes(frame[name].cast(pl.String).fill_null(""))
    return Table(rows=frame.height, numbers=numbers, texts=texts)


def _codes(column: pl.Series) -> tuple[list[str], NDArray[np.int32]]:
    values = column.unique().sort()
    lookup = pl.DataFrame({"value": values, "code": np.arange(len(values), dtype=np.int32)})
    joined = column.to_frame("value").join(lookup, on="value", how="left", maintain_order="left")
    return values.to_list(), joined["code"].to_numpy()


def read_labels(frame: pl.DataFrame, schema: Schema) -> NDArray[np.bool_]:
    """The label column as booleans."""
    labels: NDArray[np.bool_] = frame[schema["label"]].cast(pl.Int8).to_numpy() == 1
    return labels


def read_hashes(frame: pl.DataFrame) -> NDArray[np.uint64]:
    """64-bit hashes of the source rows."""
    return frame[HASH_COLUMN].cast(pl.UInt64).to_numpy()


class KindDiffers(ValueError):
    """A feature is not what a schema of other data says: its name and both kinds."""

    def __init__(self, name: str, wanted: str, found: str) -> None:
        super().__init__(f"{name} was {wanted} and is {found}")
        self.name = name
        self.wanted = wanted
        self.found = found


def in_kinds_of(schema: Schema, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the features in the kinds of `schema`, which was written for other data. Raises KindDiffers.

    Text that holds numbers alone, as a column of the role id does, is a number as it was in a CSV file (`columns`). A number
    can't become the text that it was: 7 may have been 7, 7.0 or 007.
    """
    return frame.with_columns([_in_kind(frame[item["name"]], item["kind"]) for item in schema["features"]])


def _in_kind(cells: pl.Series, wanted: str) -> pl.Series:
    found = CATEGORICAL if cells.dtype == pl.String else NUMERIC if cells.dtype.is_numeric() else f"of type {cells.dtype}"
    if found == wanted:
        return cells
    numbers = numbers_in(cells.set(cells == "", None)) if found == CATEGORICAL else None
    if numbers is None:
        raise KindDiffers(cells.name, wanted, found)
    return numbers
