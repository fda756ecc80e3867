"""A fitted scikit-learn pipeline as model.onnx: skl2onnx, and the converters of `recipes.encoders`.

`export`, the door for trainers, imports it only when a pipeline is to be converted: scikit-learn and skl2onnx take seconds to
load, and a trainer that writes its model by other means needs neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import RegressorMixin
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION
from perennial_runtime.export_model import (
    MODEL_GRAPH,
    NUMERIC,
    OPSETS,
    ExportError,
    Feature,
    canonical,
    keep_prediction,
    keep_probabilities,
    keep_score,
)
from perennial_runtime.recipes.encoders import ClassRatesEncoder, RateEncoder, Standardizer

_KEEP = {CLASSIFICATION: keep_score, MULTICLASS: keep_probabilities, REGRESSION: keep_prediction}


def write(pipeline: Any, wanted: Sequence[Feature], path: Path, classes: Sequence[Any] | None) -> str:
    """Write a fitted pipeline with the contract's inputs and output to `path`; its task. Raises ExportError."""
    inputs = [(feature.name, _tensor(feature)) for feature in wanted]
    model = convert(pipeline, inputs)
    final = _last(pipeline)
    several = classes is not None or len(getattr(final, "classes_", ())) > 2
    if several:
        _check_classes(final, classes)
    task = REGRESSION if isinstance(final, RegressorMixin) else MULTICLASS if several else CLASSIFICATION
    _KEEP[task](model)
    path.write_bytes(canonical(model))
    return task


def convert(model: Any, inputs: Sequence[tuple[str, Any]]) -> onnx.ModelProto:
    """As `export.convert`. Raises ExportError."""
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


def _tensor(feature: Feature) -> Any:
    return FloatTensorType([None, 1]) if feature.kind == NUMERIC else StringTensorType([None, 1])


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
