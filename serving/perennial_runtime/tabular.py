"""One local Parquet, CSV or gzipped CSV file -> batches of its rows, or a refusal that names the file and what is wrong.

CSV cells stay text here: `columns` decides what a column is when all files were seen, so that a month without decimals does not
make a column an integer. pyarrow reads, for it refuses rows that are too short or too long (polars fills them up) and gives
the row's number. No message quotes a cell.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from perennial_runtime.answers import Refused
from perennial_runtime.pagecache import Behind

BATCH_ROWS, FEWEST_ROWS = 131_072, 4096
BATCH_CELLS = 4 * 1024 * 1024
BATCH_BYTES = 64 * 1024 * 1024
"""Of a batch: of many columns or long texts it has fewer rows, for some batches are in memory at once."""
DROPPED_BYTES = 32 * 1024 * 1024
"""A file of at least so many, read where it lies, leaves the page cache as it is read."""
BLOCK_BYTES = 8 * 1024 * 1024
PAGE_BYTES = 1024 * 1024
LONGEST_HEADER = 1024 * 1024
MOST_UNPACKED_BYTES = 4 * 1024**3
"""Of one .gz file: gzip packs a thousand times at best, and the work folder is the node's own disk."""
_MAGIC = b"PAR1"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which columns of a file are read."""

    only: Collection[str] | None = None
    """No others; those that the file lacks are left out. None: all."""
    never: Collection[str] = ()
    """Not these, whatever else is asked for; refused where the file lacks one."""

    def of(self, found: Sequence[str], name: str) -> list[str] | None:
        """What to read of a file with these columns; None: everything."""
        for column in self.never:
            if column not in found:  # what was found is not told: of a file without a header line it would be values
                fix = "correct data.columns or the file"
                raise Refused("ColumnMissing", f"{name} has no column {column!r} (role sensitive): {fix}")
        if self.only is None and not self.never:
            return None
        wanted = [column for column in found if (self.only is None or column in self.only) and column not in self.never]
        if self.never and not wanted:
            fix = "correct data.columns or the file"
            raise Refused("ColumnMissing", f"{name} has no column of data.columns but those with the role sensitive: {fix}")
        return wanted


EVERYTHING = Wanted()


def read(path: Path, name: str, room: Path, wanted: Wanted = EVERYTHING) -> Iterator[pl.DataFrame]:
    """Batches of at most BATCH_ROWS rows (of over 32 columns, or of long texts, fewer) or BLOCK_BYTES; every column of a CSV file
    is text. Refused when there is no row.

    What is gzipped is unpacked in the folder `room`.
    """
    if path.stat().st_size == 0:
        raise Refused("FileEmpty", f"{name} is empty (0 bytes): remove it or upload it again")
    is_parquet = name.endswith(".parquet")
    fetched = room in path.parents  # for us, and gone soon
    batches = _parquet(path, name, wanted, fetched=fetched) if is_parquet else _csv(_plain(path, name, room), name, wanted)
    rows = 0
    for batch in batches:
        rows += batch.height
        if batch.height:
            yield batch
    if rows == 0:
        raise Refused("FileEmpty", f"{name} holds column names but no row: remove it or upload it again")


def _parquet(path: Path, name: str, wanted: Wanted, *, fetched: bool) -> Iterator[pl.DataFrame]:
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(-min(4, path.stat().st_size), io.SEEK_END)
        tail = stream.read(4)
    if head != _MAGIC:
        raise Refused("FileWrongType", f"{name} is no Parquet file (it does not start with PAR1): write Parquet or rename it")
    if tail != _MAGIC or path.stat().st_size < 12:
        raise Refused("FileTruncated", f"{name} starts as Parquet and has no end: upload it again")
    try:
        # read through a small buffer: a file may be one row group, which would otherwise be in memory as a whole
        with pyarrow.parquet.ParquetFile(path, buffer_size=PAGE_BYTES, pre_buffer=False) as file:
            columns = wanted.of(file.schema_arrow.names, name)
            width = len(file.schema_arrow.names if columns is None else columns)
            at_once = rows_at_once(width, file.metadata.num_rows, _size(file))
            behind = None if fetched or path.stat().st_size < DROPPED_BYTES else Behind(path, file.metadata)
            # one thread: while it reads, others hash and write
            for batch in file.iter_batches(batch_size=at_once, columns=columns, use_threads=False):
                if behind is not None:
                    behind.passed(batch.num_rows)
                yield _frame(batch).drop(wanted.never, strict=False)  # a name with a dot may bring along what lies in another
    except (pa.ArrowException, OSError) as error:
        raise Refused(
            "FileBroken", f"{name} can't be read as Parquet ({type(error).__name__}): write it again with another writer"
        ) from None


def rows_at_once(columns: int, rows: int = 0, size: int = 0) -> int:
    """Of a batch of so many columns; `size` is what so many `rows` take without compression, if it is known."""
    found = min(BATCH_ROWS, BATCH_CELLS // max(columns, 1), BATCH_BYTES * max(rows, 1) // max(size, 1))
    return max(FEWEST_ROWS, found)


def _size(file: pyarrow.parquet.ParquetFile) -> int:
    """Bytes of all rows without compression, as the file says."""
    return sum(int(file.metadata.row_group(group).total_byte_size) for group in range(file.num_row_groups))


def _plain(path: Path, name: str, room: Path) -> Path:
    if not name.endswith(".gz"):
        return path
    target = room / "unpacked.csv"
    try:
        with gzip.open(path, "rb") as packed, target.open("wb") as plain:
            _unpack(packed, plain, name)
    except EOFError:
        raise Refused("FileTruncated", f"{name} ends in the middle of its gzip stream: upload it again") from None
    except (gzip.BadGzipFile, zlib.error):
        raise Refused("FileWrongType", f"{name} is no gzip file: gzip it, or name it .csv") from None
    if target.stat().st_size == 0:
        raise Refused("FileEmpty", f"{name} is empty once unpacked: remove it or upload it again")
    return target


def _unpack(packed: gzip.GzipFile, plain: BinaryIO, name: str) -> None:
    size = 0
    while block := packed.read(BLOCK_BYTES):
        size += len(block)
        if size > MOST_UNPACKED_BYTES:
            raise Refused(
                "FileTooLarge", f"{name} is larger than {MOST_UNPACKED_BYTES} bytes once unpacked: split it into several files"
            )
        plain.write(block)


def _csv(path: Path, name: str, wanted: Wanted) -> Iterator[pl.DataFrame]:
    ends_in_newline = _check_text(path, name)
    header = _header(path, name)
    short: list[tuple[int | None, int, int]] = []

    def wrong_width(row: Any) -> str:
        short.append((row.number, row.expected_columns, row.actual_columns))
        return "error"

    try:
        reader = pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=wrong_width),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted.of(header, name) or [],
                column_types={column: pa.string() for column in header},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        for batch in reader:
            yield _frame(batch)
    except pa.ArrowException as error:
        raise _csv_refusal(name, short, ends_in_newline, str(error)) from None


def _csv_refusal(name: str, short: list[tuple[int | None, int, int]], ends_in_newline: bool, text: str) -> Refused:
    if short:
        line, expected, actual = short[0]
        if actual < expected and not ends_in_newline:
            return Refused("FileTruncated", f"{name} ends in the middle of line {line}: upload it again")
        return Refused(
            "RowWrongWidth", f"{name}, line {line}: {actual} cells where the header names {expected}: correct that line"
        )
    if "UTF8" in text:
        return Refused("FileWrongType", f"{name} is not UTF-8 text: save it as UTF-8")
    return Refused("FileBroken", f"{name} can't be read as CSV: write it with commas, a header line and quoted text")


def _check_text(path: Path, name: str) -> bool:
    """Refuse binary content and an open quote; tell whether the file ends in a newline."""
    quotes, last = 0, b""
    with path.open("rb") as stream:
        while chunk := stream.read(BLOCK_BYTES):
            if b"\0" in chunk:
                raise Refused("FileWrongType", f"{name} is named as CSV and holds binary data: write CSV or rename it")
            quotes += chunk.count(b'"')
            last = chunk[-1:]
    if quotes % 2:
        raise Refused("FileTruncated", f"{name} has a quote that is never closed: it was cut off, or a quote is not doubled")
    return last in (b"\n", b"\r")


def _header(path: Path, name: str) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns = next(csv.reader(io.StringIO(stream.readline(LONGEST_HEADER), newline="")), [])
    except UnicodeDecodeError:
        raise Refused("FileWrongType", f"{name} is not UTF-8 text: save it as UTF-8") from None
    if len(set(columns)) != len(columns):
        raise Refused("HeaderWrong", f"{name} names a column twice in its first line: give each column its own name")
    if not columns or any(not column.strip() for column in columns):
        raise Refused("HeaderWrong", f"{name} has a column without a name in its first line: name every column")
    return columns


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches([batch]))
    if not isinstance(frame, pl.DataFrame):  # a table is always a frame; from_arrow also takes arrays
        raise TypeError("pyarrow gave no table")
    return frame
