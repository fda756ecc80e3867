"""Bytes of a file that nobody reads again soon: the page cache may drop them at once.

A pod's limit of memory counts the page cache. Once it is full, each page that is read or written makes the kernel look for
another that may go, which costs more than to say so. Used by `tabular` and `spill`, which go through large files once.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pyarrow.parquet


def drop(path: Path, start: int = 0, stop: int | None = None) -> None:
    """From `start` to `stop`, in bytes (None: the end). What is not on the disk yet is on its way there afterwards."""
    if stop == start:
        return
    with contextlib.suppress(OSError), path.open("rb") as file:  # advice that nobody takes costs speed alone
        os.posix_fadvise(file.fileno(), start, 0 if stop is None else stop - start, os.POSIX_FADV_DONTNEED)


class Behind:
    """Drops the row groups of a Parquet file, each once its rows were read."""

    def __init__(self, path: Path, metadata: pyarrow.parquet.FileMetaData) -> None:
        self._path = path
        self._metadata = metadata
        self._group = 0
        self._read = 0

    def passed(self, rows: int) -> None:
        """So many more rows were read."""
        self._read += rows
        while self._group < self._metadata.num_row_groups:
            group = self._metadata.row_group(self._group)
            if group.num_rows > self._read:
                return
            chunks = [group.column(place) for place in range(group.num_columns)]
            starts = [one.dictionary_page_offset or one.data_page_offset for one in chunks]
            ends = [start + one.total_compressed_size for start, one in zip(starts, chunks, strict=True)]
            drop(self._path, min(starts), max(ends))
            self._read -= group.num_rows
            self._group += 1
