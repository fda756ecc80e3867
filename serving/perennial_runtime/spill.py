"""More rows than memory holds: sorted runs on disk, and from them all rows in order, one part after the other.

    Runs.add -> run files, each sorted by time and hash -> Runs.part(0), part(1), ...: all rows in order, equal rows once
                                                        -> Runs.keys(0), keys(1), ...: the same, of few columns

An external sort by ranges. A run lies in an Arrow file, block by block; of its keys a few are remembered. They tell where
to cut the range of all keys so that each part is small, and a part is what every run has between two cuts. Equal rows have equal
times and hashes, so they meet in one part. What comes out depends on the rows alone, not on the sizes of runs and parts. Times,
hashes and what else the order is asked for lie in files of their own beside the rows, so that to find it is to read little.
A run is sorted and written in a thread while the rows of the next one are gathered.
`Hashes` does the same for 64-bit numbers. Neighbours: `prepare` fills and drains both.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from perennial_runtime import pagecache
from perennial_runtime.columns import HASH

RUN_BYTES = 24 * 1024 * 1024
"""Of rows in memory until they are sorted and written: about a batch, so that rows are rarely copied to be together."""
PART_BYTES = 48 * 1024 * 1024
"""Of rows in a part; twice that in memory, where blocks are read of which it needs a half."""
KEPT_BYTES = 512 * 1024 * 1024
"""Runs of so many bytes stay in the page cache, where they are read from. Of larger ones what is written, or read to its end, is
dropped there."""
BLOCK_ROWS = 8192
"""Of a run, between two remembered keys."""
BUCKETS = 256
MOST_WAITING = 2_000_000
"""Hashes in memory until they are put into their files."""

Key = tuple[int, int]
"""Time in microseconds, and hash."""
Final = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class _File:
    """Blocks of rows of one schema, one after the other."""

    path: Path
    schema: pl.Schema
    dropped: bool = False
    """What was read goes from the page cache: there is more than it holds."""
    _starts: list[int] = field(default_factory=list)
    """The first byte of each block."""

    @cached_property
    def _sink(self) -> pa.NativeFile:
        return pa.OSFile(str(self.path), "wb")

    @cached_property
    def _writer(self) -> pa.ipc.RecordBatchFileWriter:
        return pa.ipc.new_file(self._sink, _table(self.schema.to_frame()).schema)

    @cached_property
    def mapped(self) -> pa.ipc.RecordBatchFileReader:
        """For keys, and a few rows."""
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    @cached_property
    def _reader(self) -> pa.ipc.RecordBatchFileReader:
        return pa.ipc.open_file(pa.OSFile(str(self.path), "rb"))

    def write(self, block: pl.DataFrame) -> None:
        self._starts.append(self._sink.tell())
        self._writer.write_table(_table(_compact(block)).combine_chunks())

    def block(self, number: int, start: int, stop: int, rows: int) -> pa.RecordBatch:
        """The rows from `start` to `stop` of a block that has so many. If they are most of it, it is read: to map so many pages
        costs more than to copy them. Of a few only the pages are touched on which they lie."""
        if 2 * (stop - start) < rows:
            return self.mapped.get_batch(number).slice(start, stop - start)
        block = self._reader.get_batch(number)
        if self.dropped and stop == rows:  # parts are read in order: what comes before was read
            pagecache.drop(self.path, *self._starts[number : number + 2])
        return block.slice(start, stop - start)

    def drop(self) -> None:
        """What was written is not read soon."""
        self.dropped = True
        pagecache.drop(self.path)

    def close(self) -> None:
        self._starts.append(self._sink.tell())
        self._writer.close()
        self._sink.close()


@dataclass(slots=True)
class _Pair:
    """Runs of one schema: their rows, and block by block the keys of these."""

    rows: _File
    keys: _File
    blocks: int = 0

    def write(self, block: pl.DataFrame) -> None:
        self.rows.write(block)
        self.keys.write(block.select(self.keys.schema.names()))
        self.blocks += 1

    def close(self) -> None:
        self.rows.close()
        self.keys.close()


@dataclass(frozen=True, slots=True)
class _Run:
    """Blocks of both files from the place `start` on, in order."""

    pair: _Pair
    start: int
    rows: int
    """How many it has, in blocks of BLOCK_ROWS and a last one."""
    firsts: tuple[Key, ...]
    """The first key of each block."""

    def between(self, low: Key | None, high: Key | None, time: str, file: _File) -> Iterator[pa.RecordBatch]:
        """What `file`, one of both, has of the rows with low <= key < high, in order."""
        # equal keys may go on from one block to the next: the block before the first that begins at `low` counts too
        begin = 0 if low is None else max(0, bisect_left(self.firsts, low) - 1)
        end = len(self.firsts) if high is None else bisect_left(self.firsts, high)
        for number in range(begin, end):
            rows = min(BLOCK_ROWS, self.rows - number * BLOCK_ROWS)
            start = self._place(number, time, low) if low is not None and number == begin else 0
            stop = self._place(number, time, high) if high is not None and number == end - 1 else rows
            if stop > start:
                yield file.block(self.start + number, start, stop, rows)

    def _place(self, number: int, time: str, key: Key) -> int:
        """The first row of the block whose key is not less."""
        block = self.pair.keys.mapped.get_batch(self.start + number)
        times, hashes = (block.column(name).view(kind).to_numpy() for name, kind in ((time, pa.int64()), (HASH, pa.uint64())))
        start, end = int(np.searchsorted(times, key[0])), int(np.searchsorted(times, key[0], side="right"))
        return start + int(np.searchsorted(hashes[start:end], np.uint64(key[1])))


def _table(frame: pl.DataFrame) -> pa.Table:
    """Not copied: text stays as Polars has it."""
    return frame.to_arrow(compat_level=pl.CompatLevel.newest())


def _compact(block: pl.DataFrame) -> pl.DataFrame:
    """Long texts lie in buffers that a block shares with all of its run: it gets some of its own, or each would write all."""
    texts = [cells for cells in block if cells.dtype == pl.String and _shares(cells)]
    return block.with_columns([pl.Series(cells.name, cells.to_arrow(), dtype=pl.String) for cells in texts])


def _shares(cells: pl.Series) -> bool:
    """Whether the buffers hold more than twice the text."""
    held = sum(buffer.size for buffer in cells.to_arrow(compat_level=pl.CompatLevel.newest()).buffers()[2:] if buffer)
    return held > 2 * int(cells.str.len_bytes().sum()) if held else False


def _frame(blocks: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(blocks), rechunk=False)
    if not isinstance(frame, pl.DataFrame):  # a table is always a frame; from_arrow also takes arrays
        raise TypeError("pyarrow gave no table")
    return frame


@dataclass(slots=True)
class Runs:
    """The rows of a dataset, in files under `folder`. `time` names the column that comes first in the order."""

    folder: Path
    time: str
    beside: Sequence[str] = ()
    """Columns that `keys` gives with time and hash."""
    run_bytes: int = RUN_BYTES
    part_bytes: int = PART_BYTES
    kept_bytes: int = KEPT_BYTES
    rows: int = 0
    _bytes: int = 0
    _waiting: list[pl.DataFrame] = field(default_factory=list)
    _waiting_bytes: int = 0
    _pairs: list[_Pair] = field(default_factory=list)
    _runs: list[_Run] = field(default_factory=list)
    _bounds: list[Key | None] = field(default_factory=lambda: [None, None])
    _thread: ThreadPoolExecutor | None = None
    _written: Future[None] | None = None

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Within it rows are added; after it they can be read."""
        with ThreadPoolExecutor(1) as self._thread:
            yield
            self._flush()
            self._wait()
        for pair in self._pairs:
            pair.close()
        keys = sorted(key for run in self._runs for key in run.firsts)
        wanted = min(len(keys), 1 + self._bytes // self.part_bytes)
        cuts = {keys[len(keys) * number // wanted] for number in range(1, wanted)} - {keys[0]}  # no part without a row
        self._bounds = [None, *sorted(cuts), None]

    def add(self, frame: pl.DataFrame) -> None:
        """Some rows, in any order. Frames may differ in the types of their columns, not in the names."""
        if self._waiting and self._waiting[0].schema != frame.schema:
            self._flush()
        self._waiting.append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_bytes >= self.run_bytes:
            self._flush()

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self._bounds) - 1

    def part(self, number: int, final: Final) -> pl.DataFrame:
        """The rows of one part by time and hash, equal ones once. `final` gives them one type."""
        found = self._between(number, [pair.rows for pair in self._pairs])
        return self._in_order(pl.concat([final(_frame(blocks)) for blocks in found], how="vertical"))

    def keys(self, number: int) -> pl.DataFrame:
        """Of the same rows: time, hash and the columns `beside`."""
        found = self._between(number, [pair.keys for pair in self._pairs])
        return self._in_order(pl.concat([_frame(blocks) for blocks in found], how="vertical"))

    def _between(self, number: int, files: Sequence[_File]) -> list[list[pa.RecordBatch]]:
        """What each file that has something in the part has there, run by run."""
        low, high = self._bounds[number], self._bounds[number + 1]
        found: list[list[pa.RecordBatch]] = []
        for pair, file in zip(self._pairs, files, strict=True):
            runs = [run for run in self._runs if run.pair is pair]
            found.append([block for run in runs for block in run.between(low, high, self.time, file)])
        return [blocks for blocks in found if blocks]

    def _in_order(self, frame: pl.DataFrame) -> pl.DataFrame:
        hashes = frame[HASH].to_numpy()
        order = _order(frame[self.time].to_physical().to_numpy(), hashes)
        frame, hashes = _moved(frame, order), hashes[order]
        new = np.ones(len(hashes), dtype=np.bool_)
        np.not_equal(hashes[1:], hashes[:-1], out=new[1:])  # equal rows are neighbours: equal hashes have equal times
        return frame if new.all() else frame.filter(pl.Series(new))

    def _flush(self) -> None:
        """What waits is sorted and written in the thread, once the run before it is."""
        if not self._waiting:
            return
        if self._thread is None:
            raise RuntimeError("rows are added only within Runs.filling")
        self._wait()
        self._written = self._thread.submit(self._write, self._waiting)
        self._waiting, self._waiting_bytes = [], 0

    def _wait(self) -> None:
        if self._written is not None:
            self._written.result()

    def _write(self, frames: list[pl.DataFrame]) -> None:
        """One run. The frames are let go of: the next rows are gathered meanwhile."""
        frame = pl.concat(frames, how="vertical", rechunk=True)
        frames.clear()
        self.rows += frame.height
        self._bytes += int(frame.estimated_size())
        if not self._pairs or self._pairs[-1].rows.schema != frame.schema:
            self._pairs.append(self._opened(frame.schema))
        order = frame.select(pl.arg_sort_by(self.time, HASH)).to_series()
        pair, firsts = self._pairs[-1], list[Key]()
        start = pair.blocks
        frame = frame[order]
        for place in range(0, frame.height, BLOCK_ROWS):
            block = frame[place : place + BLOCK_ROWS]
            firsts.append((int(block[self.time].to_physical()[0]), int(block[HASH][0])))
            pair.write(block)
        self._runs.append(_Run(pair, start, frame.height, tuple(firsts)))
        if self._bytes > self.kept_bytes:
            for one in self._pairs:
                one.rows.drop()

    def _opened(self, schema: pl.Schema) -> _Pair:
        number = len(self._pairs)
        keys = pl.Schema({name: schema[name] for name in (self.time, HASH, *self.beside)})
        return _Pair(_File(self.folder / f"rows-{number}.arrow", schema), _File(self.folder / f"keys-{number}.arrow", keys))


def _order(times: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The places of all rows by time and hash; fast where long stretches of them are in order already, as sorted runs are."""
    order = np.argsort(times, kind="stable")
    times, hashes = times[order], hashes[order]
    tied = times[1:] == times[:-1]
    wrong = tied & (hashes[1:] < hashes[:-1])
    if not wrong.any():
        return order
    group = np.concatenate([[0], np.cumsum(~tied)])
    among = np.isin(group, group[1:][wrong])
    order[among] = order[among][np.lexsort((hashes[among], group[among]))]
    return order


def _moved(frame: pl.DataFrame, order: NDArray[np.intp]) -> pl.DataFrame:
    """The rows in that order. Long stretches that stay where they are, as of data nearly in order, are not copied."""
    places = np.arange(len(order))
    closed = np.maximum.accumulate(order) == places  # nothing from here on comes before, and the reverse
    stays = np.flatnonzero(closed & (order == places))
    away = np.flatnonzero(np.diff(stays, prepend=-1, append=len(order)) > 1)
    moved = [
        (int(start) + 1, int(end))
        for start, end in zip(np.append(-1, stays)[away], np.append(stays, len(order))[away], strict=True)
    ]
    pieces, done = list[pl.DataFrame](), 0
    for start, end in _joined(moved):
        pieces += [frame[done:start], frame[start:end].rechunk()[order[start:end] - start]]
        done = end
    return pl.concat([*pieces, frame[done:]]) if pieces else frame


def _joined(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """With little between them two stretches are one."""
    joined: list[tuple[int, int]] = []
    for start, end in stretches:
        near = joined and start - joined[-1][1] < BLOCK_ROWS
        joined.append((joined.pop()[0] if near else start, end))
    return joined


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
        numbers = np.concatenate(self._waiting)
        self._waiting, self._waiting_count = [], 0
        buckets = (numbers >> np.uint64(56)).astype(np.uint8)
        together = numbers[np.argsort(buckets, kind="stable")].astype("<u8", copy=False)
        starts = np.cumsum(np.bincount(buckets, minlength=BUCKETS))[:-1]
        for path, piece in zip(self._paths(), np.split(together, starts), strict=True):
            with path.open("ab") as file:
                file.write(piece.tobytes())
