"""The recipes and the export: what the trainer computes, the ONNX graph computes, for every value that serving may send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from perennial_runtime import export
from perennial_runtime.answers import Refused
from perennial_runtime.contract import HYPERPARAMETERS
from perennial_runtime.recipes import models
from perennial_runtime.recipes.encoders import RateEncoder
from perennial_runtime.recipes.hyperparameters import resolve
from perennial_runtime.recipes.train import train
from perennial_runtime.scoring import Scorer
from runtime.steps_world import frame

FEATURES = (export.Feature("delay", "numeric"), export.Feature("carrier", "categorical"))
PARAMS: dict[str, Any] = {
    "task": "classification",
    "features": [{"name": feature.name, "kind": feature.kind} for feature in FEATURES],
    "label": "late",
    "time": "at",
    "seed": 7,
    "hyperparameters": {"max_iter": 10},
    "parity": {"rows": 512},
}
STRANGE = {
    "delay": [None, 1e30, -1e30, 0.1, 10.0, -0.0, None, 3e38],
    "carrier": ["AA", None, "never seen", "", "B6", "UA", "ünseen", "aa"],
}
ALGORITHMS = sorted(HYPERPARAMETERS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So little data is not worth a second one, and two would wait for each other on a busy machine."""
    with threadpool_limits(1):
        yield


def run(folder: Path, algorithm: str, data: pl.DataFrame, **changes: object) -> Path:
    (folder / "params.json").write_text(json.dumps({**PARAMS, **changes}))
    data.write_parquet(folder / "train.parquet")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    train(algorithm, folder / "params.json", folder / "train.parquet", out)
    return out


def fitted(algorithm: str, data: pl.DataFrame) -> Pipeline:
    chosen = resolve(algorithm, {"max_iter": 10})
    rows = models.Rows(export.columns(data, FEATURES), data["late"].to_numpy())
    return models.fit(algorithm, FEATURES, chosen, seed=7, data=rows, report=lambda *_: None)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_recipe_keeps_the_file_contract(tmp_path: Path, algorithm: str) -> None:
    data = frame(1500)
    out = run(tmp_path, algorithm, data)
    scores = Scorer(out / "model.onnx", PARAMS).score({name: data[name].to_list() for name in ("delay", "carrier")})
    parity = pl.read_parquet(out / "parity.parquet")
    claims = json.loads((out / "metrics.json").read_text())
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert parity["row"].to_list() == list(range(512))
    assert np.abs(parity["score"].to_numpy() - scores[:512]).max() < 1e-5
    assert claims["roc_auc"] > 0.7
    assert lines[-1]["step"] == lines[-1]["of"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_missing_unseen_and_extreme_values_score_in_onnx_as_in_the_trainer(tmp_path: Path, algorithm: str) -> None:
    pipeline = fitted(algorithm, frame(1500))
    export.export_sklearn(pipeline, FEATURES, tmp_path / "model.onnx")
    strange = pl.DataFrame(STRANGE, schema={"delay": pl.Float64, "carrier": pl.String})
    expected = pipeline.predict_proba(export.columns(strange, FEATURES))[:, 1]
    scores = Scorer(tmp_path / "model.onnx", PARAMS).score(STRANGE)
    assert np.abs(scores - expected).max() < 1e-5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_and_rows_give_the_same_model(tmp_path: Path, algorithm: str) -> None:
    models_made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        models_made.append((run(tmp_path / name, algorithm, frame(800)) / "model.onnx").read_bytes())
    assert models_made[0] == models_made[1]


def test_operator_sets_are_listed_in_one_order_whatever_the_process_hashes(tmp_path: Path) -> None:
    out = run(tmp_path, "gradient-boosting", frame(800))
    listed = [entry.domain for entry in onnx.load(out / "model.onnx").opset_import]
    assert listed == sorted(listed)
    assert len(listed) > 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_older_rows_of_one_class_make_a_model_without_claims(tmp_path: Path, algorithm: str) -> None:
    data = frame(600).with_columns(late=pl.when(pl.col("minute") >= 560).then("late").otherwise(0))
    out = run(tmp_path, algorithm, data)
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert json.loads((out / "metrics.json").read_text()) == {"inner_rows": 60.0}
    assert lines[-1]["step"] == lines[-1]["of"]
    assert Scorer(out / "model.onnx", PARAMS).score({"delay": [90.0], "carrier": ["AA"]})[0] > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kept", FEATURES)
def test_data_of_one_kind_of_column_only_is_fine(tmp_path: Path, algorithm: str, kept: export.Feature) -> None:
    features = [{"name": kept.name, "kind": kept.kind}]
    out = run(tmp_path, algorithm, frame(400), features=features)
    session_inputs = [node.name for node in onnx.load(out / "model.onnx").graph.input]
    assert session_inputs == [kept.name]


def test_rare_categories_share_the_average_rate() -> None:
    words = np.array([["a"]] * 60 + [["b"]] * 30 + [["c"]] * 5, dtype=object)
    labels = np.array([1] * 30 + [0] * 65)
    encoder = RateEncoder(most=2, smoothing=10).fit(words, labels)
    codes = encoder.transform(np.array([["a"], ["b"], ["c"], ["d"], [""]], dtype=object))[:, 0]
    average = labels.mean()
    assert codes[0] == pytest.approx((30 + 10 * average) / 70)
    assert codes[1] == pytest.approx((10 * average) / 40)
    assert codes[2:].tolist() == pytest.approx([average] * 3)


def test_a_threshold_between_neighbouring_float32_numbers_keeps_its_sides(tmp_path: Path) -> None:
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    data = pl.DataFrame({"delay": pl.Series([low, high] * 100, dtype=pl.Float32), "late": [0, 1] * 100})
    model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5, early_stopping=False)
    pipeline = Pipeline([("columns", ColumnTransformer([("numeric", "passthrough", ["delay"])])), ("model", model)])
    features = FEATURES[:1]
    columns = export.columns(data, features)
    pipeline.fit(columns, data["late"].to_numpy())
    expected = pipeline.predict_proba(columns)[:, 1]
    export.export_sklearn(pipeline, features, tmp_path / "model.onnx")
    schema = {"features": [{"name": "delay", "kind": "numeric"}]}
    scores = Scorer(tmp_path / "model.onnx", schema).score({"delay": data["delay"].to_list()})
    assert np.abs(scores - expected).max() < 1e-6
    assert expected[1] - expected[0] > 0.1


def test_a_user_may_export_a_pipeline_of_plain_scikit_learn(tmp_path: Path) -> None:
    data = frame(500)
    hot = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("numbers", SimpleImputer(), ["delay"]), ("words", hot, ["carrier"])])
    pipeline = Pipeline([("columns", columns), ("model", LogisticRegression())])
    prepared = export.columns(data, FEATURES)
    pipeline.fit(prepared, data["late"].to_numpy())
    export.export_sklearn(pipeline, FEATURES, tmp_path / "model.onnx")
    scores = Scorer(tmp_path / "model.onnx", PARAMS).score({name: data[name].to_list() for name in ("delay", "carrier")})
    assert np.abs(scores - pipeline.predict_proba(prepared)[:, 1]).max() < 1e-5


def test_the_check_tells_what_a_model_lacks(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export.export_sklearn(fitted("logistic-regression", frame(300)), FEATURES, path)
    with pytest.raises(export.ExportError, match="no input 'hour'"):
        export.check(path, (*FEATURES, export.Feature("hour", "numeric")))
    with pytest.raises(export.ExportError, match="are no features: carrier"):
        export.check(path, FEATURES[:1])
    path.write_bytes(b"not a model")
    with pytest.raises(export.ExportError, match="no valid ONNX"):
        export.check(path, FEATURES)


def test_a_pipeline_that_cannot_be_converted_is_told(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="can't convert"):
        export.export_sklearn(Pipeline([("model", object())]), FEATURES, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("algorithm", "given", "reason", "word"),
    [
        ("gradient-boosting", {"depth": 3.0}, "HyperparameterUnknown", "learning_rate"),
        ("gradient-boosting", {"learning_rate": 7.0}, "HyperparameterOutOfRange", "0.001 to 1"),
        ("gradient-boosting", {"max_iter": 10.5}, "HyperparameterOutOfRange", "whole"),
        ("logistic-regression", {"learning_rate": 0.1}, "HyperparameterUnknown", "C, max_iter"),
        ("forest", {}, "AlgorithmUnknown", "gradient-boosting or logistic-regression"),
    ],
)
def test_a_wrong_hyperparameter_is_refused_by_name(algorithm: str, given: dict[str, float], reason: str, word: str) -> None:
    with pytest.raises(Refused) as caught:
        resolve(algorithm, given)
    assert caught.value.reason == reason
    assert word in caught.value.message


def test_whole_hyperparameters_arrive_as_integers() -> None:
    assert resolve("gradient-boosting", {"max_iter": 30.0})["max_iter"] == 30
    assert isinstance(resolve("gradient-boosting", {})["max_leaf_nodes"], int)
