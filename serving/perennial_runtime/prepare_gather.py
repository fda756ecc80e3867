"""The first half of `prepare`: every row of every file, batch by batch, into sorted runs on disk.

    source.files -> tabular.read -> rows.hashed + columns.Collector -> spill.Runs, spill.Hashes

Where the split is by key, each row is marked as held out or not here, for its own cells alone decide. Columns with the role
sensitive are not read: no cell of theirs is in a frame, a hash, a run or a message. Neighbours: `prepare_order` puts the runs in
order, `prepare` writes what comes of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import leakage, source, split_keys, tabular
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import HASH, LOT, Collector, at_most_one
from perennial_runtime.contract import Column, PrepareSpec
from perennial_runtime.cpus import ahead
from perennial_runtime.prepare_split import Rule
from perennial_runtime.rows import hashed
from perennial_runtime.source_files import SourceFile
from perennial_runtime.source_progress import Progress
from perennial_runtime.spill import Hashes, Runs
from perennial_runtime.split_keys import GROUP, KeyedSplit

HELD_OUT = "__held_out"
ORDER = "__order"
"""The same in every row: what comes first in the order where no column has the role time."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Of the real rows."""

    all: int = 0
    held_out: int = 0


@dataclass(frozen=True, slots=True)
class Gathered:
    """All rows of the source, on disk, and what they are."""

    runs: Runs
    collector: Collector
    hashes: Hashes
    listing: str
    """Digest of the files that were read (`source.listing_digest`)."""
    is_keyed: bool
    """The rows have a column HELD_OUT."""
    keys: Hashes
    """Of the groups, some of them more than once; only where the split is by group."""

    def groups(self, rule: Rule) -> Groups:
        """How many there are on both sides, and on the holdout's."""
        found = held_out = 0
        if not isinstance(rule, KeyedSplit):
            return Groups()
        for piece in self.keys.ascending():
            unlike = np.unique(np.frombuffer(piece, dtype="<u8").astype(np.uint64))
            found += len(unlike)
            held_out += int(rule.holds_out(unlike).sum())
        return Groups(found, held_out)


def gather(spec: PrepareSpec, rule: Rule, data: source.Source, files: Sequence[SourceFile], room: Path) -> Gathered:
    """Every row of every file, declared columns only, with the hash of the whole row."""
    sensitive = [column.name for column in spec.columns if column.role == "sensitive"]
    _check_paths(files, sensitive)
    progress = Progress(len(files), sum(file.size for file in files))
    say("source listed", files=len(files), bytes=progress.bytes)
    for name in ("runs", "file"):
        (room / name).mkdir()
    read = [column for column in spec.columns if column.role != "sensitive"]
    time, synthetic = (at_most_one(read, role) for role in ("time", "synthetic"))
    keyed = isinstance(rule, KeyedSplit)
    beside = [*([synthetic.name] if synthetic else []), *([HELD_OUT] if keyed else [])]
    gathered = Gathered(
        runs=Runs(room / "runs", time.name if time else ORDER, beside),
        collector=Collector(read, whole_rows=spec.duplicates_by != "columns", task=spec.task),
        hashes=Hashes(room / "hashes"),
        listing=source.listing_digest(files),
        is_keyed=keyed,
        keys=Hashes(room / "keys"),
    )
    marks = _Marks(rule, gathered, synthetic)
    with gathered.runs.filling():
        for file in files:
            rows = _read(file, data, gathered, marks, sensitive, room=room / "file", progress=progress)
            progress.file(file.name, file.size, rows)
        data.check_unchanged(files)
        gathered.collector.finish()
    return gathered


def _read(
    file: SourceFile,
    data: source.Source,
    gathered: Gathered,
    marks: _Marks,
    sensitive: Sequence[str],
    *,
    room: Path,
    progress: Progress,
) -> int:
    """The rows of one file, and how many they are."""
    row, lot = 1, leakage.lot_columns(gathered.collector.columns)
    with tempfile.TemporaryDirectory(dir=room) as folder, data.opened(file, Path(folder)) as local:
        for batch in ahead(_batches(file, local, Path(folder), gathered.collector, sensitive)):
            hashes, lots = hashed(batch, lot)
            typed = gathered.collector.add(batch, row).with_columns(pl.Series(HASH, hashes), pl.Series(LOT, lots))
            gathered.runs.add(marks.put(typed, batch, hashes, f"{file.name}, column", row))
            gathered.hashes.add(hashes)
            row += batch.height
            progress.rows(batch.height)
    return row - 1


def _check_paths(files: Sequence[SourceFile], sensitive: Sequence[str]) -> None:
    """Before any name of a file is told."""
    for name in sensitive:
        if any(name in file.partition for file in files):
            raise Refused(
                "SensitiveInPath",
                f"column {name!r} has the role sensitive, and folders below data.source are named by its values ({name}=...), "
                "which logs and messages tell: take it out of the paths",
            )


@dataclass(frozen=True, slots=True)
class _Marks:
    """What is added to each batch for the order and the split."""

    rule: Rule
    gathered: Gathered
    synthetic: Column | None

    def put(
        self, typed: pl.DataFrame, batch: pl.DataFrame, hashes: NDArray[np.uint64], where: str, first_row: int
    ) -> pl.DataFrame:
        """The typed rows of a batch with HELD_OUT and ORDER, where they are needed."""
        if self.gathered.runs.time == ORDER:
            typed = typed.with_columns(pl.lit(0, pl.Int64).alias(ORDER))
        if not isinstance(self.rule, KeyedSplit):
            return typed
        name = self.rule.column
        if name is None:
            return typed.with_columns(pl.Series(HELD_OUT, self.rule.holds_out(hashes)))
        missing = split_keys.first_missing(batch[name])
        if missing is not None:
            role = "group" if self.rule.by == GROUP else "id"
            raise Refused(
                f"{role.capitalize()}Missing",
                f"{where} {name!r} (role {role}), row {first_row + missing} is empty: it decides on which side of the split a "
                "row is, so every row needs one",
            )
        keys = split_keys.keys_of(batch[name])
        if self.rule.by == GROUP:
            real = ~typed[self.synthetic.name].to_numpy() if self.synthetic else slice(None)
            self.gathered.keys.add(np.unique(keys[real]))
        return typed.with_columns(pl.Series(HELD_OUT, self.rule.holds_out(keys)))


def _batches(file: SourceFile, local: Path, room: Path, collector: Collector, sensitive: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The file's batches, with the columns that its folders name and it lacks."""
    declared = {column.name for column in collector.columns}
    named = {name: value for name, value in file.partition.items() if name in declared}
    lacking: list[str] | None = None
    wanted = tabular.Wanted(None if collector.whole_rows else declared, sensitive)
    for batch in tabular.read(local, file.name, room, wanted):
        if lacking is None:
            lacking = [name for name in named if name not in batch.columns]
            collector.start(file.name, is_text=not file.name.endswith(".parquet"), from_path=lacking)
        yield batch.with_columns([pl.lit(named[name], pl.String).alias(name) for name in lacking])
