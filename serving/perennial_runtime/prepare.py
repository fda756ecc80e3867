"""The step `prepare`: the source's files -> training data, holdout and schema in the store, or a refusal that says what to mend.

    prepare_gather: files -> typed, hashed rows in sorted runs        each file, batch by batch
    spill.Runs -> split -> prepare_sides -> train.parquet, holdout.parquet, schema.json, hashes -> blobs     each part, in order

Runs in a Job of its own (`python -m perennial_runtime prepare`), with the secrets of source and store. It needs the memory of a
few batches and of a sample (`leakage`), however large the data is, and about twice the data on disk. What it writes depends on
the rows alone, not on the order or format of the files: the same data gives the same digests. The trainer gets the training
rows, `evaluate` the holdout; see docs/data.md for the rules.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import brought, leakage, split
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import HASH, only
from perennial_runtime.contract import MODEL_SECRET_PATH, SOURCE_SECRET_PATH, WORK_PATH, Column, PrepareResult, PrepareSpec, Step
from perennial_runtime.prepare_gather import Gathered, gather
from perennial_runtime.prepare_schema import describe
from perennial_runtime.prepare_sides import Side
from perennial_runtime.source import Source
from perennial_runtime.spill import Hashes
from perennial_runtime.split import Split
from perennial_runtime.store import Store

MOST_DUPLICATES = 0.01
_ROLES_KEPT = ("feature", "label", "time", "id", "weight")
"""In both sides; columns with the role slice are in the holdout alone."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """All rows without repeats, in order: not the rows, their times. `sizes` has the rows of each part of the runs."""

    times: NDArray[np.int64]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Both sides and their files, and the hashes of the training rows."""

    train: Side
    holdout: Side
    train_file: Path
    holdout_file: Path
    hashes: Hashes


def main(spec: PrepareSpec) -> PrepareResult:
    """Carry out the step, with the paths that the operator mounts."""
    return prepare(spec, Store(spec.store), Path(WORK_PATH), Path(SOURCE_SECRET_PATH), datetime.now(UTC))


def prepare(
    spec: PrepareSpec,
    store: Store,
    work: Path,
    source_secret: Path,
    now: datetime,
    *,
    model_secret: Path = Path(MODEL_SECRET_PATH),
) -> PrepareResult:
    """The stored result where the step has ended before, else a new one. `now` is what no row may be much later than."""
    done = store.get_result(spec.uid, Step.PREPARE)
    if isinstance(done, PrepareResult):
        say("already prepared", version=spec.version)
        return done
    before = _parent_split(spec, store)
    data = Source(spec.source, source_secret)
    files = data.files()
    model = brought.fetch(spec.model, store, work, model_secret) if spec.model else ""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        room = Path(folder)
        gathered = gather(spec, data, files, room)
        ordered = put_in_order(spec, gathered, room, now)
        after = before.extended_by(ordered.times, spec.holdout_fraction)
        written = separate(spec, gathered, ordered, after, room)
        result = replace(_stored(spec, gathered, written, after, store=store, room=room), model=model)
    stored = store.put_result(spec.uid, Step.PREPARE, result)
    return stored if isinstance(stored, PrepareResult) else result


def put_in_order(spec: PrepareSpec, gathered: Gathered, room: Path, now: datetime) -> Ordered:
    """Counts what is left without repeats, and checks the dataset as a whole."""
    time, runs = only(spec.columns, "time"), gathered.runs
    sizes = []
    path = room / "times"
    with path.open("wb") as file:
        for number in range(runs.parts):
            times = runs.part(number, lambda frame: frame, (time.name, HASH))[time.name].cast(pl.Int64).to_numpy()
            file.write(times.tobytes())
            sizes.append(len(times))
    found = Ordered(np.memmap(path, dtype=np.int64, mode="r"), tuple(sizes))
    say("rows put in order", rows=runs.rows, different=len(found.times), parts=runs.parts)
    _check_size(spec, runs.rows, runs.rows - len(found.times))
    leakage.check_times(time, found.times, now)
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


def separate(spec: PrepareSpec, gathered: Gathered, ordered: Ordered, after: Split, room: Path) -> Written:
    """Both sides in their files, checked."""
    time, label = only(spec.columns, "time").name, only(spec.columns, "label").name
    different, held_out = len(ordered.times), after.held_out_of(ordered.times)
    if held_out in (0, different):
        raise Refused(
            "HoldoutEmpty" if held_out == 0 else "TrainingEmpty",
            f"the split by column {time!r} leaves no {'holdout' if held_out == 0 else 'training'} rows: the data needs rows at "
            "more different times",
        )
    kept = [column.name for role in _ROLES_KEPT for column in spec.columns if column.role == role]
    parts = [column.name for column in spec.columns if column.role == "slice"]
    weight = next((column.name for column in spec.columns if column.role == "weight"), "")
    every = leakage.every(max(held_out, different - held_out), len(kept))
    train, holdout = (leakage.Sample(spec.columns, kept, every) for _ in range(2))
    written = Written(
        Side("training", kept, train, task=spec.task, weight=weight),
        Side("holdout", [*kept, *parts, HASH], holdout, spec.slices, spec.task, weight),
        room / "train.parquet",
        room / "holdout.parquet",
        Hashes(room / "train-hashes"),
    )
    trained = _noted(_rows(gathered, ordered, after, holdout=False), written.hashes)
    written.train.write(trained, label, written.train_file)
    written.holdout.write(_rows(gathered, ordered, after, holdout=True), label, written.holdout_file)
    say("sides", train=written.train.rows, holdout=written.holdout.rows, duplicates=gathered.runs.rows - different)
    written.holdout.check_label(label)
    written.train.check_label(label)
    for side in (written.holdout, written.train):
        side.check_weights()
    written.holdout.check_slices()
    leakage.check(leakage.Sides(train.rows(), holdout.rows(), spec.columns, gathered.collector.kinds, spec.task), different)
    return written


def _rows(gathered: Gathered, ordered: Ordered, after: Split, *, holdout: bool) -> Iterator[pl.DataFrame]:
    """The rows of one side in order, a part at a time; parts without any are not read."""
    start = 0
    for number, size in enumerate(ordered.sizes):
        there = after.holds_out(ordered.times[start : start + size]) == holdout
        start += size
        if there.any():
            yield gathered.runs.part(number, gathered.collector.final).filter(pl.Series(there))


def _noted(frames: Iterator[pl.DataFrame], hashes: Hashes) -> Iterator[pl.DataFrame]:
    for frame in frames:
        hashes.add(frame[HASH].to_numpy())
        yield frame


def _stored(spec: PrepareSpec, gathered: Gathered, written: Written, after: Split, *, store: Store, room: Path) -> PrepareResult:
    train, holdout, kinds = written.train, written.holdout, gathered.collector.kinds
    fields = {
        "by": "time",
        "column": only(spec.columns, "time").name,
        "fraction": spec.holdout_fraction,
        "train_rows": store.put_file(written.hashes.write(room / "train_rows.npy")),
    }
    return PrepareResult(
        data=_digest(gathered.hashes, spec.columns, kinds),
        train=store.put_file(written.train_file),
        holdout=store.put_file(written.holdout_file),
        schema=store.put_bytes(_json(describe(written.train_file, spec.columns, kinds, spec.task))),
        split=store.put_bytes(_json({**split.to_document(after), **fields})),
        rows=gathered.runs.rows,
        train_rows=train.rows,
        holdout_rows=holdout.rows,
        duplicates=gathered.runs.rows - train.rows - holdout.rows,
        positive_rate=round(train.positives / train.rows, 6),
        cutoff=split.to_text(after.windows[-1][0]),
        listing=gathered.listing,
    )


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
    time = only(spec.columns, "time").name
    if column != time:
        raise Refused(
            "TimeColumnChanged",
            f"data.columns gives the role time to {time!r}, but the versions before were split by {column!r}, and rows that they "
            f"were trained on could be held out: keep the role time for {column!r}, or make a new ModelDeployment",
        )
    return before


def _digest(hashes: Hashes, columns: Sequence[Column], kinds: dict[str, str]) -> str:
    return hashes.digest(_json([[column.name, column.role, kinds.get(column.name, "")] for column in columns]))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
