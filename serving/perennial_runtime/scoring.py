"""Columns of values -> the ONNX model's inputs -> probabilities, or the numbers of a regression, by training's rules for nulls.

`perennial_runtime.onnx_check`, `evaluate` and `golden` score whole files through it, `service` scores requests through it, so a
value can't be prepared one way offline and another way online. numpy and onnxruntime only: it is loaded by every serving pod.

Rules: a numeric null is NaN, a categorical null is the empty string; every input is [N, 1], float32 unless the model declares
a double, or string.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported, and at no other time

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from perennial_runtime.contract import (
    CLASSIFICATION,
    FEWEST_CLASSES,
    MOST_CLASSES,
    MULTICLASS,
    PREDICTION_OUTPUT,
    PROBABILITIES_OUTPUT,
    PROBABILITY,
    REGRESSION,
    SCORE_OUTPUT,
    output_of,
)

Schema = Mapping[str, Any]
"""schema.json as a document: label, features [{name, kind, nullable, ...}], time, id; task, and the classes of several."""
Classes = tuple[str, ...] | tuple[int, ...]
"""The labels that a model of several classes tells apart, in the order of its probabilities."""
Columns = Mapping[str, "Sequence[Any] | NDArray[Any]"]
Feeds = dict[str, NDArray[Any]]

NUMERIC = "numeric"
CATEGORICAL = "categorical"
BATCH = 65_536
"""Rows of one onnxruntime call: bounds the memory of scoring a whole holdout."""
SUM_TOLERANCE = 1e-3
"""By so much a row's probabilities may sum to more or less than 1: they are float32, and a class may be of 50."""


class ScoreError(ValueError):
    """The model answered something that is no probability (or number) for each row, or could not answer at all."""


def read_schema(path: Path) -> dict[str, Any]:
    """schema.json."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def numeric(values: Sequence[Any] | NDArray[Any], wide: bool) -> NDArray[Any]:
    """Numbers, booleans and None as [N, 1] floats; None is NaN; too large for float32 is infinite, as in training."""
    dtype = np.float64 if wide else np.float32
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float64).astype(dtype).reshape(-1, 1)


def categorical(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Strings and None as [N, 1] strings; None is the empty string. What is [N, 1] strings already is not looked at again."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return values
    column = np.empty((len(values), 1), dtype=object)
    column[:, 0] = ["" if value is None else str(value) for value in values]
    return column


def feeds(schema: Schema, columns: Columns, wide: Collection[str] = ()) -> Feeds:
    """The model's inputs from columns by name; columns that are no features are left out, `wide` names the double inputs."""
    return {
        feature["name"]: numeric(columns[feature["name"]], feature["name"] in wide)
        if feature["kind"] == NUMERIC
        else categorical(columns[feature["name"]])
        for feature in schema["features"]
    }


def open_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on the CPU with bounded threads that sleep when idle (the default takes every core of the host and spins)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # fatal only: an error line may quote a value of the request, and comes with each
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def wide_inputs(session: onnxruntime.InferenceSession) -> frozenset[str]:
    """Names of the inputs that the model declares as double."""
    return frozenset(node.name for node in session.get_inputs() if node.type == "tensor(double)")


def task_of(schema: Schema) -> str:
    """What the model of this data predicts; a schema that was written before there was more than one kind says nothing."""
    return str(schema.get("task", CLASSIFICATION))


def classes_of(schema: Schema) -> Classes:
    """The classes of a model of several, in the order of its probabilities; none of any other. Raises ValueError where a schema
    (anybody may have written a Bento) has none that could be."""
    if task_of(schema) != MULTICLASS:
        return ()
    found = schema.get("classes")
    if not isinstance(found, list) or not FEWEST_CLASSES <= len(found) <= MOST_CLASSES:
        raise ValueError(f"the schema of several classes lists no {FEWEST_CLASSES} to {MOST_CLASSES} classes")
    words, whole = [one for one in found if type(one) is str], [one for one in found if type(one) is int]
    if len(found) not in (len(set(words)), len(set(whole))):
        raise ValueError("the schema's classes are neither different texts nor different whole numbers")
    return tuple(words) if words else tuple(whole)


def score_columns(schema: Schema) -> tuple[str, ...]:
    """What a row's scores are called in a table: one name, or probability_0 and so on, in the order of the classes."""
    classes = classes_of(schema)
    return tuple(f"{PROBABILITY}{place}" for place in range(len(classes))) or (output_of(task_of(schema)),)


class Scorer:
    """A loaded model that turns columns of feature values into probabilities of the positive class, or of each of several, or
    into predicted numbers."""

    def __init__(self, path: Path, schema: Schema, threads: int = 1) -> None:
        self._schema = schema
        self._task = task_of(schema)
        self._classes = len(classes_of(schema))
        self._session = open_session(path, threads)
        self._wide = wide_inputs(self._session)

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Probabilities or numbers, one for each row ([N]), or of several classes one for each row and class ([N, K]). Raises
        ScoreError when the model fails or answers anything else."""
        inputs = feeds(self._schema, columns, self._wide)
        rows = len(next(iter(inputs.values())))
        parts = [
            self._batch({name: column[start : start + BATCH] for name, column in inputs.items()})
            for start in range(0, max(rows, 1), BATCH)
        ]
        return np.concatenate(parts)

    def _batch(self, inputs: Feeds) -> NDArray[np.float64]:
        rows = len(next(iter(inputs.values())))
        try:
            answer = np.asarray(self._session.run([output_of(self._task)], inputs)[0])
        except Exception as error:  # noqa: BLE001
            # onnxruntime raises classes of its own extension module; its text may quote a value of the row: only the kind is told
            raise ScoreError(f"the model failed on a batch of {rows} rows ({type(error).__name__})") from None
        if self._task == MULTICLASS:
            return distributions(answer, rows, self._classes)
        return numbers(answer, rows, PREDICTION_OUTPUT) if self._task == REGRESSION else probabilities(answer, rows)


def probabilities(answer: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """The output `score` as float64 [rows]; raises ScoreError unless it is one finite number in [0, 1] for each row."""
    scores = numbers(answer, rows, SCORE_OUTPUT)
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        count = int(outside.sum())
        raise ScoreError(f"output {SCORE_OUTPUT!r} is outside [0, 1] for {count} of {rows} rows: it must be a probability")
    return scores


def distributions(answer: NDArray[Any], rows: int, classes: int) -> NDArray[np.float64]:
    """The output `probabilities` as float64 [rows, classes]; raises ScoreError unless each row is a distribution."""
    name = PROBABILITIES_OUTPUT
    if answer.shape != (rows, classes):
        shape = list(answer.shape)
        raise ScoreError(f"output {name!r} has shape {shape} for {rows} rows and {classes} classes: make it [N, {classes}]")
    found = answer.astype(np.float64)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise ScoreError(f"output {name!r} is NaN or infinite for {int((~finite).sum())} of {rows} rows")
    outside = ((found < 0) | (found > 1)).any(axis=1)
    if outside.any():
        raise ScoreError(f"output {name!r} is outside [0, 1] for {int(outside.sum())} of {rows} rows: each is a probability")
    off = np.abs(found.sum(axis=1) - 1) > SUM_TOLERANCE
    if off.any():
        raise ScoreError(
            f"output {name!r} does not sum to 1 (within {SUM_TOLERANCE:g}) in {int(off.sum())} of {rows} rows: each row must "
            "hold the probabilities of all classes"
        )
    return found


def numbers(answer: NDArray[Any], rows: int, output: str) -> NDArray[np.float64]:
    """An output as float64 [rows]; raises ScoreError unless it is one finite number for each row."""
    if answer.shape not in ((rows,), (rows, 1)):
        raise ScoreError(f"output {output!r} has shape {list(answer.shape)} for {rows} rows: make it [N] or [N, 1]")
    found = answer.reshape(-1).astype(np.float64)
    finite = np.isfinite(found)
    if not finite.all():
        raise ScoreError(f"output {output!r} is NaN or infinite for {int((~finite).sum())} of {rows} rows")
    return found
