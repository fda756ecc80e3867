"""Rows that pass by -> one Parquet file and its digest, which is reckoned as the file is written: nobody has to read it again.

The bytes depend on the rows alone, not on how many come at a time. Used by `prepare_sides` and `score`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, cast

import polars as pl
from polars.io.plugins import register_io_source

ROW_GROUP = 131_072
LEVEL = 1
"""Of zstd: numbers become hardly smaller by more work, and that takes half as long again."""


class _Digested:
    """A file that is written from its first byte to its last, as Polars needs it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._found = hashlib.sha256()

    def __enter__(self) -> _Digested:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, body: bytes) -> int:
        self._found.update(body)
        return self._file.write(body)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return self._found.hexdigest()


def write_parquet(frames: Iterator[pl.DataFrame], path: Path) -> str:
    """The rows, in order, as one file: the same bytes as if they were one frame, whatever the sizes of the frames. Its sha256."""
    first = next(frames)

    def read(columns: list[str] | None, _predicate: object, _rows: object, _batch: object) -> Iterator[pl.DataFrame]:
        yield from (frame if columns is None else frame.select(columns) for frame in chain([first], frames))

    lazy = register_io_source(read, schema=first.schema, is_pure=True)
    with _Digested(path) as target:
        lazy.sink_parquet(
            cast("IO[bytes]", target),
            compression="zstd",
            compression_level=LEVEL,
            row_group_size=ROW_GROUP,
            maintain_order=True,
        )
    return target.digest
