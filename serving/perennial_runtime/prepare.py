"""The step `prepare`: the source's files -> training data, holdout and schema in the store, or a refusal that says what to mend.

    prepare_split: the rule that the versions before were split by
    prepare_gather: files -> typed, hashed rows in sorted runs        each file, batch by batch
    prepare_order: the runs -> the side of each row
    prepare_sides: the runs by side -> train.parquet, holdout.parquet, schema.json, hashes -> blobs       each part, in order
    prepare_champion: whether the version that serves can be compared with it

Runs in a Job of its own (`python -m perennial_runtime prepare`), with the secrets of source and store. It needs the memory of a
few batches and of a sample (`leakage`), however large the data is, and about twice the data on disk. What it writes depends on
the rows alone, not on the order or format of the files: the same data gives the same digests. The trainer gets the training
rows, `evaluate` the holdout; see docs/data.md for the rules.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from perennial_runtime import brought, leakage, prepare_classes, prepare_split, split
from perennial_runtime.answers import Refused, say
from perennial_runtime.columns import HASH, only
from perennial_runtime.contract import (
    MODEL_SECRET_PATH,
    MULTICLASS,
    SOURCE_SECRET_PATH,
    WORK_PATH,
    Column,
    PrepareResult,
    PrepareSpec,
    Step,
)
from perennial_runtime.cpus import ahead
from perennial_runtime.prepare_gather import Gathered, gather
from perennial_runtime.prepare_order import HELD, TRAINED, Ordered, put_in_order
from perennial_runtime.prepare_schema import describe
from perennial_runtime.prepare_sides import Shares, Side, check_shares
from perennial_runtime.prepare_split import Rule
from perennial_runtime.source import Source
from perennial_runtime.spill import Hashes
from perennial_runtime.split import Split
from perennial_runtime.store import Store

_ROLES_KEPT = ("feature", "label", "time", "id", "group", "weight")
"""In both sides; columns with the role slice are in the holdout alone, the one with the role synthetic in the training rows."""


@dataclass(frozen=True, slots=True)
class Filed:
    """A side and its file."""

    side: Side
    path: Path
    digest: str

    @classmethod
    def of(cls, side: Side, frames: Iterator[pl.DataFrame], label: str, path: Path) -> Filed:
        """The side, once the rows have passed into the file."""
        return cls(side, path, side.write(frames, label, path))


@dataclass(frozen=True, slots=True)
class Written:
    """Both sides and what is known of them."""

    train: Filed
    holdout: Filed
    data: str
    """Digest of all rows."""
    schema: dict[str, object]
    """Of the training rows."""
    hashes: Hashes
    """Of the training rows."""
    shares: Shares


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
    rule = prepare_split.rule(spec, store)
    data = Source(spec.source, source_secret)
    files = data.files()
    model = brought.fetch(spec.model, store, work, model_secret) if spec.model else ""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        room = Path(folder)
        gathered = gather(spec, rule, data, files, room)
        prepare_split.check_identity(spec, rule, store, gathered.collector.identity)
        ordered = put_in_order(spec, gathered, room, now)
        if isinstance(rule, Split):
            rule = rule.extended_by(ordered.real_times, spec.holdout_fraction)
        written = separate(spec, gathered, ordered, rule, room)
        _check_champion(spec, store, written)
        result = replace(_stored(spec, gathered, written, rule, store=store, room=room), model=model)
        result = prepare_classes.told_in(result, written.train.side.classes.ordered if spec.task == MULTICLASS else [])
    stored = store.put_result(spec.uid, Step.PREPARE, result)
    return stored if isinstance(stored, PrepareResult) else result


def separate(spec: PrepareSpec, gathered: Gathered, ordered: Ordered, rule: Rule, room: Path) -> Written:
    """Both sides in their files, checked."""
    label = only(spec.columns, "label").name
    shares = Shares.of(ordered, rule, gathered.groups(rule))
    check_shares(shares, spec, rule)
    kept = [column.name for role in _ROLES_KEPT for column in spec.columns if column.role == role]
    parts, made = ([column.name for column in spec.columns if column.role == role] for role in ("slice", "synthetic"))
    weight = next((column.name for column in spec.columns if column.role == "weight"), "")
    every = leakage.every(max(shares.trained, shares.held_out), len(kept))
    samples = [leakage.Sample(kept, every) for _ in range(2)]
    train = Side("training", [*kept, *made], samples[0], task=spec.task, weight=weight)
    holdout = Side("holdout", [*kept, *parts, HASH], samples[1], spec.slices, spec.task, weight)
    hashes = Hashes(room / "train-hashes")
    trained, held = (ahead(_rows(gathered, ordered, rule, side)) for side in (TRAINED, HELD))
    kinds, duplicates = gathered.collector.kinds, gathered.runs.rows - ordered.rows
    with ThreadPoolExecutor(1) as beside:
        first = Filed.of(train, _noted(trained, hashes), label, room / "train.parquet")
        schema = beside.submit(describe, first.path, spec.columns, kinds, spec.task, train.classes.ordered)
        second = Filed.of(holdout, held, label, room / "holdout.parquet")
        say("sides", train=train.rows, holdout=holdout.rows, duplicates=duplicates, **shares.told)
        if spec.task == MULTICLASS:
            prepare_classes.check(label, train.classes, holdout.classes, weight)
        for side in (holdout, train):
            side.check_label(label)
            side.check_weights()
        holdout.check_slices()
        some = leakage.Sides(train.sample.rows(), holdout.sample.rows(), spec.columns, kinds, spec.task)
        leakage.check(some, ordered.rows)
        return Written(first, second, _digest(gathered.hashes, spec.columns, kinds), schema.result(), hashes, shares)


def _check_champion(spec: PrepareSpec, store: Store, written: Written) -> None:
    """Raises Refused, with the digest of the rows, where a gate would compare the version with one that it cannot be compared
    with."""
    if spec.champion is None:
        return
    from perennial_runtime import prepare_champion  # noqa: PLC0415 - it loads onnxruntime

    label, classes = only(spec.columns, "label").name, written.train.side.classes.ordered
    now = {"label": label, "task": spec.task, **({"classes": classes} if spec.task == MULTICLASS else {})}
    try:
        prepare_champion.check(spec.champion, store, now, written.holdout.path)
    except Refused as refused:
        raise Refused(refused.reason, refused.message, data=written.data) from refused


def _rows(gathered: Gathered, ordered: Ordered, rule: Rule, side: int) -> Iterator[pl.DataFrame]:
    """The rows of one side in order, a part at a time; parts without any are not read."""
    for number, sides in enumerate(ordered.sides(rule)):
        there = sides == side
        if there.any():
            rows = gathered.runs.part(number, gathered.collector.final)
            yield rows if there.all() else rows.filter(pl.Series(there))  # to filter is to copy


def _noted(frames: Iterator[pl.DataFrame], hashes: Hashes) -> Iterator[pl.DataFrame]:
    for frame in frames:
        hashes.add(frame[HASH].to_numpy())
        yield frame


def _stored(spec: PrepareSpec, gathered: Gathered, written: Written, rule: Rule, *, store: Store, room: Path) -> PrepareResult:
    train, holdout, shares = written.train.side, written.holdout.side, written.shares
    trained = store.take_file(written.hashes.write(room / "train_rows.npy"))
    told = prepare_split.document(rule, spec, gathered.collector.identity, trained)
    schema = store.put_bytes(_json(written.schema))
    return PrepareResult(
        data=written.data,
        train=store.take_file(written.train.path, written.train.digest),
        holdout=store.take_file(written.holdout.path, written.holdout.digest),
        schema=schema,
        split=store.put_bytes(_json(told)),
        rows=gathered.runs.rows,
        train_rows=train.rows,
        holdout_rows=holdout.rows,
        duplicates=gathered.runs.rows - train.rows - holdout.rows - shares.left_out,
        positive_rate=None if spec.task == MULTICLASS else round(train.positives / train.rows, 6),
        cutoff=split.to_text(rule.windows[-1][0]) if isinstance(rule, Split) else "",
        listing=gathered.listing,
        key="" if isinstance(rule, Split) else rule.column or "",
        groups=shares.groups.all,
        held_out_groups=shares.groups.held_out,
        synthetic=shares.made,
        left_out=shares.left_out,
    )


def _digest(hashes: Hashes, columns: Sequence[Column], kinds: dict[str, str]) -> str:
    return hashes.digest(_json([[column.name, column.role, kinds.get(column.name, "")] for column in columns]))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
