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
`check` tells whether it did.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reads it when it is imported, and at no other time

import numpy as np
import onnx
import onnxruntime
import polars as pl
from numpy.typing import NDArray
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from perennial_runtime import environment
from perennial_runtime.contract import (
    CLASSIFICATION,
    MULTICLASS,
    PREDICTION_OUTPUT,
    PROBABILITIES_OUTPUT,
    PROBABILITY,
    REGRESSION,
    SCORE_OUTPUT,
    output_of,
)
from perennial_runtime.recipes.encoders import ClassRatesEncoder, RateEncoder, Standardizer

OPSETS = {"": 17, "ai.onnx.ml": 3}
NUMERIC = "numeric"
MODEL_GRAPH = "perennial"
"""Name of the graph: skl2onnx would draw one at random, and the same model would have another digest each time."""


class ExportError(ValueError):
    """The model can't be written as the contract says; the message tells why."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model: the column's name, and numeric or categorical."""

    name: str
    kind: str


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
    inputs = [(feature.name, _tensor(feature)) for feature in wanted]
    model = convert(pipeline, inputs)
    final = _last(pipeline)
    several = classes is not None or len(getattr(final, "classes_", ())) > 2
    if several:
        _check_classes(final, classes)
    task = REGRESSION if isinstance(final, RegressorMixin) else MULTICLASS if several else CLASSIFICATION
    _KEEP[task](model)
    path.write_bytes(_canonical(model))
    check(path, wanted, output_of(task))


def convert(model: Any, inputs: Sequence[tuple[str, Any]]) -> onnx.ModelProto:
    """A fitted classifier as ONNX with skl2onnx's own outputs (label, probabilities), or a regressor with its one output;
    `keep_score` and `keep_prediction` make them the contract's.

    `inputs` are skl2onnx's (name, type) pairs. Raises ExportError.
    """
    final = _last(model)
    if isinstance(final, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        thresholds_to_float32(final)
    _register()
    options = {} if isinstance(final, RegressorMixin) else {id(final): {"zipmap": False}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skl2onnx gives protobuf booleans for integers: its affair, not the user's
            converted: onnx.ModelProto = convert_sklearn(
                model, MODEL_GRAPH, initial_types=list(inputs), options=options, target_opset=OPSETS
            )
    except Exception as error:  # skl2onnx raises its own and Python's errors alike; the name of the type is what it tells
        raise ExportError(f"skl2onnx can't convert this pipeline ({type(error).__name__}): {str(error)[:300]}") from error
    return converted


def _check_classes(final: Any, classes: Sequence[Any] | None) -> None:
    """The model's columns are in the order of its own classes, which are the labels, or their places among `classes`."""
    found = np.asarray(final.classes_).tolist()
    if classes is not None and found not in (list(classes), list(range(len(classes)))):
        raise ExportError(
            f"the model tells {len(found)} classes apart ({str(found)[:100]}), and params.json has {len(classes)} "
            f"({str(list(classes))[:100]}): fit it to the label of train.parquet as it is, or to each label's place in `classes`"
        )


def _last(model: Any) -> Any:
    """The step of a pipeline that predicts."""
    return model.steps[-1][1] if hasattr(model, "steps") else model


def _canonical(model: onnx.ModelProto) -> bytes:
    """The same bytes for the same model: skl2onnx lists operator sets in the order of a Python set, another in each process."""
    known = sorted(model.opset_import, key=lambda entry: entry.domain)
    del model.opset_import[:]
    model.opset_import.extend(known)
    return bytes(model.SerializeToString(deterministic=True))


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


def _tensor(feature: Feature) -> Any:
    return FloatTensorType([None, 1]) if feature.kind == NUMERIC else StringTensorType([None, 1])


def keep_score(model: onnx.ModelProto) -> None:
    """Replace the outputs (label, probabilities [N, 2]) by the probability of class 1."""
    names = [output.name for output in model.graph.output]
    probabilities = names[-1]
    model.graph.initializer.append(helper.make_tensor("score_column", TensorProto.INT64, [], [1]))
    model.graph.node.append(helper.make_node("Gather", [probabilities, "score_column"], [SCORE_OUTPUT], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(SCORE_OUTPUT, TensorProto.FLOAT, [None]))


def keep_prediction(model: onnx.ModelProto) -> None:
    """Replace the one output [N, 1] by the contract's, [N]."""
    (found,) = [output.name for output in model.graph.output]
    model.graph.initializer.append(helper.make_tensor("prediction_shape", TensorProto.INT64, [1], [-1]))
    model.graph.node.append(helper.make_node("Reshape", [found, "prediction_shape"], [PREDICTION_OUTPUT]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(PREDICTION_OUTPUT, TensorProto.FLOAT, [None]))


def keep_probabilities(model: onnx.ModelProto) -> None:
    """Keep the probabilities of all classes, [N, K], of the outputs (label, probabilities)."""
    found = model.graph.output[-1]
    if found.name != PROBABILITIES_OUTPUT:
        model.graph.node.append(helper.make_node("Identity", [found.name], [PROBABILITIES_OUTPUT]))
    width = [None, found.type.tensor_type.shape.dim[1].dim_value or None]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(PROBABILITIES_OUTPUT, TensorProto.FLOAT, width))


_KEEP = {CLASSIFICATION: keep_score, MULTICLASS: keep_probabilities, REGRESSION: keep_prediction}


def thresholds_to_float32(model: HistGradientBoostingClassifier | HistGradientBoostingRegressor) -> None:
    """Round every threshold down to a float32: for float32 inputs each comparison stays as it was, in the graph too.

    A threshold lies between two float32 values of the training data. Rounded to nearest, as the conversion does, it could meet
    the upper one, which then changes sides.
    """
    for stage in model._predictors:
        for tree in stage:
            exact = tree.nodes["num_threshold"]
            rounded = exact.astype(np.float32)
            above = rounded.astype(np.float64) > exact
            tree.nodes["num_threshold"] = np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _register() -> None:
    update_registered_converter(RateEncoder, "PerennialRateEncoder", _same_width, _convert_rates, overwrite=True)
    update_registered_converter(ClassRatesEncoder, "PerennialClassRates", _width_of_rates, _convert_class_rates, overwrite=True)
    update_registered_converter(Standardizer, "PerennialStandardizer", _double_width, _convert_standardizer, overwrite=True)


def _same_width(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.n_features_in_])


def _width_of_rates(operator: Any) -> None:
    encoder = operator.raw_operator
    operator.outputs[0].type = FloatTensorType([None, encoder.n_features_in_ * len(encoder.classes_)])


def _double_width(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType([None, 2 * operator.raw_operator.n_features_in_])


def _convert_rates(scope: Any, operator: Any, container: Any) -> None:
    encoder: RateEncoder = operator.raw_operator
    source = _joined(scope, operator, container)
    outputs = []
    for index, rates in enumerate(encoder.rates_):
        column = _column(scope, container, source, index)
        outputs.append(scope.get_unique_variable_name("rate"))
        container.add_node(
            "LabelEncoder",
            column,
            outputs[-1],
            op_domain="ai.onnx.ml",
            op_version=2,
            name=scope.get_unique_operator_name("rates"),
            keys_strings=list(rates),
            values_floats=[float(rate) for rate in rates.values()],
            default_float=float(encoder.default_),
        )
    container.add_node(
        "Concat", outputs, operator.outputs[0].full_name, op_version=13, name=scope.get_unique_operator_name("rates_all"), axis=1
    )


def _convert_class_rates(scope: Any, operator: Any, container: Any) -> None:
    """Each column: text -> its place among the known ones -> that row of the table of rates."""
    encoder: ClassRatesEncoder = operator.raw_operator
    source = _joined(scope, operator, container)
    outputs = []
    for index, (words, rates) in enumerate(zip(encoder.words_, encoder.rates_, strict=True)):
        column, place, table, rate = (str(scope.get_unique_variable_name(name)) for name in ("column", "place", "table", "rate"))
        container.add_initializer(f"{column}_index", TensorProto.INT64, [], [index])
        container.add_initializer(table, TensorProto.FLOAT, list(rates.shape), [float(value) for value in rates.ravel()])
        pick, look, read = (scope.get_unique_operator_name(name) for name in ("pick", "places", "rates"))
        container.add_node("Gather", [source, f"{column}_index"], column, op_version=13, name=pick, axis=1)
        container.add_node(
            "LabelEncoder",
            column,
            place,
            op_domain="ai.onnx.ml",
            op_version=2,
            name=look,
            keys_strings=words,
            values_int64s=list(range(len(words))),
            default_int64=len(words),
        )
        container.add_node("Gather", [table, place], rate, op_version=13, name=read, axis=0)
        outputs.append(rate)
    container.add_node(
        "Concat", outputs, operator.outputs[0].full_name, op_version=13, name=scope.get_unique_operator_name("rates_all"), axis=1
    )


def _convert_standardizer(scope: Any, operator: Any, container: Any) -> None:
    standardizer: Standardizer = operator.raw_operator
    source = _joined(scope, operator, container)

    def constant(name: str, values: NDArray[np.float32]) -> str:
        unique = str(scope.get_unique_variable_name(name))
        container.add_initializer(unique, TensorProto.FLOAT, list(values.shape), [float(value) for value in values.ravel()])
        return unique

    def node(kind: str, inputs: list[str], version: int, **attributes: Any) -> str:
        output = str(scope.get_unique_variable_name(kind.lower()))
        container.add_node(
            kind, inputs, output, op_version=version, name=scope.get_unique_operator_name(kind.lower()), **attributes
        )
        return output

    missing = node("IsNaN", [source], 13)
    centred = node("Sub", [source, constant("mean", standardizer.mean_)], 14)
    scaled = node("Div", [centred, constant("scale", standardizer.scale_)], 14)
    values = node("Where", [missing, constant("zero", np.zeros(1, dtype=np.float32)), scaled], 9)
    flags = node("Cast", [missing], 13, to=TensorProto.FLOAT)
    container.add_node(
        "Concat",
        [values, flags],
        operator.outputs[0].full_name,
        op_version=13,
        name=scope.get_unique_operator_name("standardized"),
        axis=1,
    )


def _joined(scope: Any, operator: Any, container: Any) -> str:
    """The operator's inputs as one matrix (a ColumnTransformer may hand over one or several)."""
    names = [str(variable.full_name) for variable in operator.inputs]
    if len(names) == 1:
        return names[0]
    joined = str(scope.get_unique_variable_name("joined"))
    container.add_node("Concat", names, joined, op_version=13, name=scope.get_unique_operator_name("joined"), axis=1)
    return joined


def _column(scope: Any, container: Any, source: str, index: int) -> str:
    place, column = (str(scope.get_unique_variable_name(name)) for name in ("place", "column"))
    container.add_initializer(place, TensorProto.INT64, [1], [index])
    container.add_node("Gather", [source, place], column, op_version=13, name=scope.get_unique_operator_name("pick"), axis=1)
    return column
