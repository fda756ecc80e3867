"""More rows than memory holds: sorted runs on disk, and from them all rows in order, one part after the other.

    Runs.add -> run files, each sorted by time and hash -> Runs.part(0), part(1), ...: all rows in order, equal rows once

An external sort by ranges. A run is an Arrow file that is mapped into memory; of its keys a few are remembered. They tell where
to cut the range of all keys so that each part is small, and a part is what every run has between two cuts. Equal rows have equal
times and hashes, so they meet in one part. What comes out depends on the rows alone, not on the sizes of runs and parts.
`Hashes` does the same for 64-bit numbers. Neighbours: `prepare` fills and drains both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from polars.io.plugins import register_io_source

from perennial_runtime.columns import HASH

RUN_BYTES = 96 * 1024 * 1024
"""Of rows in memory until they are sorted and written; sorting takes as much again."""
PART_BYTES = 48 * 1024 * 1024
BLOCK_ROWS = 8192
"""Of a run, between two remembered keys."""
ROW_GROUP = 131_072
BUCKETS = 256
MOST_WAITING = 2_000_000
"""Hashes in memory until they are sorted into their files."""

Key = tuple[int, int]
"""Time in microseconds, and hash."""
Final = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class _Run:
    path: Path
    time: str
    firsts: tuple[Key, ...]
    """The first key of each block."""
    last: Key

    @cached_property
    def _file(self) -> pa.RecordBatchFileReader:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    def between(self, low: Key | None, high: Key | None, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        """Rows with low <= key < high, in order; of each block what is in the range, not copied."""
        for number, first in enumerate(self.firsts):
            end = self.firsts[number + 1] if number + 1 < len(self.firsts) else self.last
            if (low is not None and end < low) or (high is not None and first >= high):
                continue
            block = self._file.get_batch(number)
            start = 0 if low is None else self._place(block, low)
            stop = block.num_rows if high is None else self._place(block, high)
            if stop > start:
                wanted = block if columns is None else block.select(list(columns))
                yield _frame(wanted.slice(start, stop - start))

    def _place(self, block: pa.RecordBatch, key: Key) -> int:
        """The first row whose key is not less."""
        times, hashes = (
            block.column(name).cast(kind).to_numpy() for name, kind in ((self.time, pa.int64()), (HASH, pa.uint64()))
        )
        start, end = int(np.searchsorted(times, key[0])), int(np.searchsorted(times, key[0], side="right"))
        return start + int(np.searchsorted(hashes[start:end], np.uint64(key[1])))


def _frame(block: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([block]))
    if not isinstance(frame, pl.DataFrame):  # a table is always a frame; from_arrow also takes arrays
        raise TypeError("pyarrow gave no table")
    return frame


@dataclass(slots=True)
class Runs:
    """The rows of a dataset, in files under `folder`. `time` names the column that comes first in the order."""

    folder: Path
    time: str
    run_bytes: int = RUN_BYTES
    part_bytes: int = PART_BYTES
    rows: int = 0
    _bytes: int = 0
    _waiting: list[pl.DataFrame] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _bounds: list[Key | None] = field(default_factory=lambda: [None, None])

    def add(self, frame: pl.DataFrame) -> None:
        """Some rows, in any order. Frames may differ in the types of their columns, not in the names."""
        if self._waiting and self._waiting[0].schema != frame.schema:
            self._flush()
        self._waiting.append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_bytes >= self.run_bytes:
            self._flush()

    def close(self) -> None:
        """No more rows will come."""
        self._flush()
        keys = sorted(key for run in self._runs for key in run.firsts)
        wanted = min(len(keys), 1 + self._bytes // self.part_bytes)
        cuts = {keys[len(keys) * number // wanted] for number in range(1, wanted)} - {keys[0]}  # no part without a row
        self._bounds = [None, *sorted(cuts), None]

    @property
    def parts(self) -> int:
        """How many parts there are, once `close` was called."""
        return len(self._bounds) - 1

    def part(self, number: int, final: Final, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The rows of one part by time and hash, equal ones once; only `columns`, if given. `final` gives them one type."""
        low, high = self._bounds[number], self._bounds[number + 1]
        pieces = [final(piece) for run in self._runs for piece in run.between(low, high, columns)]
        frame = pl.concat(pieces, how="vertical").sort(self.time, HASH)
        return frame.unique(subset=HASH, keep="first", maintain_order=True) if frame.height > 1 else frame

    def _flush(self) -> None:
        if not self._waiting:
            return
        frame = pl.concat(self._waiting, how="vertical").sort(self.time, HASH)
        self._waiting, self._waiting_bytes = [], 0
        self.rows += frame.height
        self._bytes += int(frame.estimated_size())
        path = self.folder / f"run-{len(self._runs)}.arrow"
        table = frame.to_arrow().combine_chunks()
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            for block in table.to_batches(max_chunksize=BLOCK_ROWS):
                writer.write_batch(block)
        times, hashes = frame[self.time].to_physical(), frame[HASH]
        starts = range(0, frame.height, BLOCK_ROWS)
        firsts = tuple((int(times[start]), int(hashes[start])) for start in starts)
        self._runs.append(_Run(path, self.time, firsts, (int(times[-1]), int(hashes[-1]))))


def write_parquet(frames: Iterator[pl.DataFrame], path: Path) -> Path:
    """The rows, in order, as one file: the same bytes as if they were one frame, whatever the sizes of the frames."""
    first = next(frames)

    def read(columns: list[str] | None, _predicate: object, _rows: object, _batch: object) -> Iterator[pl.DataFrame]:
        yield from (frame if columns is None else frame.select(columns) for frame in chain([first], frames))

    lazy = register_io_source(read, schema=first.schema, is_pure=True)
    lazy.sink_parquet(path, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True)
    return path


@dataclass(slots=True)
class Hashes:
    """Numbers in any order -> the same numbers ascending. On disk, in files by their highest bits, sorted one at a time."""

    folder: Path
    count: int = 0
    _waiting: list[NDArray[np.uint64]] = field(default_factory=list)
    _waiting_count: int = 0

    def add(self, numbers: NDArray[np.uint64]) -> None:
        """More of them."""
        self._waiting.append(numbers)
        self._waiting_count += len(numbers)
        self.count += len(numbers)
        if self._waiting_count >= MOST_WAITING:
            self._flush()

    def ascending(self) -> Iterator[bytes]:
        """All numbers, little-endian, in pieces."""
        self._flush()
        for path in self._paths():
            if path.exists():
                yield np.sort(np.fromfile(path, dtype="<u8")).tobytes()

    def digest(self, words: bytes) -> str:
        """sha256 of the words and the sorted numbers."""
        found = hashlib.sha256(words)
        for piece in self.ascending():
            found.update(piece)
        return found.hexdigest()

    def write(self, path: Path) -> Path:
        """The sorted numbers as numpy.save writes them."""
        header = {"descr": "<u8", "fortran_order": False, "shape": (self.count,)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in self.ascending():
                file.write(piece)
        return path

    def _paths(self) -> list[Path]:
        return [self.folder / f"{number:03}" for number in range(BUCKETS)]

    def _flush(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if not self._waiting:
            return
        ordered = np.sort(np.concatenate(self._waiting))
        self._waiting, self._waiting_count = [], 0
        starts = np.searchsorted(ordered, np.arange(1, BUCKETS, dtype=np.uint64) << np.uint64(56))
        for path, piece in zip(self._paths(), np.split(ordered, starts), strict=True):
            with path.open("ab") as file:
                file.write(piece.astype("<u8").tobytes())
