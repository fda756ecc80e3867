"""Probabilities of several classes: what of a model's answers is taken, what of a schema and of a trainer's own scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, parity_in_sandbox, score_in_sandbox
from perennial_runtime.onnx_check import check, score_tables
from perennial_runtime.parity_check import difference, read_parity
from perennial_runtime.scoring import Scorer, classes_of, score_columns

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
SCHEMA: dict[str, Any] = {
    "label": "kind",
    "task": "multiclass",
    "classes": ["bird", "cat", "dog"],
    "features": [{"name": "size", "kind": "numeric", "nullable": False}],
}
COLUMNS = ("probability_0", "probability_1", "probability_2")
SIZES = [0.0, 1.0, -2.5, 30.0]


def model(last: str = "Softmax", output: str = "probabilities", width: int | None = 3, classes: int = 3) -> onnx.ModelProto:
    """probabilities = softmax(size * (0, 1, 2) + (0.1, 0, -0.1)), or whatever `last` makes of these numbers."""
    attributes: dict[str, Any] = {"axis": 1} if last == "Softmax" else {}
    nodes = [
        helper.make_node("Mul", ["size", "slopes"], ["part"]),
        helper.make_node("Add", ["part", "shifts"], ["logits"]),
        helper.make_node(last, ["logits"], [output], **attributes),
    ]
    constants = [
        helper.make_tensor("slopes", TensorProto.FLOAT, [1, classes], [float(place) for place in range(classes)]),
        helper.make_tensor("shifts", TensorProto.FLOAT, [1, classes], [0.1 - 0.1 * place for place in range(classes)]),
    ]
    graph = helper.make_graph(
        nodes,
        "animals",
        [helper.make_tensor_value_info("size", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N"] if width is None else ["N", width])],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )


def expected(sizes: list[float]) -> np.ndarray[Any, Any]:
    logits = np.outer(sizes, np.arange(3.0)) + np.array([0.1, 0.0, -0.1])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray[Any, Any] = powers / powers.sum(axis=1, keepdims=True)
    return found


def stored(folder: Path, body: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(body.SerializeToString())
    return path


def table(sizes: list[float]) -> Table:
    return Table(rows=len(sizes), numbers={"size": np.array(sizes)}, texts={})


def told(columns: dict[str, Any] | None = None) -> pl.DataFrame:
    scores = expected(np.linspace(-3, 3, 16).tolist())
    return pl.DataFrame({"row": np.arange(16), **dict(zip(COLUMNS, scores.T, strict=True)), **(columns or {})})


def test_a_row_has_a_probability_for_each_class_in_their_order(tmp_path: Path) -> None:
    path = stored(tmp_path, model())
    check(path, SCHEMA, DOMAINS)
    found = Scorer(path, SCHEMA).score({"size": SIZES})
    assert found.shape == (4, 3)
    assert found.dtype == np.float64
    assert found == pytest.approx(expected(SIZES), abs=1e-6)


def test_tables_of_several_parts_come_out_of_the_sandbox_as_one(tmp_path: Path) -> None:
    path, schema = stored(tmp_path, model()), tmp_path / "schema.json"
    schema.write_text('{"task": "multiclass", "classes": [1, 2, 30], "features": [{"name": "size", "kind": "numeric"}]}')
    tables = {"some": [table(SIZES), table([2.0])], "none": []}
    found = score_in_sandbox(Subject(path, schema, DOMAINS), tables, tmp_path, SandboxLimits())
    assert found["some"] == pytest.approx(expected([*SIZES, 2.0]), abs=1e-6)
    assert found["none"].shape == (0, 3)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("Identity", r"outside \[0, 1\] for 4 of 4 rows"),
        ("Sigmoid", r"does not sum to 1 \(within 0\.001\) in 4 of 4 rows"),
        ("Sqrt", "NaN or infinite for 3 of 4 rows"),
    ],
)
def test_rows_that_are_no_distribution_are_refused_with_their_count(last: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=words) as caught:
        score_tables(stored(tmp_path, model(last)), SCHEMA, {"all": [table([0.0, 1.0, -2.5, -9.0])]}, tolerant=False)
    assert caught.value.reason == "ScoresInvalid"


def test_a_row_that_the_champion_can_not_answer_is_nan_in_every_class(tmp_path: Path) -> None:
    found = score_tables(stored(tmp_path, model()), SCHEMA, {"all": [table([0.0, float("nan"), 1.0])]}, tolerant=True)["all"]
    assert np.isnan(found).tolist() == [[False] * 3, [True] * 3, [False] * 3]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (model(output="score"), r"no output named 'probabilities' \(it has score\): it is the probability of each class"),
        (model(width=4, classes=4), r"has shape \[N, 4\] or holds no floats: make it \[N, 3\]"),
        (model(width=None), r"has shape \[N\] or holds no floats: make it \[N, 3\]"),
    ],
    ids=["another name", "another number of classes", "one number a row"],
)
def test_a_model_without_a_probability_of_each_class_is_refused(body: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=words) as caught:
        check(stored(tmp_path, body), SCHEMA, DOMAINS)
    assert caught.value.reason == "OnnxProbabilitiesMissing"


def test_a_model_that_says_nothing_of_its_width_is_refused_when_it_answers_another(tmp_path: Path) -> None:
    body = model(classes=4)
    body.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "K"
    path = stored(tmp_path, body)
    check(path, SCHEMA, DOMAINS)
    with pytest.raises(ModelRefused, match=r"has shape \[2, 4\] for 2 rows and 3 classes: make it \[N, 3\]"):
        score_tables(path, SCHEMA, {"all": [table([0.0, 1.0])]}, tolerant=False)


# ---- what a schema says ----


def test_a_schema_names_its_classes_and_only_where_there_are_several() -> None:
    assert classes_of(SCHEMA) == ("bird", "cat", "dog")
    assert classes_of({**SCHEMA, "classes": [-1, 0, 7]}) == (-1, 0, 7)
    assert classes_of({"features": [], "classes": ["of", "no", "use"]}) == ()
    assert score_columns(SCHEMA) == COLUMNS
    assert score_columns({"features": []}) == ("score",)
    assert score_columns({"features": [], "task": "regression"}) == ("prediction",)


@pytest.mark.parametrize(
    "classes",
    [
        None,
        "abc",
        ["a", "b"],
        [f"c{place}" for place in range(51)],
        ["a", "b", "a"],
        ["a", 1, "c"],
        [True, 1, 2],
        [1.0, 2.0, 3.0],
    ],
)
def test_classes_that_could_not_be_are_an_error(classes: Any) -> None:
    with pytest.raises(ValueError, match="classes"):
        classes_of({**SCHEMA, "classes": classes})


# ---- what the trainer says ----


def test_the_trainers_probabilities_come_out_in_the_order_of_rows_and_classes(tmp_path: Path) -> None:
    path = tmp_path / "parity.parquet"
    told().sample(fraction=1.0, shuffle=True, seed=7).write_parquet(path)
    found = parity_in_sandbox(path, 16, tmp_path, SandboxLimits(), COLUMNS)
    assert found == pytest.approx(expected(np.linspace(-3, 3, 16).tolist()))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (told().drop("probability_1", "probability_2"), "it has no column probability_1 and no column probability_2"),
        (told({"probability_2": ["x"] * 16}), "its columns row and probability_2 are Int64 and String"),
        (told({"probability_1": [None, *[0.5] * 15]}), "its column probability_1 holds null, NaN or infinite values"),
    ],
    ids=["absent", "text", "null"],
)
def test_a_parity_file_without_all_classes_is_refused(frame: pl.DataFrame, words: str, tmp_path: Path) -> None:
    frame.write_parquet(tmp_path / "parity.parquet")
    with pytest.raises(ModelRefused, match=words) as caught:
        read_parity(tmp_path / "parity.parquet", 16, COLUMNS)
    assert "write columns row (int64) and probability_0 .. probability_2 (float64)" in caught.value.message


def test_parity_is_the_largest_difference_over_all_rows_and_classes() -> None:
    ours = expected(SIZES)
    theirs = ours + np.array([[0, 0, 0], [0, 3e-5, 0], [-2e-5, 0, 0], [0, 0, 0]])
    assert difference(ours, theirs, 1e-4, "multiclass") == pytest.approx(3e-5)
    with pytest.raises(ModelRefused, match=r"the probabilities of model\.onnx differ") as caught:
        difference(ours, theirs, 1e-5, "multiclass")
    assert "by up to 3e-05 in 2 of 4 rows, most in row 1" in caught.value.message
