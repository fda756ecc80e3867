"""What a trainer wrote, judged as a train Job's reporter takes it and as evaluate reads it, by the same code.

Nothing in /perennial/out is trusted: files are opened without links (`outputs`), and models and tables are read in processes of
their own under limits (`evaluate_sandbox`). Used by `perennial_runtime.check`.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial_runtime.check_wish import NUMERIC, Finding, Wish
from perennial_runtime.claims import METRICS_BYTES_LIMIT, PARITY_BYTES_LIMIT, numbers, read_claims
from perennial_runtime.contract import (
    ALLOWED_DOMAINS,
    CHECKPOINT_NAME,
    METRICS_NAME,
    MODEL_BYTES_LIMIT,
    MODEL_NAME,
    MULTICLASS,
    PARITY_NAME,
    PARITY_ROWS,
    PROGRESS_NAME,
    REGRESSION,
)
from perennial_runtime.outputs import OutputError, names, opened, tail

if TYPE_CHECKING:
    from perennial_runtime.check_ground import Ground

PACKAGES = ("numpy", "onnx", "onnxruntime", "polars")
MOST_CHECKPOINT_FILES = 64
MOST_NAMED = 5
"""Columns that a finding names."""
_LINE_BYTES = 4096
OTHERS = 0o044
"""The reporter is of the folder's group."""
UNSEEN = "a text that no training row holds"
STRANGE = {"missing": "where every value is missing (NaN, empty text)", "unseen": "whose texts no training row holds"}


def findings(wish: Wish, ground: Ground) -> Iterator[Finding]:
    """Of every output in turn."""
    files = {name: _file(ground.out, name, limit) for name, limit in _REQUIRED.items()}
    yield from files.values()
    absent = [name for name in PACKAGES if not _has(name)]
    if absent:
        words = f"they were not read: this image has no {', '.join(absent)}"
        yield Finding("wrong", "model and scores", words, "run --only outputs on the same folder in Perennial's training image")
    elif all(one.level == "ok" for one in files.values()):
        yield from _model(wish, ground)
    yield from _claims(ground.out)
    yield from _progress(ground.out)
    yield from _checkpoint(ground.out)


_REQUIRED = {MODEL_NAME: MODEL_BYTES_LIMIT, PARITY_NAME: PARITY_BYTES_LIMIT}


def _file(out: Path, name: str, limit: int) -> Finding:
    try:
        with opened(out, name, limit) as stream:
            facts = os.fstat(stream.fileno())
    except OutputError as error:
        return Finding("wrong", name, error.message)
    if not facts.st_mode & OTHERS:
        return Finding("wrong", name, "it may be read by its owner alone, and another user uploads it", "give it the mode 0644")
    if facts.st_size == 0:
        return Finding("wrong", name, "it has 0 bytes", "write it completely before the command ends")
    return Finding("ok", name, f"{facts.st_size:,} bytes")


def _has(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def _model(wish: Wish, ground: Ground) -> Iterator[Finding]:
    """Loads, takes the features, scores as the trainer did, and answers for what training rows do not hold."""
    import polars as pl  # noqa: PLC0415 - an image may have none

    from perennial_runtime import evaluate_sandbox as sandbox  # noqa: PLC0415 - needs polars
    from perennial_runtime.evaluate_child import ModelRefused  # noqa: PLC0415
    from perennial_runtime.evaluate_rows import read_table  # noqa: PLC0415
    from perennial_runtime.parity_check import difference  # noqa: PLC0415
    from perennial_runtime.scoring import score_columns, task_of  # noqa: PLC0415

    schema = json.loads(ground.params.read_text(encoding="utf-8"))
    try:
        told = score_columns(schema)
    except ValueError as error:
        yield Finding("wrong", ground.params.name, str(error), "let --only inputs write it, or write the classes in their order")
        return
    limits = sandbox.SandboxLimits.of_this_pod()
    rows = pl.read_parquet(ground.train).head(PARITY_ROWS)
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        schema_file = room / "schema.json"
        schema_file.write_text(json.dumps(schema), encoding="utf-8")
        tolerant = sandbox.Subject(ground.out / MODEL_NAME, schema_file, ALLOWED_DOMAINS, tolerant=True)
        tables = {"parity": [read_table(rows, schema)], **_strange(schema)}
        try:
            found = sandbox.score_in_sandbox(tolerant, tables, room, limits)
            if _unanswered(found["parity"]):  # NaN: once more, to be told why
                sandbox.score_in_sandbox(replace(tolerant, tolerant=False), tables, room, limits)
            task = task_of(schema)
            words = f"loads, takes the {len(schema['features'])} features, {_did(task)[0].format(rows.height)}"
            yield Finding("ok", MODEL_NAME, words)
            yield from _answers(found, _did(task)[2])
            yield from _order(schema, rows, found["parity"])
            expected = sandbox.parity_in_sandbox(ground.out / PARITY_NAME, rows.height, room, limits, told)
            worst = difference(expected, found["parity"], wish.max_difference, task)
            yield Finding("ok", PARITY_NAME, f"model.onnx {_did(task)[1]} as the trainer did, to {worst:.2g}")
        except ModelRefused as refused:
            of_parity = refused.reason.startswith("Parity")
            yield Finding("wrong", PARITY_NAME if of_parity else MODEL_NAME, f"{refused.reason}: {refused.message}")


def _unanswered(scores: Any) -> bool:
    """Of an array that the sandbox gave: some row has none."""
    return any(map(math.isnan, scores.ravel()))


def _strange(schema: dict[str, Any]) -> dict[str, Any]:
    """Rows as live requests may hold them, by the names of STRANGE."""
    import numpy as np  # noqa: PLC0415 - an image may have none

    from perennial_runtime.evaluate_columns import Table  # noqa: PLC0415

    def row(number: float, text: str) -> Table:
        numeric = {one["name"]: np.array([number]) for one in schema["features"] if one["kind"] == NUMERIC}
        texts = {one["name"]: ([text], np.zeros(1, dtype=np.int32)) for one in schema["features"] if one["kind"] != NUMERIC}
        return Table(rows=1, numbers=numeric, texts=texts)

    return {"missing": [row(float("nan"), "")], "unseen": [row(0.0, UNSEEN)]}


def _did(task: str) -> tuple[str, str, str]:
    """What a model for this task does: with so many rows, in a word, and what it gives."""
    if task == REGRESSION:
        return "predicts finite numbers for {} rows", "predicts", "finite number"
    if task == MULTICLASS:
        return "gives each of {} rows a probability of each class, 1 together", "answers", "probability"
    return "scores {} rows in [0, 1]", "scores", "probability"


def _order(schema: Mapping[str, Any], rows: Any, found: Any) -> Iterator[Finding]:
    """Of several classes: the training rows tell whether the model learnt another order than that of params.json."""
    import numpy as np  # noqa: PLC0415 - an image may have none

    from perennial_runtime.class_order import fits_better, moved  # noqa: PLC0415 - needs numpy
    from perennial_runtime.scoring import classes_of  # noqa: PLC0415

    label = schema.get("label")
    if not (classes := classes_of(schema)) or label not in rows.columns:  # --only outputs may judge a folder of anybody's
        return
    labels = rows[label].to_list()
    places = {name: place for place, name in enumerate(classes)}
    known = [row for row, label in enumerate(labels) if label in places]
    order = fits_better(np.array([places[labels[row]] for row in known], dtype=np.int64), found[known])
    if order is not None:
        pairs = moved(order, classes)
        some = ", ".join(f"column {column} looks like {name!r}" for column, name in pairs[:MOST_NAMED])
        more = f" and {len(pairs) - MOST_NAMED} more" if len(pairs) > MOST_NAMED else ""
        words = f"its probabilities are in another order than params.json's classes, by the labels of training rows: {some}{more}"
        yield Finding("wrong", MODEL_NAME, words, "put the columns in the order of params.json's classes, in parity.parquet too")


def _answers(found: Mapping[str, Any], what: str) -> Iterator[Finding]:
    """Serving sends a request's values as they are: what happens to them is part of the graph."""
    wrong = [case for name, case in STRANGE.items() if _unanswered(found[name])]
    for case in wrong:
        todo = "make what happens to them part of the graph, e.g. by an encoder with a value for the unknown"
        yield Finding("wrong", MODEL_NAME, f"it gives no {what} for a row {case}: live requests would fail", todo)
    if not wrong:
        yield Finding("ok", MODEL_NAME, "answers rows with missing values and with unseen texts")


def _claims(out: Path) -> Iterator[Finding]:
    try:
        with opened(out, METRICS_NAME, METRICS_BYTES_LIMIT):
            pass
    except OutputError as error:
        if error.reason == "OutputMissing":
            yield Finding("note", METRICS_NAME, "not written; it is optional, and shown as your claims")
        else:
            yield Finding("wrong", METRICS_NAME, error.message)
        return
    claims = read_claims(out)
    if claims:
        yield Finding("ok", METRICS_NAME, f"shown as claims: {', '.join(f'{name} {value:g}' for name, value in claims.items())}")
    else:
        words = "nothing of it would be shown: it is no JSON object of numbers with plain names"
        yield Finding("wrong", METRICS_NAME, words, 'write {"roc_auc": 0.71}, up to 8 finite numbers')


def _progress(out: Path) -> Iterator[Finding]:
    lines = [line for line in tail(out, PROGRESS_NAME, _LINE_BYTES).splitlines() if line.strip()]
    if not lines:
        yield Finding("note", PROGRESS_NAME, "not written; it is optional, and tells people how far it is")
        return
    newest = numbers(lines[-1])
    if newest:
        yield Finding("ok", PROGRESS_NAME, f"its newest line: {', '.join(f'{name} {value:g}' for name, value in newest.items())}")
    else:
        words = "its newest line is no JSON object of numbers on a line of its own"
        yield Finding("wrong", PROGRESS_NAME, words, 'append {"step": 3, "of": 10, "loss": 0.42} and a line feed')


def _checkpoint(out: Path) -> Iterator[Finding]:
    folder = out / CHECKPOINT_NAME
    if not folder.exists():
        yield Finding(
            "note", f"{CHECKPOINT_NAME}/", "not written; it is optional: without one, an attempt after an eviction begins anew"
        )
        return
    kept = names(folder, MOST_CHECKPOINT_FILES)
    left_out = sum(1 for _ in folder.iterdir()) - len(kept) if folder.is_dir() else 1
    if left_out:
        todo = f"write at most {MOST_CHECKPOINT_FILES} regular files into it, and no folders"
        yield Finding("wrong", f"{CHECKPOINT_NAME}/", f"{len(kept)} files are kept, {left_out} entries are left out", todo)
    else:
        yield Finding("ok", f"{CHECKPOINT_NAME}/", f"{len(kept)} files are kept")
