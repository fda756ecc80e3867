"""Reads the trainer's own scores from its parity.parquet, in a process of its own under resource limits.

`perennial_runtime.evaluate_sandbox` starts `python -m perennial_runtime.parity_check <request.json>`, for any image may have
written the file (`evaluate_child`). The footer is judged first, and no other column than row and score (of a
regression: prediction; of several classes: probability_0 and so on) is ever decoded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.class_order import moved, same_in_another_order
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, PARITY_NAME, PROBABILITY, REGRESSION, SCORE_OUTPUT, output_of
from perennial_runtime.evaluate_child import ModelRefused, carry_out

PARITY_BYTES = 16 * 1024 * 1024
"""A file of 512 rows and two columns has a few kB, of 51 columns 200."""
SCORES_FILE = "parity.npy"
_LISTED = 5
SINGLE = 2e-6
"""Of the largest number, about sixteen steps of single precision: as near as a sum of many float32 is to the same in float64."""


def read_parity(path: Path, expected: int, columns: Sequence[str] = (SCORE_OUTPUT,)) -> NDArray[np.float64]:
    """The scores (predictions of a regression) of the rows 0 .. expected - 1, in order: [N], or of several columns [N, K]. Raises
    ModelRefused for anything else."""
    size = path.stat().st_size
    if size > PARITY_BYTES:
        raise broken(f"it has {size} bytes, for {len(columns) + 1} columns and {expected} rows", columns)
    try:
        _check_footer(path, expected, columns)
        frame = pl.read_parquet(path, columns=["row", *columns])
    except (pl.exceptions.PolarsError, OSError, ValueError, pl.exceptions.PanicException) as error:
        if isinstance(error, ModelRefused):
            raise
        raise broken(f"it can't be read as Parquet ({type(error).__name__})", columns) from None
    rows: NDArray[Any] = frame["row"].drop_nulls().sort().to_numpy()
    if not np.array_equal(rows, np.arange(expected)):
        raise broken(f"its column row is not exactly 0 .. {expected - 1}", columns)
    ordered = frame.sort("row")
    scores = [ordered[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in columns]
    wrong = [name for name, found in zip(columns, scores, strict=True) if not np.isfinite(found).all()]
    if wrong:
        raise broken(f"its column {wrong[0]} holds null, NaN or infinite values", columns)
    return scores[0] if len(columns) == 1 else np.stack(scores, axis=1)


def _check_footer(path: Path, expected: int, columns: Sequence[str]) -> None:
    kinds = pl.read_parquet_schema(path)
    missing = [name for name in ("row", *columns) if name not in kinds]
    if missing:
        raise broken(f"it has no column {' and no column '.join(missing[:_LISTED])}", columns)
    wrong = next((name for name in columns if not kinds[name].is_float()), columns[0])
    if not kinds["row"].is_integer() or not kinds[wrong].is_float():
        raise broken(f"its columns row and {wrong} are {kinds['row']} and {kinds[wrong]}, not int64 and float64", columns)
    rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())
    if rows != expected:
        raise broken(f"its column row is not exactly 0 .. {expected - 1} (it has {rows} rows)", columns)


def broken(what: str, columns: Sequence[str] = (SCORE_OUTPUT,)) -> ModelRefused:
    """The refusal of a parity file."""
    scores = columns[0] if len(columns) == 1 else f"{columns[0]} .. {columns[-1]}"
    return ModelRefused(
        "ParityBroken",
        f"{PARITY_NAME}: {what}; write columns row (int64) and {scores} (float64) for the first rows of train.parquet",
    )


def words_of(task: str) -> str:
    """What the answers of a model for this task are called."""
    return "probabilities" if task == MULTICLASS else f"{output_of(task)}s"


def nearest(numbers: NDArray[np.float64], limit: float, task: str) -> float:
    """The limit of a difference; of a regression, whose numbers have any size, no less than single precision can tell apart."""
    return max(limit, SINGLE * float(np.abs(numbers).max(initial=0.0))) if task == REGRESSION else limit


def difference(expected: NDArray[np.float64], found: NDArray[np.float64], limit: float, task: str = CLASSIFICATION) -> float:
    """How far the model's answers are from the trainer's own at most. Raises ModelRefused where that is over the limit."""
    distance = np.abs(expected - found).reshape(len(expected), -1).max(axis=1)
    worst, limit = float(distance.max()), nearest(expected, limit, task)
    if worst > limit:
        off = int((distance > limit).sum())
        raise ModelRefused(
            "ParityOff",
            f"the {words_of(task)} of model.onnx differ from the trainer's own (parity.parquet) by up to {worst:.3g} "
            f"in {off} of {len(expected)} rows, most in row {int(distance.argmax())}; the limit is {limit:g}: "
            f"{_why_off(expected, found, limit)}",
        )
    return worst


def _why_off(expected: NDArray[np.float64], found: NDArray[np.float64], limit: float) -> str:
    order = same_in_another_order(expected, found, limit)
    if order is None:
        return "the conversion to ONNX changed the model: correct it, or raise spec.evaluation.parity.maxAbsDifference"
    pairs = moved(order, [f"{PROBABILITY}{place}" for place in range(len(order))])
    some = ", ".join(f"{name} is the model's column {column}" for column, name in pairs[:_LISTED])
    return f"the columns are the same in another order ({some}): write both in the order of params.json's classes"


def _work(request: Mapping[str, Any], out: Path) -> None:
    np.save(out / SCORES_FILE, read_parity(Path(request["parity"]), int(request["rows"]), request["columns"]))


if __name__ == "__main__":
    carry_out(sys.argv[1], _work)
