"""The evaluate step: is the trained model what it claims, and is it good enough on rows it never saw?

model.onnx is checked and scored in a sandbox (`evaluate_sandbox`, where the trainer's own scores are read too), compared with
those scores (parity), packaged as a Bento (`bento`, with `golden` requests and a `profile`) and scored on the blind holdout
beside the champion's model from its own Bento. The gates are measured (`evaluate_gates`), never judged: verdicts are the
operator's (`perennial.core.gates`). What goes back to it must be short (`evaluate_answer`); all the numbers lie in the store.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import bento, card, identity, sbom, signature
from perennial_runtime.answers import Refused, say
from perennial_runtime.archive import UnsafeArchive, unpack
from perennial_runtime.contract import (
    PARITY_ROWS,
    SIGNING_SECRET_PATH,
    WORK_PATH,
    Champion,
    EvaluateResult,
    EvaluateSpec,
    PrepareResult,
    ServeSpec,
    Step,
)
from perennial_runtime.evaluate_answer import evidence_of, fitted
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.evaluate_facts import DATA_AGE, LATENCY, MODEL_BYTES, Fact, age, exact, latency
from perennial_runtime.evaluate_gates import Beside, Blind, measure
from perennial_runtime.evaluate_rows import KindDiffers, in_kinds_of, read_hashes, read_labels, read_table
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, parity_in_sandbox, score_in_sandbox
from perennial_runtime.evaluate_slices import SliceGate, measure_slices, part
from perennial_runtime.golden import golden_document
from perennial_runtime.parity_check import difference
from perennial_runtime.profile import profile_document, read_profile
from perennial_runtime.scoring import Schema, read_schema
from perennial_runtime.store import Store, profile_path

NO_CHAMPION = "none"
Hashes = NDArray[np.uint64]
Scores = NDArray[np.float64]


def main(spec: EvaluateSpec) -> EvaluateResult:
    """Entry of `python -m perennial_runtime evaluate`."""
    return evaluate(spec, Store(spec.store), Path(WORK_PATH))


def evaluate(
    spec: EvaluateSpec,
    store: Store,
    work: Path,
    limits: SandboxLimits | None = None,
    signing: Path = Path(SIGNING_SECRET_PATH),
) -> EvaluateResult:
    """Check, package and measure; the same again when it was done before. `signing` is where the keys are mounted, if the version
    is signed. Raises Refused and Unavailable."""
    key = spec.champion.identity if spec.champion else NO_CHAMPION
    earlier = store.get_result(spec.uid, Step.EVALUATE, key)
    if isinstance(earlier, EvaluateResult):
        say("already evaluated", champion=key)
        return earlier
    work.mkdir(parents=True, exist_ok=True)
    keys = signature.read_keys(signing, to_sign=True) if spec.signed else None
    with tempfile.TemporaryDirectory(dir=work, prefix="evaluate-") as folder:
        try:
            result = _evaluate(spec, store, Path(folder), limits or SandboxLimits.of_this_pod(), keys)
        except ModelRefused as refused:
            raise Refused(refused.reason, refused.message) from refused
    stored = store.put_result(spec.uid, Step.EVALUATE, result, key)
    return stored if isinstance(stored, EvaluateResult) else result


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The blobs of a version, fetched and verified."""

    model: Path
    schema_file: Path
    parity: Path | None
    train_rows_file: Path
    schema: Schema
    train: pl.DataFrame
    holdout: pl.DataFrame


def _evaluate(spec: EvaluateSpec, store: Store, room: Path, limits: SandboxLimits, keys: signature.Keys | None) -> EvaluateResult:
    inputs = _fetch(spec, store, room)
    sample = min(PARITY_ROWS, inputs.train.height)
    parity = parity_in_sandbox(inputs.parity, sample, room, limits) if inputs.parity else None
    tables = {
        "parity": read_table(inputs.train.head(sample), inputs.schema),
        "holdout": read_table(inputs.holdout, inputs.schema),
    }
    say("inputs read", train_rows=inputs.train.height, holdout_rows=inputs.holdout.height)
    subject = Subject(inputs.model, inputs.schema_file, spec.allowed_domains)
    scores = score_in_sandbox(subject, tables, room, limits)
    distance = None if parity is None else difference(parity, scores["parity"], spec.max_abs_difference)
    say("model checked and scored", parity=distance)
    blind = _blind(spec, store, inputs, scores["holdout"], room=room, limits=limits, keys=keys)
    model, archive, profile = _package(spec, inputs, tables, scores, room)
    facts = _facts(spec, inputs, archive, room, limits)
    slices, parts = _slices(spec, inputs, blind)
    gates = measure(spec.gates, blind, spec.seed, Beside(facts, slices))
    say(
        "gates measured",
        gates=len(gates),
        rows=int(blind.compared.sum()),
        slices=sum(one.found.judged for one in slices.values()),
    )
    packed = store.put_file(archive)
    say("bento stored", digest=packed, size=archive.stat().st_size)
    result = EvaluateResult(
        identity=model,
        bento=packed,
        bento_bytes=archive.stat().st_size,
        parity=None if distance is None else float(f"{distance:.3g}"),
        holdout_rows=int(blind.compared.sum()),
        dropped_rows=int((~blind.compared).sum()),
        gates=gates,
        champion=spec.champion.identity if spec.champion else None,
        card=_card(spec, store, card.Measured(blind, gates, distance, profile, _parent_profile(spec, store))),
    )
    made = {"sbom": sbom.stored(spec, store), "signedBy": _signed(spec, store, packed, archive, room=room, keys=keys)}
    kept = replace(result, evidence=store.put_bytes(evidence_of(result, parts, made)))
    return fitted(kept, spec.gates, facts[LATENCY].rows if LATENCY in facts else 0)


def _signed(
    spec: EvaluateSpec, store: Store, packed: str, archive: Path, *, room: Path, keys: signature.Keys | None
) -> str | None:
    """Who signed the Bento, as it will be unpacked to be served; None where nobody is asked to."""
    if keys is None:
        return None
    target = room / "signed" / spec.version  # the folder's name stands in the signature
    unpack(archive, target)
    return signature.sign(packed, target, keys, store)


def _card(spec: EvaluateSpec, store: Store, measured: card.Measured) -> str:
    """Digest of the model card; what the training data looked like is stored beside it, for the next version's card."""
    shown = store.put_bytes(card.document(card.card_of(spec.version, spec.record, measured)))
    store.put_document(profile_path(spec.uid), json.dumps(measured.profile, sort_keys=True).encode())
    say("model card stored", digest=shown)
    return shown


def _facts(spec: EvaluateSpec, inputs: _Inputs, archive: Path, room: Path, limits: SandboxLimits) -> dict[str, Fact]:
    """Those of the facts that a gate asks for."""
    wanted, facts = {gate.metric for gate in spec.gates}, {}
    if MODEL_BYTES in wanted:
        facts[MODEL_BYTES] = exact(inputs.model.stat().st_size)
    if DATA_AGE in wanted:
        facts[DATA_AGE] = age(inputs.schema["time"], (inputs.train, inputs.holdout), datetime.now(UTC))
    if LATENCY in wanted:
        unpack(archive, room / "timed")
        facts[LATENCY] = latency(room / "timed" / bento.SOURCE, room, limits)
        say("latency measured", requests=facts[LATENCY].rows, p99_ms=round(facts[LATENCY].estimate.value, 3))
    return facts


def _slices(spec: EvaluateSpec, inputs: _Inputs, blind: Blind) -> tuple[dict[int, SliceGate], dict[str, Any]]:
    """What the gates with `minimumPerSlice` found, and all the slices as a document."""
    gates = {place: gate for place, gate in enumerate(spec.gates) if gate.minimum_per_slice is not None}
    if not gates:
        return {}, {}
    judged = blind.judged
    parted = part(inputs.holdout.filter(pl.Series(judged)), spec.slices)
    return measure_slices(gates, parted, blind.labels[judged], blind.scores[judged], spec.seed)


def _parent_profile(spec: EvaluateSpec, store: Store) -> dict[str, Any] | None:
    """What the parent's training data looked like; None where it left no word of it."""
    body = store.get_document(profile_path(spec.parent_uid)) if spec.parent_uid else None
    try:
        return read_profile(body) if body else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        say("profile of the parent not readable", parent=spec.parent_uid)
        return None


def _fetch(spec: EvaluateSpec, store: Store, room: Path) -> _Inputs:
    schema_file = store.get_file(spec.schema, room / bento.SCHEMA_FILE)
    return _Inputs(
        model=store.get_file(spec.model, room / bento.MODEL_FILE),
        schema_file=schema_file,
        parity=store.get_file(spec.parity, room / "parity.parquet") if spec.parity else None,
        train_rows_file=_fetch_train_rows(spec, store, room),
        schema=read_schema(schema_file),
        train=pl.read_parquet(store.get_file(spec.train, room / "train.parquet")),
        holdout=pl.read_parquet(store.get_file(spec.holdout, room / "holdout.parquet")),
    )


def _fetch_train_rows(spec: EvaluateSpec, store: Store, room: Path) -> Path:
    prepared = store.get_result(spec.uid, Step.PREPARE)
    if not isinstance(prepared, PrepareResult):
        raise Refused(
            "PrepareResultMissing", f"the store holds no result of prepare for {spec.version}: retrain to make it again"
        )
    split = json.loads(store.get_bytes(prepared.split))
    return store.get_file(split["train_rows"], room / bento.TRAIN_ROWS_FILE)


def _package(
    spec: EvaluateSpec, inputs: _Inputs, tables: dict[str, Table], scores: dict[str, Scores], room: Path
) -> tuple[str, Path, dict[str, Any]]:
    """Identity, packed Bento, and the profile in it."""
    pool = read_table(pl.concat([inputs.train.head(tables["parity"].rows), inputs.holdout], how="diagonal"), inputs.schema)
    found = bento.identity_of(inputs.model, inputs.schema_file)
    profile = profile_document(inputs.schema, read_table(inputs.train, inputs.schema), scores["holdout"])
    contents = bento.Contents(
        version=spec.version,
        identity=found,
        model=inputs.model,
        schema=inputs.schema_file,
        train_rows=inputs.train_rows_file,
        golden=golden_document(inputs.schema, pool, np.concatenate([scores["parity"], scores["holdout"]])),
        profile=profile,
        uid=spec.uid if spec.signed else "",
    )
    return found, bento.build_archive(contents, room), profile


def _blind(
    spec: EvaluateSpec,
    store: Store,
    inputs: _Inputs,
    scores: Scores,
    *,
    room: Path,
    limits: SandboxLimits,
    keys: signature.Keys | None,
) -> Blind:
    hashes = read_hashes(inputs.holdout)
    seen = np.isin(hashes, _load_hashes(inputs.train_rows_file))
    champion: Scores | None = None
    if spec.champion is not None and any(gate.not_worse_than_serving_by is not None for gate in spec.gates):
        source = _fetch_champion(spec.champion, store, room, keys)
        seen |= np.isin(hashes, _load_hashes(source / bento.TRAIN_ROWS_FILE))
        champion = _champion_scores(spec.champion, source, inputs, room, limits)
        say("champion scored", version=spec.champion.version, unanswered=int(np.isnan(champion).sum()))
    return Blind(labels=read_labels(inputs.holdout, inputs.schema), scores=scores, champion=champion, seen=seen)


def _load_hashes(path: Path) -> Hashes:
    rows: Hashes = np.load(path, allow_pickle=False)
    return rows


def _fetch_champion(champion: Champion, store: Store, room: Path, keys: signature.Keys | None) -> Path:
    """src/ of the champion's Bento: verified by its digest, unpacked without trust, the model that it should be, and made by one
    who may sign, where it was made to be signed."""
    target = room / "champion"
    try:
        unpack(store.get_file(champion.bento, room / "champion.tar"), target)
    except UnsafeArchive as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} is not usable: {error}") from error
    source = target / bento.SOURCE
    if keys is not None and champion.signed_for:
        signature.verify(champion.bento, target, keys, store, f"{champion.version}, which serves,")
        wanted = ServeSpec(champion.version, "", champion.bento, champion.identity, champion.signed_for)
        identity.verify(wanted, source)
    missing = [name for name in (bento.MODEL_FILE, bento.SCHEMA_FILE, bento.TRAIN_ROWS_FILE) if not (source / name).is_file()]
    if missing:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} lacks {', '.join(missing)}")
    if bento.identity_of(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE) != champion.identity:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} holds another model than the one that serves")
    return source


def _champion_scores(champion: Champion, source: Path, inputs: _Inputs, room: Path, limits: SandboxLimits) -> Scores:
    schema = read_schema(source / bento.SCHEMA_FILE)
    absent = [feature["name"] for feature in schema["features"] if feature["name"] not in inputs.holdout.columns]
    if absent or schema["label"] != inputs.schema["label"]:
        what = f"needs {', '.join(absent[:5])}" if absent else f"predicts {schema['label']}"
        raise _not_comparable(f"{champion.version} {what}, which data.columns no longer has: keep the columns (role id will do)")
    try:
        holdout = in_kinds_of(schema, inputs.holdout)
    except KindDiffers as found:
        raise _not_comparable(
            f"column {found.name!r} was {found.wanted} when {champion.version} was trained and is {found.found} now: "
            "give it the kind that it had"
        ) from found
    subject = Subject(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE, domains=None, tolerant=True)
    try:
        return score_in_sandbox(subject, {"holdout": read_table(holdout, schema)}, room, limits)["holdout"]
    except ModelRefused as refused:
        raise Refused("ChampionBroken", f"{champion.version}, which serves, can't be scored: {refused.message}") from refused


def _not_comparable(what: str) -> Refused:
    return Refused("ChampionNotComparable", f"{what} or take notWorseThanServingBy out of the gates for this version")
