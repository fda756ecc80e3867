"""Which side a row is on by what is in it: pure, by a keyed hash of its id, group or whole row, and for ever.

A key is the 64-bit hash of a cell (or of a row, as `rows` makes it), its position a keyed hash of that: evenly spread, another
one for each ModelDeployment, the same in every format. A row is holdout where its position is under `fraction`. So nothing but
the key decides: not the order of the rows, not which others there are. Rows of one key are never separated, and those that come
later fall where their key fell before. `split` does it by time; `prepare_split` chooses between the two.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.rows import row_hashes

HASH, GROUP = "hash", "group"
Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class KeyedSplit:
    """What decides. `column` None: the whole row."""

    by: str
    """hash | group"""
    column: str | None
    fraction: float
    salt: str

    def holds_out(self, keys: Keys) -> NDArray[np.bool_]:
        """For each key whether its rows are holdout."""
        held: NDArray[np.bool_] = positions(keys, self.salt) < np.uint64(min(int(self.fraction * 2**64), 2**64 - 1))
        return held


def positions(keys: Keys, salt: str) -> Keys:
    """For each key a number that is evenly spread over 64 bits: BLAKE2b with a key made of the salt (RFC 7693, 2.5)."""
    secret = hashlib.sha256(salt.encode()).digest()
    unlike, places = np.unique(keys, return_inverse=True)
    body = unlike.astype("<u8").tobytes()
    pieces = (hashlib.blake2b(body[start : start + 8], digest_size=8, key=secret).digest() for start in range(0, len(body), 8))
    return np.frombuffer(b"".join(pieces), dtype="<u8").astype(np.uint64)[places]


def keys_of(cells: pl.Series) -> Keys:
    """Of the cells of one column: equal for equal values however they were typed (7, 7.0, the CSV text 7.00)."""
    return row_hashes(cells.alias("key").to_frame())


def first_missing(cells: pl.Series) -> int | None:
    """Place of the first cell that is empty; None where all are filled."""
    missing = cells.is_null()
    if cells.dtype.is_float():
        missing = missing | cells.is_nan().fill_null(value=False)
    if cells.dtype in (pl.String, pl.Categorical, pl.Enum):
        missing = missing | (cells.cast(pl.String) == "").fill_null(value=False)
    return int(missing.arg_true()[0]) if missing.any() else None


def to_document(split: KeyedSplit) -> dict[str, object]:
    """The split as split.json says it."""
    return {"by": split.by, "column": split.column, "fraction": split.fraction, "salt": split.salt}


def from_document(document: dict[str, Any]) -> KeyedSplit:
    """The split of a split.json. Raises KeyError, TypeError or ValueError when it is none."""
    by, column, salt = document["by"], document["column"], document["salt"]
    if by not in (HASH, GROUP) or not isinstance(salt, str) or not (column is None or isinstance(column, str)):
        raise ValueError("no split by key")
    return KeyedSplit(by, column, float(document["fraction"]), salt)
