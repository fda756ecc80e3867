"""What evaluate starts from: the blobs of a version, fetched from the store and verified by their digests.

Rows stay on disk: a file may be larger than memory (`evaluate_rows` goes through it). The training rows come by themselves
(`evaluate_training`), for they are the most bytes and are not needed at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from perennial_runtime import bento, prepare_split
from perennial_runtime.answers import Refused
from perennial_runtime.contract import EvaluateSpec, PrepareResult, Step
from perennial_runtime.sampling import rows_of
from perennial_runtime.scoring import Schema, read_schema
from perennial_runtime.store import Store


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files, and what is known of them before any row is read."""

    model: Path
    schema_file: Path
    parity: Path | None
    """None: no trainer told its scores."""
    train_rows_file: Path
    hashes: int
    """By which scheme (`rows.SCHEME`) the rows of both sides were hashed."""
    schema: Schema
    train_rows: int
    holdout: Path
    holdout_rows: int


def fetch_inputs(spec: EvaluateSpec, store: Store, room: Path) -> Inputs:
    """All of them, in the folder `room`. Raises Refused and Unavailable."""
    schema_file = store.get_file(spec.schema, room / bento.SCHEMA_FILE)
    prepared = _prepared(spec, store)
    split = dict(json.loads(store.get_bytes(prepared.split)))
    holdout = store.lend_file(spec.holdout, room / "holdout.parquet")
    return Inputs(
        model=store.get_file(spec.model, room / bento.MODEL_FILE),
        schema_file=schema_file,
        parity=store.get_file(spec.parity, room / "parity.parquet") if spec.parity else None,
        train_rows_file=store.get_file(split["train_rows"], room / bento.TRAIN_ROWS_FILE),
        hashes=prepare_split.scheme(split),
        schema=read_schema(schema_file),
        train_rows=prepared.train_rows,
        holdout=holdout,
        holdout_rows=rows_of(holdout),
    )


def _prepared(spec: EvaluateSpec, store: Store) -> PrepareResult:
    prepared = store.get_result(spec.uid, Step.PREPARE)
    if not isinstance(prepared, PrepareResult):
        raise Refused(
            "PrepareResultMissing", f"the store holds no result of prepare for {spec.version}: retrain to make it again"
        )
    return prepared
