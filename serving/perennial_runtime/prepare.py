"""The step `prepare`: the source's files -> training data, holdout and schema in the store, or a refusal that says what to mend.

    source.files -> tabular.read -> rows.row_hashes + columns.Collector -> spill.Runs       each file, batch by batch
    spill.Runs -> split -> train.parquet, holdout.parquet, schema.json, hashes -> blobs     each part, in order

Runs in a Job of its own (`python -m perennial_runtime prepare`), with the secrets of source and store. It needs the memory of a
few batches, however large the data is, and about twice the data on disk. What it writes depends on the rows alone, not on the
order or format of the files: the same data gives the same digests. The trainer gets the training rows, `evaluate` the holdout;
see docs/data.md for the rules.
"""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import source, split, tabular
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import HASH, Collector
from perennial_runtime.contract import SOURCE_SECRET_PATH, WORK_PATH, Column, PrepareResult, PrepareSpec, Step
from perennial_runtime.prepare_schema import describe
from perennial_runtime.rows import row_hashes
from perennial_runtime.source_files import SourceFile
from perennial_runtime.source_progress import Progress
from perennial_runtime.spill import Hashes, Runs, write_parquet
from perennial_runtime.split import Split
from perennial_runtime.store import Store

FUTURE = timedelta(days=1)
"""By so much a row may be later than now: clocks and time zones are not that wrong."""
AHEAD = 1
"""Batches that are read while one is hashed."""
MOST_DUPLICATES = 0.01
_ROLES_KEPT = ("feature", "label", "time", "id")


@dataclass(frozen=True, slots=True)
class Gathered:
    """All rows of the source, on disk, and what they are."""

    runs: Runs
    collector: Collector
    hashes: Hashes


@dataclass(frozen=True, slots=True)
class Ordered:
    """The same without repeats, in order: not the rows, their times. `sizes` has the rows of each part of the runs."""

    times: NDArray[np.int64]
    sizes: tuple[int, ...]


@dataclass(slots=True)
class Side:
    """Training rows or holdout, as they pass by on their way into a file."""

    name: str
    rows: int = 0
    positives: int = 0

    def count(self, frame: pl.DataFrame, label: str) -> None:
        """Some more of its rows."""
        self.rows += frame.height
        self.positives += int(frame[label].sum())


def main(spec: PrepareSpec) -> PrepareResult:
    """Carry out the step, with the paths that the operator mounts."""
    return prepare(spec, Store(spec.store), Path(WORK_PATH), Path(SOURCE_SECRET_PATH), datetime.now(UTC))


def prepare(spec: PrepareSpec, store: Store, work: Path, source_secret: Path, now: datetime) -> PrepareResult:
    """The stored result where the step has ended before, else a new one. `now` is what no row may be much later than."""
    done = store.get_result(spec.uid, Step.PREPARE)
    if isinstance(done, PrepareResult):
        say("already prepared", version=spec.version)
        return done
    before = _parent_split(spec, store)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        room = Path(folder)
        gathered = gather(spec, source_secret, room)
        ordered = put_in_order(spec, gathered, room, now)
        result = _write(spec, gathered, ordered, before.extended_by(ordered.times, spec.holdout_fraction), store=store, room=room)
    stored = store.put_result(spec.uid, Step.PREPARE, result)
    return stored if isinstance(stored, PrepareResult) else result


def gather(spec: PrepareSpec, source_secret: Path, room: Path) -> Gathered:
    """Every row of every file, declared columns only, with the hash of the whole row."""
    data = source.Source(spec.source, source_secret)
    files = data.files()
    progress = Progress(len(files), sum(file.size for file in files))
    say("source listed", files=len(files), bytes=progress.bytes)
    for name in ("runs", "file"):
        (room / name).mkdir()
    collector = Collector(spec.columns, whole_rows=spec.duplicates_by != "columns")
    gathered = Gathered(Runs(room / "runs", _only(spec.columns, "time")), collector, Hashes(room / "hashes"))
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


def put_in_order(spec: PrepareSpec, gathered: Gathered, room: Path, now: datetime) -> Ordered:
    """Counts what is left without repeats, and checks the dataset as a whole."""
    time, runs = _only(spec.columns, "time"), gathered.runs
    sizes = []
    path = room / "times"
    with path.open("wb") as file:
        for number in range(runs.parts):
            times = runs.part(number, lambda frame: frame, (time, HASH))[time].cast(pl.Int64).to_numpy()
            file.write(times.tobytes())
            sizes.append(len(times))
    found = Ordered(np.memmap(path, dtype=np.int64, mode="r"), tuple(sizes))
    say("rows put in order", rows=runs.rows, different=len(found.times), parts=runs.parts)
    _check_size(spec, runs.rows, runs.rows - len(found.times))
    _check_future(time, found.times, now)
    return found


def _check_size(spec: PrepareSpec, rows: int, duplicates: int) -> None:
    if duplicates > MOST_DUPLICATES * rows:
        which = "all columns" if spec.duplicates_by == "source" else "all columns that data.columns names"
        raise Refused(
            "TooManyDuplicates",
            f"{duplicates} of {rows} rows repeat another row in {which}, over {MOST_DUPLICATES:.0%}: remove them at the "
            "source, or add a column that tells the rows apart",
        )
    if rows - duplicates < spec.minimum_rows:
        raise Refused(
            "TooFewRows",
            f"the data has {rows - duplicates} different rows, data.minimumRows asks for {spec.minimum_rows}: "
            "add data or lower minimumRows",
        )


def _check_future(time: str, times: NDArray[np.int64], now: datetime) -> None:
    """A holdout of rows that have not happened would be made of nonsense, and a horizon there would decide for all that come."""
    latest = now + FUTURE
    later = len(times) - int(np.searchsorted(times, split.from_moment(latest), side="right"))
    if later:
        raise Refused(
            "TimeInFuture",
            f"column {time!r} of {later} of {len(times)} rows is later than {latest:%Y-%m-%dT%H:%M:%SZ}, a day from now, up to "
            f"{split.to_text(int(times[-1]))}: it is the time at which a row became known; correct the rows, or leave them out",
        )


def _check_sides(train: Side, holdout: Side, label: str) -> None:
    for side in (holdout, train):
        if side.positives in (0, side.rows):
            raise Refused(
                "OneClass",
                f"column {label!r} has only one class in the {side.rows} {side.name} rows: both classes are needed there; "
                "check the label, or add data",
            )


def _write(spec: PrepareSpec, gathered: Gathered, ordered: Ordered, after: Split, *, store: Store, room: Path) -> PrepareResult:
    time, label = _only(spec.columns, "time"), _only(spec.columns, "label")
    rows, different, held_out = gathered.runs.rows, len(ordered.times), after.held_out_of(ordered.times)
    if held_out in (0, different):
        raise Refused(
            "HoldoutEmpty" if held_out == 0 else "TrainingEmpty",
            f"the split by column {time!r} leaves no {'holdout' if held_out == 0 else 'training'} rows: the data needs rows at "
            "more different times",
        )
    kept = [column.name for role in _ROLES_KEPT for column in spec.columns if column.role == role]
    train, holdout, hashes = Side("training"), Side("holdout"), Hashes(room / "train-hashes")

    def training_rows() -> Iterator[pl.DataFrame]:
        for frame in _rows(gathered, ordered, after, time, holdout=False):
            hashes.add(frame[HASH].to_numpy())
            train.count(frame, label)
            yield frame.select(kept)

    def holdout_rows() -> Iterator[pl.DataFrame]:
        for frame in _rows(gathered, ordered, after, time, holdout=True):
            holdout.count(frame, label)
            yield frame.select([*kept, HASH])

    train_file = write_parquet(training_rows(), room / "train.parquet")
    holdout_file = write_parquet(holdout_rows(), room / "holdout.parquet")
    _check_sides(train, holdout, label)
    say("sides", train=train.rows, holdout=holdout.rows, duplicates=rows - different)
    fields = {
        "by": "time",
        "column": time,
        "fraction": spec.holdout_fraction,
        "train_rows": store.put_file(hashes.write(room / "train_rows.npy")),
    }
    kinds = gathered.collector.kinds
    return PrepareResult(
        data=_digest(gathered.hashes, spec.columns, kinds),
        train=store.put_file(train_file),
        holdout=store.put_file(holdout_file),
        schema=store.put_bytes(_json(describe(train_file, spec.columns, kinds))),
        split=store.put_bytes(_json({**split.to_document(after), **fields})),
        rows=rows,
        train_rows=train.rows,
        holdout_rows=holdout.rows,
        duplicates=rows - different,
        positive_rate=round(train.positives / train.rows, 6),
        cutoff=split.to_text(after.windows[-1][0]),
    )


def _rows(gathered: Gathered, ordered: Ordered, after: Split, time: str, *, holdout: bool) -> Iterator[pl.DataFrame]:
    """The rows of one side in order, a part at a time; parts without any are not read."""
    start = 0
    for number, size in enumerate(ordered.sizes):
        there = after.holds_out(ordered.times[start : start + size]) == holdout
        start += size
        if there.any():
            yield gathered.runs.part(number, gathered.collector.final).filter(pl.Series(there))


def _parent_split(spec: PrepareSpec, store: Store) -> Split:
    if spec.parent_uid is None:
        return Split()
    parent = store.get_result(spec.parent_uid, Step.PREPARE)
    if not isinstance(parent, PrepareResult):
        raise Refused(
            "ParentSplitMissing",
            f"the store holds no split of the version before ({spec.parent_uid}), so rows could change sides: "
            "restore results/ in the store",
        )
    try:
        document = json.loads(store.get_bytes(parent.split))
        before, column = split.from_document(document), str(document["column"])
    except (KeyError, TypeError, ValueError):
        raise Refused("ParentSplitBroken", f"blob sha256:{parent.split} is no split.json: restore it in the store") from None
    time = _only(spec.columns, "time")
    if column != time:
        raise Refused(
            "TimeColumnChanged",
            f"data.columns gives the role time to {time!r}, but the versions before were split by {column!r}, and rows that they "
            f"were trained on could be held out: keep the role time for {column!r}, or make a new ModelDeployment",
        )
    return before


def _only(columns: Sequence[Column], role: str) -> str:
    names = [column.name for column in columns if column.role == role]
    if len(names) != 1:
        raise Refused("ColumnsWrong", f"data.columns names {len(names)} columns with the role {role}: name exactly one")
    return names[0]


def _digest(hashes: Hashes, columns: Sequence[Column], kinds: dict[str, str]) -> str:
    return hashes.digest(_json([[column.name, column.role, kinds.get(column.name, "")] for column in columns]))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
