"""The step `prepare`: the source's files -> training data, holdout and schema in the store, or a refusal that says what to mend.

    source.files -> tabular.read -> rows.row_hashes + columns.Collector -> split -> blobs -> PrepareResult

Runs in a Job of its own (`python -m perennial_runtime prepare`), with the secrets of source and store. What it writes depends
on the rows alone, not on the order or format of the files: the same data gives the same digests. The trainer gets the training
rows, `evaluate` the holdout; see docs/data.md for the rules.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from perennial_runtime import brought, leakage, source, split, tabular
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import FILE, HASH, ROW, Collector
from perennial_runtime.contract import (
    MODEL_SECRET_PATH,
    SOURCE_SECRET_PATH,
    WORK_PATH,
    Column,
    PrepareResult,
    PrepareSpec,
    Step,
)
from perennial_runtime.prepare_schema import describe
from perennial_runtime.rows import row_hashes
from perennial_runtime.split import Split
from perennial_runtime.store import Store

MOST_DUPLICATES = 0.01
_ROLES_KEPT = ("feature", "label", "time", "id")
"""In both sides; columns with the role slice are in the holdout alone."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The rows with their sides, not yet stored."""

    train: pl.DataFrame
    """Declared columns and HASH, ordered by time and hash."""
    holdout: pl.DataFrame
    kinds: dict[str, str]
    data: str
    rows: int
    duplicates: int
    split: Split


def main(spec: PrepareSpec) -> PrepareResult:
    """Carry out the step, with the paths that the operator mounts."""
    return prepare(spec, Store(spec.store), Path(WORK_PATH), Path(SOURCE_SECRET_PATH))


def prepare(
    spec: PrepareSpec, store: Store, work: Path, source_secret: Path, model_secret: Path = Path(MODEL_SECRET_PATH)
) -> PrepareResult:
    """The stored result where the step has ended before, else a new one."""
    done = store.get_result(spec.uid, Step.PREPARE)
    if isinstance(done, PrepareResult):
        say("already prepared", version=spec.version)
        return done
    before = _parent_split(spec, store)
    model = brought.fetch(spec.model, store, work, model_secret) if spec.model else ""
    collector, listing = read_all(spec, work, source_secret)
    result = _write(spec, sort_out(spec, collector, before, datetime.now(UTC)), store, work, listing)
    result = replace(result, model=model)
    stored = store.put_result(spec.uid, Step.PREPARE, result)
    return stored if isinstance(stored, PrepareResult) else result


def read_all(spec: PrepareSpec, work: Path, source_secret: Path) -> tuple[Collector, str]:
    """Every row of every file, declared columns only, with the hash of the whole source row; and the digest of the listing."""
    data = source.Source(spec.source, source_secret)
    files = data.files()
    say("source listed", files=len(files), bytes=sum(file.size for file in files))
    collector = Collector(spec.columns)
    for file in files:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            local = data.fetch(file, Path(folder))
            collector.start(file.name, is_text=not file.name.endswith(".parquet"))
            row = 1
            for batch in tabular.read(local, file.name):
                collector.add(batch, row_hashes(batch), row)
                row += batch.height
        say("file read", file=file.name, rows=row - 1)
    return collector, source.listing_digest(files)


def sort_out(spec: PrepareSpec, collector: Collector, before: Split, now: datetime) -> Prepared:
    """Types, duplicates, sides and the checks of the whole dataset."""
    frame, kinds = collector.finish()
    time = _only(spec.columns, "time")
    label = _only(spec.columns, "label")
    rows = frame.height
    data = _digest(frame[HASH].to_numpy(), spec.columns, kinds)
    frame = frame.drop(FILE, ROW).sort(time, HASH).unique(subset=HASH, keep="first", maintain_order=True)
    duplicates = rows - frame.height
    _check_size(spec, rows, duplicates)
    times = frame[time].cast(pl.Int64).to_numpy()
    after = before.extended(times, spec.holdout_fraction)
    held_out = pl.Series(after.holds_out(times))
    prepared = Prepared(frame.filter(~held_out), frame.filter(held_out), kinds, data, rows, duplicates, after)
    _check_sides(prepared, time, label)
    _check_slices(spec, prepared.holdout)
    leakage.check(leakage.Sides(prepared.train, prepared.holdout, spec.columns, kinds), now)
    return prepared


def _check_size(spec: PrepareSpec, rows: int, duplicates: int) -> None:
    if duplicates > MOST_DUPLICATES * rows:
        raise Refused(
            "TooManyDuplicates",
            f"{duplicates} of {rows} rows repeat another row in all columns, over {MOST_DUPLICATES:.0%}: remove them at the "
            "source, or add a column that tells the rows apart",
        )
    if rows - duplicates < spec.minimum_rows:
        raise Refused(
            "TooFewRows",
            f"the data has {rows - duplicates} different rows, data.minimumRows asks for {spec.minimum_rows}: "
            "add data or lower minimumRows",
        )


def _check_sides(prepared: Prepared, time: str, label: str) -> None:
    for name, side in (("holdout", prepared.holdout), ("training", prepared.train)):
        if side.height == 0:
            raise Refused(
                "HoldoutEmpty" if name == "holdout" else "TrainingEmpty",
                f"the split by column {time!r} leaves no {name} rows: the data needs rows at more different times",
            )
        if side[label].n_unique() < 2:
            raise Refused(
                "OneClass",
                f"column {label!r} has only one class in the {side.height} {name} rows: both classes are needed there; "
                "check the label, or add data",
            )


def _check_slices(spec: PrepareSpec, holdout: pl.DataFrame) -> None:
    for name in spec.slices:
        if holdout[name].n_unique() < 2:
            raise Refused(
                "SliceOneValue",
                f"column {name!r}, which evaluation.slices names, has one value in all {holdout.height} holdout rows: there is "
                "nothing to tell apart; leave it out of evaluation.slices, or add data",
            )


def _write(spec: PrepareSpec, prepared: Prepared, store: Store, work: Path, listing: str) -> PrepareResult:
    time, label = _only(spec.columns, "time"), _only(spec.columns, "label")
    kept = [column.name for role in _ROLES_KEPT for column in spec.columns if column.role == role]
    parts = [column.name for column in spec.columns if column.role == "slice"]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        train = _store_rows(prepared.train.select(kept), Path(folder) / "train.parquet", store)
        holdout = _store_rows(prepared.holdout.select([*kept, *parts, HASH]), Path(folder) / "holdout.parquet", store)
        hashes = Path(folder) / "train_rows.npy"
        np.save(hashes, np.sort(prepared.train[HASH].to_numpy()).astype(np.uint64))
        train_rows = store.put_file(hashes)
    fields = {"by": "time", "column": time, "fraction": spec.holdout_fraction, "train_rows": train_rows}
    split_digest = store.put_bytes(_json({**split.to_document(prepared.split), **fields}))
    schema = store.put_bytes(_json(describe(prepared.train, spec.columns, prepared.kinds)))
    say("sides", train=prepared.train.height, holdout=prepared.holdout.height, duplicates=prepared.duplicates)
    return PrepareResult(
        data=prepared.data,
        train=train,
        holdout=holdout,
        schema=schema,
        split=split_digest,
        rows=prepared.rows,
        train_rows=prepared.train.height,
        holdout_rows=prepared.holdout.height,
        duplicates=prepared.duplicates,
        positive_rate=round(float(prepared.train[label].sum()) / prepared.train.height, 6),
        cutoff=split.to_text(prepared.split.windows[-1][0]),
        listing=listing,
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
    time = _only(spec.columns, "time")
    if column != time:
        raise Refused(
            "TimeColumnChanged",
            f"data.columns gives the role time to {time!r}, but the versions before were split by {column!r}, and rows that they "
            f"were trained on could be held out: keep the role time for {column!r}, or make a new ModelDeployment",
        )
    return before


def _store_rows(frame: pl.DataFrame, path: Path, store: Store) -> str:
    frame.rechunk().write_parquet(path, compression="zstd", row_group_size=131_072)
    return store.put_file(path)


def _only(columns: Sequence[Column], role: str) -> str:
    names = [column.name for column in columns if column.role == role]
    if len(names) != 1:
        raise Refused("ColumnsWrong", f"data.columns names {len(names)} columns with the role {role}: name exactly one")
    return names[0]


def _digest(hashes: np.ndarray[tuple[int], np.dtype[np.uint64]], columns: Sequence[Column], kinds: dict[str, str]) -> str:
    words = [[column.name, column.role, kinds.get(column.name, "")] for column in columns]
    return hashlib.sha256(_json(words) + np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
