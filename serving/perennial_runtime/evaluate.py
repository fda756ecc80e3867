"""The evaluate step: is the trained model what it claims, and is it good enough on rows it never saw?

model.onnx is checked and scored in a sandbox (`evaluate_sandbox`, where the trainer's own scores are read too), compared with
those scores (parity), packaged as a Bento (`bento`, with `golden` requests and a `profile`) and scored on the blind holdout
beside the model that serves (`evaluate_champion`). The gates are measured (`evaluate_gates`), never judged: verdicts are the
operator's (`perennial.core.gates`). What goes back to it must be short (`evaluate_answer`); all the numbers lie in the store.
The training rows, most of the bytes, are fetched while the model is scored (`evaluate_training`).
Rows are read in batches or a column at a time (`evaluate_rows`); whole is only what is one number for each row, and the scores.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import bento, card, sbom, signature
from perennial_runtime.answers import Refused, say
from perennial_runtime.archive import unpack
from perennial_runtime.contract import (
    SIGNING_SECRET_PATH,
    VALUES_PATH,
    WORK_PATH,
    EvaluateResult,
    EvaluateSpec,
    Step,
)
from perennial_runtime.evaluate_answer import evidence_of, fitted
from perennial_runtime.evaluate_champion import champion_scores, check_hashes, fetch_champion
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_facts import DATA_AGE, LATENCY, MODEL_BYTES, Fact, age, exact, latency
from perennial_runtime.evaluate_gates import Beside, Blind, measure, unanswered
from perennial_runtime.evaluate_inputs import Inputs, fetch_inputs
from perennial_runtime.evaluate_rows import read_column, read_hashes, read_labels, read_table, read_weights, seen_rows
from perennial_runtime.evaluate_rows import tables as batches
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, parity_in_sandbox, score_in_sandbox
from perennial_runtime.evaluate_slices import SliceGate, measure_slices, part
from perennial_runtime.evaluate_training import Training
from perennial_runtime.evaluate_values import Own, Rows, read_own
from perennial_runtime.golden import golden_document
from perennial_runtime.parity_check import difference
from perennial_runtime.profile import read_profile
from perennial_runtime.sampling import Look, some_rows
from perennial_runtime.scoring import classes_of, score_columns, task_of
from perennial_runtime.store import Store, profile_path

NO_CHAMPION = "none"
GOLDEN_CELLS, GOLDEN_GROUPS = 8_000_000, 16
"""Golden requests are chosen among so many values of the holdout, of so many row groups; beyond them every so-manieth row is
looked at."""
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
    *,
    values: Path = Path(VALUES_PATH),
) -> EvaluateResult:
    """Check, package and measure; the same again when it was done before. `signing` is where the keys are mounted, if the version
    is signed, `values` what the user's program left, if it has metrics of their own. Raises Refused and Unavailable."""
    key = spec.champion.identity if spec.champion else NO_CHAMPION
    earlier = store.get_result(spec.uid, Step.EVALUATE, key)
    if isinstance(earlier, EvaluateResult):
        say("already evaluated", champion=key)
        return earlier
    work.mkdir(parents=True, exist_ok=True)
    keys = signature.read_keys(signing, to_sign=True) if spec.signed else None
    # a thread may still write into it when the process is told to end
    with tempfile.TemporaryDirectory(dir=work, prefix="evaluate-", ignore_cleanup_errors=True) as folder:
        try:
            with _beside() as beside:
                limits = limits or SandboxLimits.of_this_pod()
                result = _evaluate(spec, store, Path(folder), limits, keys, values=values, beside=beside)
        except ModelRefused as refused:
            raise Refused(refused.reason, refused.message) from refused
    stored = store.put_result(spec.uid, Step.EVALUATE, result, key)
    return stored if isinstance(stored, EvaluateResult) else result


@contextmanager
def _beside() -> Iterator[Executor]:
    """A thread. After an error it ends what it is at and begins nothing more; a process that is told to end waits for nothing."""
    thread = ThreadPoolExecutor(1)
    try:
        yield thread
    except BaseException as error:
        thread.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    thread.shutdown()


def _evaluate(
    spec: EvaluateSpec,
    store: Store,
    room: Path,
    limits: SandboxLimits,
    keys: signature.Keys | None,
    *,
    values: Path,
    beside: Executor,
) -> EvaluateResult:
    """`beside` has one thread: it fetches the training rows while the holdout is scored, and packs while gates are measured."""
    inputs = fetch_inputs(spec, store, room)
    train = Training.begun(spec, inputs, store, room, beside)
    task, columns = task_of(inputs.schema), score_columns(inputs.schema)
    parity = parity_in_sandbox(inputs.parity, train.scored, room, limits, columns) if inputs.parity else None
    tables = {"holdout": batches(inputs.holdout, inputs.schema), "parity": train.tables()}
    say("inputs found", train_rows=inputs.train_rows, holdout_rows=inputs.holdout_rows)
    subject = Subject(inputs.model, inputs.schema_file, spec.allowed_domains)
    scores = score_in_sandbox(subject, tables, room, limits)
    distance = None if parity is None else difference(parity, scores["parity"], spec.max_abs_difference, task)
    say("model checked and scored", parity=distance)
    blind = blind_of(spec, store, inputs, scores["holdout"], room=room, limits=limits, keys=keys)
    contents = _contents(spec, inputs, train, scores)
    packing = beside.submit(bento.build_archive, contents, room)
    facts = _facts(spec, inputs, train, packing, room=room, limits=limits)
    slices, parts = _slices(spec, inputs, blind)
    gates = measure(spec.gates, blind, spec.seed, Beside(facts, slices, _own(spec, blind, room, limits, values)))
    say(
        "gates measured",
        gates=len(gates),
        rows=int(blind.compared.sum()),
        slices=sum(one.found.judged for one in slices.values()),
    )
    archive = packing.result()
    packed = store.put_file(archive)
    say("bento stored", digest=packed, size=archive.stat().st_size)
    result = EvaluateResult(
        identity=contents.identity,
        bento=packed,
        bento_bytes=archive.stat().st_size,
        parity=None if distance is None else float(f"{distance:.3g}"),
        holdout_rows=int(blind.compared.sum()),
        dropped_rows=int((~blind.compared).sum()),
        gates=gates,
        champion=spec.champion.identity if spec.champion else None,
        card=_card(spec, store, card.Measured(blind, gates, distance, contents.profile, _parent_profile(spec, store))),
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


def blind_of(
    spec: EvaluateSpec,
    store: Store,
    inputs: Inputs,
    scores: Scores,
    *,
    room: Path,
    limits: SandboxLimits,
    keys: signature.Keys | None,
) -> Blind:
    """The holdout as the challenger and, where a gate compares, the champion see it. Raises Refused."""
    hashes = read_hashes(inputs.holdout)
    seen = seen_rows(hashes, inputs.train_rows_file)
    champion: Scores | None = None
    if spec.champion is not None and any(gate.not_worse_than_serving_by is not None for gate in spec.gates):
        source = fetch_champion(spec.champion, store, room, keys)
        check_hashes(spec.champion, source, inputs.hashes)
        seen |= seen_rows(hashes, source / bento.TRAIN_ROWS_FILE)
        champion = champion_scores(spec.champion, source, inputs, room, limits)
        say("champion scored", version=spec.champion.version, unanswered=int(unanswered(champion).sum()))
    return Blind(
        labels=read_labels(inputs.holdout, inputs.schema),
        scores=scores,
        champion=champion,
        seen=seen,
        weights=read_weights(inputs.holdout, inputs.schema),
        task=task_of(inputs.schema),
        classes=tuple(str(name) for name in classes_of(inputs.schema)),
    )


def _contents(spec: EvaluateSpec, inputs: Inputs, train: Training, scores: dict[str, Scores]) -> bento.Contents:
    """What the Bento holds."""
    names = [feature["name"] for feature in inputs.schema["features"]]
    some, places = some_rows(inputs.holdout, names, Look.at(inputs.holdout, GOLDEN_GROUPS, GOLDEN_CELLS // len(names)))
    pool = read_table(pl.concat([train.first(), some]), inputs.schema)
    return bento.Contents(
        version=spec.version,
        identity=bento.identity_of(inputs.model, inputs.schema_file),
        model=inputs.model,
        schema=inputs.schema_file,
        train_rows=inputs.train_rows_file,
        golden=golden_document(inputs.schema, pool, np.concatenate([scores["parity"], scores["holdout"][places]])),
        profile=train.profile(scores["holdout"]),
        hashes=inputs.hashes,
        uid=spec.uid if spec.signed else "",
    )


def _facts(
    spec: EvaluateSpec, inputs: Inputs, train: Training, packing: Future[Path], *, room: Path, limits: SandboxLimits
) -> dict[str, Fact]:
    """Those of the facts that a gate asks for."""
    wanted, facts = {gate.metric for gate in spec.gates}, {}
    if MODEL_BYTES in wanted:
        facts[MODEL_BYTES] = exact(inputs.model.stat().st_size)
    if DATA_AGE in wanted:
        facts[DATA_AGE] = age(inputs.schema["time"], (train.path(), inputs.holdout), datetime.now(UTC))
    if LATENCY in wanted:
        unpack(packing.result(), room / "timed")  # nothing else is at work then
        facts[LATENCY] = latency(room / "timed" / bento.SOURCE, room, limits)
        say("latency measured", requests=facts[LATENCY].rows, p99_ms=round(facts[LATENCY].estimate.value, 3))
    return facts


def _slices(spec: EvaluateSpec, inputs: Inputs, blind: Blind) -> tuple[dict[int, SliceGate], dict[str, Any]]:
    """What the gates with `minimumPerSlice` found, and all the slices as a document."""
    gates = {place: gate for place, gate in enumerate(spec.gates) if gate.minimum_per_slice is not None}
    if not gates:
        return {}, {}
    judged = blind.judged
    parted = part(lambda name: read_column(inputs.holdout, name).filter(pl.Series(judged)), spec.slices)
    return measure_slices(gates, parted, blind.sample.of(judged), spec.seed)


def _own(spec: EvaluateSpec, blind: Blind, room: Path, limits: SandboxLimits, values: Path) -> dict[str, Own]:
    """What the user's program measured, where metrics of their own are asked for."""
    if spec.own is None:
        return {}
    champion = int(blind.compared.sum()) if spec.own_compared else None
    found = read_own(spec.own, Rows(int(blind.judged.sum()), champion), room, limits, values)
    say("own metrics read", metrics=len(found), rows=int(blind.judged.sum()))
    return found


def _card(spec: EvaluateSpec, store: Store, measured: card.Measured) -> str:
    """Digest of the model card; what the training data looked like is stored beside it, for the next version's card."""
    shown = store.put_bytes(card.document(card.card_of(spec.version, spec.record, measured)))
    store.put_document(profile_path(spec.uid), json.dumps(measured.profile, sort_keys=True).encode())
    say("model card stored", digest=shown)
    return shown


def _parent_profile(spec: EvaluateSpec, store: Store) -> dict[str, Any] | None:
    """What the parent's training data looked like; None where it left no word of it."""
    body = store.get_document(profile_path(spec.parent_uid)) if spec.parent_uid else None
    try:
        return read_profile(body) if body else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        say("profile of the parent not readable", parent=spec.parent_uid)
        return None
