"""From a trainer's model to the files of the contract: model.onnx with the inputs that serving gives, and parity.parquet.

The recipes use it; a user's own training image does too (docs/file-contract.md):

    from perennial_runtime import export
    features = export.features(params)                     # of /perennial/params.json
    columns = export.columns(frame, features)              # training data under the null rules of serving
    export.export_sklearn(pipeline, features, Path("/perennial/out/model.onnx"), params.get("classes"))
    export.write_parity(pipeline.predict_proba(columns)[:512, 1], Path("/perennial/out/parity.parquet"))
    export.write_environment(Path("/perennial/out/environment.txt"))   # the packages that it ran with, for the record

model.onnx has one input for each feature, named as its column, [N, 1]: float for a numeric feature (missing is NaN), string for
a categorical one (missing is ""); and one output: `score`, [N], the probability of class 1, or, where params.json says that the
task is regression, `prediction`, [N], the number, or multiclass, `probabilities`, [N, K], in the order of its `classes`
(write_parity gets all of them then, and the task). What happens to missing and unseen
values is part of the graph. A model that is no scikit-learn pipeline writes the same inputs and output by other means, and
`check` tells whether it did: only `export_sklearn` and `convert` load scikit-learn and skl2onnx (`export_convert`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported, and at no other time

import numpy as np
import onnx
import onnxruntime
import polars as pl
from numpy.typing import NDArray

from perennial_runtime import environment
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, PROBABILITY, SCORE_OUTPUT, output_of
from perennial_runtime.export_model import (
    NUMERIC,
    OPSETS,
    ExportError,
    Feature,
    keep_prediction,
    keep_probabilities,
    keep_score,
)

__all__ = [
    "NUMERIC",
    "OPSETS",
    "ExportError",
    "Feature",
    "check",
    "columns",
    "convert",
    "export_sklearn",
    "features",
    "keep_prediction",
    "keep_probabilities",
    "keep_score",
    "write_environment",
    "write_parity",
]


def features(params: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features of params.json."""
    return tuple(Feature(str(item["name"]), str(item["kind"])) for item in params["features"])


def columns(frame: pl.DataFrame, wanted: Sequence[Feature]) -> pl.DataFrame:
    """The features of `frame` as the model gets them in serving: float32 with NaN for missing, text with "" for missing."""
    return frame.select(
        pl.col(feature.name).cast(pl.Float32).fill_null(float("nan"))
        if feature.kind == NUMERIC
        else pl.col(feature.name).cast(pl.String).fill_null("")
        for feature in wanted
    )


def export_sklearn(pipeline: Any, wanted: Sequence[Feature], path: Path, classes: Sequence[Any] | None = None) -> None:
    """Write a fitted classifier or regressor (a Pipeline whose first step takes the columns by name) to `path`, checked.
    `classes` are those of params.json, where there are several.

    The first step is usually a ColumnTransformer over the names of `wanted`; its steps may be those that skl2onnx converts,
    and `recipes.encoders`. Raises ExportError.
    """
    from perennial_runtime import export_convert  # noqa: PLC0415 - scikit-learn and skl2onnx take seconds to load

    task = export_convert.write(pipeline, wanted, path, classes)
    check(path, wanted, output_of(task))


def convert(model: Any, inputs: Sequence[tuple[str, Any]]) -> onnx.ModelProto:
    """A fitted classifier as ONNX with skl2onnx's own outputs (label, probabilities), or a regressor with its one output;
    `keep_score` and `keep_prediction` make them the contract's.

    `inputs` are skl2onnx's (name, type) pairs. Raises ExportError.
    """
    from perennial_runtime import export_convert  # noqa: PLC0415 - as above

    return export_convert.convert(model, inputs)


def write_parity(scores: NDArray[Any], path: Path, task: str = CLASSIFICATION) -> None:
    """parity.parquet: the trainer's own scores of the first rows of train.parquet, in their order; with the task regression its
    predictions, with multiclass the probabilities of all classes, [N, K]. Raises ExportError."""
    if task == MULTICLASS:
        table = np.asarray(scores, dtype=np.float64)
        if table.ndim != 2:
            raise ExportError(f"the scores of several classes have shape {list(table.shape)}: give all of predict_proba, [N, K]")
        named = {f"{PROBABILITY}{place}": table[:, place] for place in range(table.shape[1])}
        pl.DataFrame({"row": np.arange(len(table), dtype=np.int64), **named}).write_parquet(path)
        return
    column = np.asarray(scores, dtype=np.float64).reshape(-1)
    pl.DataFrame({"row": np.arange(len(column), dtype=np.int64), output_of(task): column}).write_parquet(path)


def write_environment(path: Path, revision: str | None = None) -> None:
    """environment.txt: the packages of this process with their versions, and the revision of your code; not given: what the
    variable PERENNIAL_CODE_REVISION says."""
    environment.write(path, revision)


def check(path: Path, wanted: Sequence[Feature], output: str = SCORE_OUTPUT) -> None:
    """Raise ExportError unless the model at `path` is valid ONNX with the inputs and the output of the contract."""
    try:
        onnx.checker.check_model(str(path))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the checker and onnxruntime raise classes of their extension modules
        raise ExportError(f"{path.name} is no valid ONNX model ({type(error).__name__}): {str(error)[:300]}") from error
    found = {node.name: node.type for node in session.get_inputs()}
    for feature in wanted:
        allowed = ("tensor(float)", "tensor(double)") if feature.kind == NUMERIC else ("tensor(string)",)
        if found.pop(feature.name, None) not in allowed:
            raise ExportError(
                f"{path.name} has no input {feature.name!r} of type {' or '.join(allowed)} ({feature.kind} feature)"
            )
    if found:
        raise ExportError(f"{path.name} has inputs that are no features: {', '.join(sorted(found))}")
    if output not in [node.name for node in session.get_outputs()]:
        raise ExportError(f"{path.name} has no output {output!r}")
