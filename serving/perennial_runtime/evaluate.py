"""The evaluate step: is the trained model what it claims, and is it good enough on rows it never saw?

model.onnx is checked and scored in a sandbox (`evaluate_sandbox`, where the trainer's own scores are read too), compared with
those scores (parity), packaged as a Bento (`bento`, with `golden` requests and a `profile`) and scored on the blind holdout
beside the champion's model from its own Bento. The gates are measured (`evaluate_gates`), never judged: verdicts are the
operator's (`perennial.core.gates`).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import bento
from perennial_runtime.answers import Refused, say
from perennial_runtime.archive import UnsafeArchive, unpack
from perennial_runtime.contract import (
    MESSAGE_LIMIT,
    PARITY_ROWS,
    WORK_PATH,
    Champion,
    ContractError,
    EvaluateResult,
    EvaluateSpec,
    PrepareResult,
    Step,
    encode_answer,
)
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.evaluate_gates import DECIMALS, Blind, measure, shortened
from perennial_runtime.evaluate_rows import (
    KindDiffers,
    columns_of,
    head,
    in_kinds_of,
    read_hashes,
    read_labels,
    read_table,
    seen_rows,
)
from perennial_runtime.evaluate_rows import tables as batches
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, parity_in_sandbox, score_in_sandbox
from perennial_runtime.golden import golden_document
from perennial_runtime.profile import MOST_ROWS as PROFILED_ROWS
from perennial_runtime.profile import profile_document
from perennial_runtime.sampling import rows_of, stride, thinned
from perennial_runtime.scoring import Schema, read_schema
from perennial_runtime.store import Store

NO_CHAMPION = "none"
GOLDEN_CELLS = 8_000_000
"""Golden requests are chosen among so many values of the holdout; beyond them every so-manieth row is looked at."""
Scores = NDArray[np.float64]


def main(spec: EvaluateSpec) -> EvaluateResult:
    """Entry of `python -m perennial_runtime evaluate`."""
    return evaluate(spec, Store(spec.store), Path(WORK_PATH))


def evaluate(spec: EvaluateSpec, store: Store, work: Path, limits: SandboxLimits | None = None) -> EvaluateResult:
    """Check, package and measure; the same again when it was done before. Raises Refused and Unavailable."""
    key = spec.champion.identity if spec.champion else NO_CHAMPION
    earlier = store.get_result(spec.uid, Step.EVALUATE, key)
    if isinstance(earlier, EvaluateResult):
        say("already evaluated", champion=key)
        return earlier
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="evaluate-") as folder:
        try:
            result = _evaluate(spec, store, Path(folder), limits or SandboxLimits.of_this_pod())
        except ModelRefused as refused:
            raise Refused(refused.reason, refused.message) from refused
    stored = store.put_result(spec.uid, Step.EVALUATE, result, key)
    return stored if isinstance(stored, EvaluateResult) else result


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The blobs of a version, fetched and verified."""

    model: Path
    schema_file: Path
    parity: Path
    train_rows_file: Path
    schema: Schema
    train: Path
    train_rows: int
    holdout: Path
    holdout_rows: int


def _evaluate(spec: EvaluateSpec, store: Store, room: Path, limits: SandboxLimits) -> EvaluateResult:
    inputs = _fetch(spec, store, room)
    parity = parity_in_sandbox(inputs.parity, min(PARITY_ROWS, inputs.train_rows), room, limits)
    first = head(inputs.train, len(parity), inputs.schema)
    tables = {"parity": [read_table(first, inputs.schema)], "holdout": batches(inputs.holdout, inputs.schema)}
    say("inputs read", train_rows=inputs.train_rows, holdout_rows=inputs.holdout_rows)
    subject = Subject(inputs.model, inputs.schema_file, spec.allowed_domains)
    scores = score_in_sandbox(subject, tables, room, limits)
    distance = _parity(parity, scores["parity"], spec.max_abs_difference)
    say("model checked and scored", parity=distance)
    blind = _blind(spec, store, inputs, scores["holdout"], room=room, limits=limits)
    gates = measure(spec.gates, blind, spec.seed)
    say("gates measured", gates=len(gates), rows=int(blind.compared.sum()))
    identity, archive = _package(spec, inputs, first, scores, room)
    packed = store.put_file(archive)
    say("bento stored", digest=packed, size=archive.stat().st_size)
    return _fitted(
        EvaluateResult(
            identity=identity,
            bento=packed,
            bento_bytes=archive.stat().st_size,
            parity=float(f"{distance:.3g}"),
            holdout_rows=int(blind.compared.sum()),
            dropped_rows=int((~blind.compared).sum()),
            gates=gates,
            champion=spec.champion.identity if spec.champion else None,
        )
    )


def _fetch(spec: EvaluateSpec, store: Store, room: Path) -> _Inputs:
    schema_file = store.get_file(spec.schema, room / bento.SCHEMA_FILE)
    train, holdout = (
        store.get_file(spec.train, room / "train.parquet"),
        store.get_file(spec.holdout, room / "holdout.parquet"),
    )
    return _Inputs(
        model=store.get_file(spec.model, room / bento.MODEL_FILE),
        schema_file=schema_file,
        parity=store.get_file(spec.parity, room / "parity.parquet"),
        train_rows_file=_fetch_train_rows(spec, store, room),
        schema=read_schema(schema_file),
        train=train,
        train_rows=rows_of(train),
        holdout=holdout,
        holdout_rows=rows_of(holdout),
    )


def _fetch_train_rows(spec: EvaluateSpec, store: Store, room: Path) -> Path:
    prepared = store.get_result(spec.uid, Step.PREPARE)
    if not isinstance(prepared, PrepareResult):
        raise Refused(
            "PrepareResultMissing", f"the store holds no result of prepare for {spec.version}: retrain to make it again"
        )
    split = json.loads(store.get_bytes(prepared.split))
    return store.get_file(split["train_rows"], room / bento.TRAIN_ROWS_FILE)


def _parity(expected: Scores, found: Scores, limit: float) -> float:
    distance = np.abs(expected - found)
    worst = float(distance.max())
    if worst > limit:
        off = int((distance > limit).sum())
        raise ModelRefused(
            "ParityOff",
            f"the scores of model.onnx differ from the trainer's own (parity.parquet) by up to {worst:.3g} "
            f"in {off} of {len(expected)} rows, most in row {int(distance.argmax())}; the limit is {limit:g}: "
            "the conversion to ONNX changed the model: correct it, or raise spec.evaluation.parity.maxAbsDifference",
        )
    return worst


def _package(spec: EvaluateSpec, inputs: _Inputs, first: pl.DataFrame, scores: dict[str, Scores], room: Path) -> tuple[str, Path]:
    """Identity and packed Bento."""
    names = [feature["name"] for feature in inputs.schema["features"]]
    every = stride(inputs.holdout_rows, GOLDEN_CELLS // len(names))
    pool = read_table(pl.concat([first, thinned(inputs.holdout, names, every)]), inputs.schema)
    identity = bento.identity_of(inputs.model, inputs.schema_file)
    contents = bento.Contents(
        version=spec.version,
        identity=identity,
        model=inputs.model,
        schema=inputs.schema_file,
        train_rows=inputs.train_rows_file,
        golden=golden_document(inputs.schema, pool, np.concatenate([scores["parity"], scores["holdout"][::every]])),
        profile=_profile(inputs, scores["holdout"]),
    )
    return identity, bento.build_archive(contents, room)


def _profile(inputs: _Inputs, scores: Scores) -> dict[str, Any]:
    every = stride(inputs.train_rows, PROFILED_ROWS)

    def column(feature: dict[str, Any]) -> Table:
        return read_table(thinned(inputs.train, [feature["name"]], every), {"features": [feature]})

    return profile_document(inputs.schema, inputs.train_rows, every, column, scores)


def _blind(spec: EvaluateSpec, store: Store, inputs: _Inputs, scores: Scores, *, room: Path, limits: SandboxLimits) -> Blind:
    hashes = read_hashes(inputs.holdout)
    seen = seen_rows(hashes, inputs.train_rows_file)
    champion: Scores | None = None
    if spec.champion is not None and any(gate.not_worse_than_serving_by is not None for gate in spec.gates):
        source = _fetch_champion(spec.champion, store, room)
        seen |= seen_rows(hashes, source / bento.TRAIN_ROWS_FILE)
        champion = _champion_scores(spec.champion, source, inputs, room, limits)
        say("champion scored", version=spec.champion.version, unanswered=int(np.isnan(champion).sum()))
    return Blind(labels=read_labels(inputs.holdout, inputs.schema), scores=scores, champion=champion, seen=seen)


def _fetch_champion(champion: Champion, store: Store, room: Path) -> Path:
    """src/ of the champion's Bento: verified by its digest, unpacked without trust, and the model that it should be."""
    target = room / "champion"
    try:
        unpack(store.get_file(champion.bento, room / "champion.tar"), target)
    except UnsafeArchive as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} is not usable: {error}") from error
    source = target / bento.SOURCE
    missing = [name for name in (bento.MODEL_FILE, bento.SCHEMA_FILE, bento.TRAIN_ROWS_FILE) if not (source / name).is_file()]
    if missing:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} lacks {', '.join(missing)}")
    if bento.identity_of(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE) != champion.identity:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} holds another model than the one that serves")
    return source


def _champion_scores(champion: Champion, source: Path, inputs: _Inputs, room: Path, limits: SandboxLimits) -> Scores:
    schema = read_schema(source / bento.SCHEMA_FILE)
    present = columns_of(inputs.holdout)
    absent = [feature["name"] for feature in schema["features"] if feature["name"] not in present]
    if absent or schema["label"] != inputs.schema["label"]:
        what = f"needs {', '.join(absent[:5])}" if absent else f"predicts {schema['label']}"
        raise _not_comparable(f"{champion.version} {what}, which data.columns no longer has: keep the columns (role id will do)")
    subject = Subject(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE, domains=None, tolerant=True)
    holdout = batches(inputs.holdout, schema, lambda frame: in_kinds_of(schema, frame))
    try:
        return score_in_sandbox(subject, {"holdout": holdout}, room, limits)["holdout"]
    except KindDiffers as found:
        raise _not_comparable(
            f"column {found.name!r} was {found.wanted} when {champion.version} was trained and is {found.found} now: "
            "give it the kind that it had"
        ) from found
    except ModelRefused as refused:
        raise Refused("ChampionBroken", f"{champion.version}, which serves, can't be scored: {refused.message}") from refused


def _not_comparable(what: str) -> Refused:
    return Refused("ChampionNotComparable", f"{what} or take notWorseThanServingBy out of the gates for this version")


def _fitted(result: EvaluateResult) -> EvaluateResult:
    """The result with as many decimals as fit into one termination message."""
    for decimals in range(DECIMALS, 1, -1):
        fitted = replace(result, gates=tuple(shortened(gate, result.holdout_rows, decimals) for gate in result.gates))
        try:
            encode_answer(fitted)
        except ContractError:
            continue
        return fitted
    raise Refused("TooManyGates", f"the measurements of {len(result.gates)} gates do not fit into {MESSAGE_LIMIT} bytes")
