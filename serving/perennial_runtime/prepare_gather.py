"""The first half of `prepare`: every row of every file, batch by batch, into sorted runs on disk.

    source.files -> tabular.read -> rows.row_hashes + columns.Collector -> spill.Runs, spill.Hashes

Neighbours: `prepare` puts the runs in order and writes what comes of them.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import source, tabular
from perennial_runtime.answers import say
from perennial_runtime.columns import HASH, Collector, only
from perennial_runtime.contract import PrepareSpec
from perennial_runtime.rows import row_hashes
from perennial_runtime.source_files import SourceFile
from perennial_runtime.source_progress import Progress
from perennial_runtime.spill import Hashes, Runs

AHEAD = 1
"""Batches that are read while one is hashed."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All rows of the source, on disk, and what they are."""

    runs: Runs
    collector: Collector
    hashes: Hashes
    listing: str
    """Digest of the files that were read (`source.listing_digest`)."""


def gather(spec: PrepareSpec, data: source.Source, files: Sequence[SourceFile], room: Path) -> Gathered:
    """Every row of every file, declared columns only, with the hash of the whole row."""
    progress = Progress(len(files), sum(file.size for file in files))
    say("source listed", files=len(files), bytes=progress.bytes)
    for name in ("runs", "file"):
        (room / name).mkdir()
    collector = Collector(spec.columns, whole_rows=spec.duplicates_by != "columns", task=spec.task)
    runs = Runs(room / "runs", only(spec.columns, "time").name)
    gathered = Gathered(runs, collector, Hashes(room / "hashes"), source.listing_digest(files))
    for file in files:
        with tempfile.TemporaryDirectory(dir=room / "file") as folder, data.opened(file, Path(folder)) as local:
            row = 1
            for batch, hashes in _hashed(_batches(file, local, Path(folder), collector)):
                gathered.runs.add(collector.add(batch, row).with_columns(pl.Series(HASH, hashes)))
                gathered.hashes.add(hashes)
                row += batch.height
                progress.rows(batch.height)
        progress.file(file.name, file.size, row - 1)
    data.check_unchanged(files)
    collector.finish()
    gathered.runs.close()
    return gathered


def _batches(file: SourceFile, local: Path, room: Path, collector: Collector) -> Iterator[pl.DataFrame]:
    """The file's batches, with the columns that its folders name and it lacks."""
    declared = {column.name for column in collector.columns}
    named = {name: value for name, value in file.partition.items() if name in declared}
    lacking: list[str] | None = None
    for batch in tabular.read(local, file.name, room, None if collector.whole_rows else declared):
        if lacking is None:
            lacking = [name for name in named if name not in batch.columns]
            collector.start(file.name, is_text=not file.name.endswith(".parquet"), from_path=lacking)
        yield batch.with_columns([pl.lit(named[name], pl.String).alias(name) for name in lacking])


def _hashed(batches: Iterator[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, NDArray[np.uint64]]]:
    """Each batch with the hashes of its rows, which is most of the work: it goes on while the batch before is dealt with."""
    with ThreadPoolExecutor(1) as worker:
        waiting: deque[tuple[pl.DataFrame, Future[NDArray[np.uint64]]]] = deque()
        for batch in batches:
            waiting.append((batch, worker.submit(row_hashes, batch)))
            if len(waiting) > AHEAD:
                first, hashes = waiting.popleft()
                yield first, hashes.result()
        for first, hashes in waiting:
            yield first, hashes.result()
