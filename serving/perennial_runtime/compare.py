"""The native sidecar `compare` of a reproduction: waits until the trainer has ended, and says in what its model differs.

It stands where the reporter stands in a train Job, and nothing that the trainer wrote is uploaded: the answer is all that is left
of it. Bit-equal model.onnx files are the same digest and need no more. Others are compared in processes under limits
(`model_difference`, and by their scores of the parity sample), and so are the lists of packages.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from perennial_runtime import environment
from perennial_runtime.answers import Refused, say
from perennial_runtime.bento import THRESHOLD, file_digest
from perennial_runtime.contract import (
    MODEL_BYTES_LIMIT,
    MODEL_NAME,
    MULTICLASS,
    OUT_PATH,
    PARITY_ROWS,
    REGRESSION,
    TRAIN_FILE,
    WORK_PATH,
    CompareSpec,
    ReproduceResult,
    output_of,
)
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_rows import read_table
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, difference_in_sandbox, score_in_sandbox
from perennial_runtime.outputs import OutputError, opened
from perennial_runtime.reporter import read_environment
from perennial_runtime.scoring import read_schema, task_of
from perennial_runtime.store import Store

SANDBOX_SECONDS = 40
"""For each of three processes: together well within the grace of the pod (`perennial.manifests.jobs`), which has begun."""
LONGEST_MESSAGE = 800
MOST_PACKAGES = 5
NOT_COMPARED = "they could not be compared tensor by tensor: too large, or no model that can be read"
SHORT = 12
"""Characters of a digest that are told."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both models, where they may be looked at, and how long."""

    before: Path
    now: Path
    room: Path
    limits: SandboxLimits


def main(spec: CompareSpec) -> ReproduceResult:
    """Wait for SIGTERM, then compare."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as __main__ did at the start
    signal.sigwait({signal.SIGTERM})
    memory = SandboxLimits.of_this_pod().memory
    limits = SandboxLimits(memory, cpu_seconds=SANDBOX_SECONDS, wall_seconds=SANDBOX_SECONDS)
    Path(WORK_PATH).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK_PATH, prefix="compare-") as folder:
        pair = Pair(Path(folder) / "before.onnx", Path(folder) / "now.onnx", Path(folder), limits)
        return compare(spec, Store(spec.store), Path(OUT_PATH), Path(TRAIN_FILE), pair)


def compare(spec: CompareSpec, store: Store, out: Path, train_file: Path, pair: Pair) -> ReproduceResult:
    """What came of it; `pair` says where the models go. Raises StepError, above all where the trainer wrote no model."""
    try:
        with opened(out, MODEL_NAME, MODEL_BYTES_LIMIT) as stream, pair.now.open("wb") as target:
            shutil.copyfileobj(stream, target)
    except OutputError as error:
        raise Refused(error.reason, error.message) from error
    digest = file_digest(pair.now)
    say("trained again", model=digest, before=spec.model)
    if digest == spec.model:
        return ReproduceResult(True, digest, f"model.onnx is bit-equal (sha256:{digest[:SHORT]})")
    store.get_file(spec.model, pair.before)
    sizes = f"{pair.now.stat().st_size} bytes instead of {pair.before.stat().st_size}"
    words = [
        f"model.onnx is sha256:{digest[:SHORT]} instead of sha256:{spec.model[:SHORT]}, {sizes}",
        *(difference_in_sandbox(pair.before, pair.now, pair.room, pair.limits) or [NOT_COMPARED]),
        _scores(spec, store, train_file, pair),
        _packages(spec, store, out),
    ]
    return _told(digest, "; ".join(words))


def _told(digest: str, words: str) -> ReproduceResult:
    """The answer. Some of the words come from a file that a trainer wrote."""
    plain = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in words)
    return ReproduceResult(False, digest, plain[:LONGEST_MESSAGE])


def _scores(spec: CompareSpec, store: Store, train_file: Path, pair: Pair) -> str:
    """How far the scores of the parity sample are apart."""
    schema_file = store.get_file(spec.schema, pair.room / "schema.json")
    schema = read_schema(schema_file)
    task = task_of(schema)
    tables = {"parity": [read_table(pl.read_parquet(train_file, n_rows=PARITY_ROWS), schema)]}
    subjects = (Subject(pair.before, schema_file, None), Subject(pair.now, schema_file, spec.allowed_domains))
    try:
        before, now = (score_in_sandbox(one, tables, pair.room, pair.limits)["parity"] for one in subjects)
    except ModelRefused as refused:
        return f"its scores can't be compared: {refused.reason}: {refused.message[:200]}"
    apart = np.abs(before - now).reshape(len(before), -1).max(axis=1)
    another, word = "other" if task == MULTICLASS else "another", output_of(task)
    if not apart.any():
        return f"all {len(apart)} rows of the parity sample have the same {word}"
    other = (
        f"{int((apart > 0).sum())} of {len(apart)} rows of the parity sample have {another} {word}, by up to {apart.max():.3g}"
    )
    if task == REGRESSION:
        return other
    was, is_now = (one.argmax(axis=1) if task == MULTICLASS else one >= THRESHOLD for one in (before, now))
    labels = int((was != is_now).sum())
    return f"{other}, and {labels} another label"


def _packages(spec: CompareSpec, store: Store, out: Path) -> str:
    """Packages of another version."""
    told = read_environment(out)
    if spec.environment is None or told is None:
        return f"the packages of {'then' if spec.environment is None else 'now'} are not told"
    before, now = environment.packages(store.get_bytes(spec.environment).decode()), told.packages
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if not names:
        return "the packages are the same"
    changed = ", ".join(f"{name} {before.get(name, 'none')} is {now.get(name, 'none')} now" for name in names[:MOST_PACKAGES])
    return f"packages: {changed}" + (f" and {len(names) - MOST_PACKAGES} more" if len(names) > MOST_PACKAGES else "")
