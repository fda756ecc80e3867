"""The recipes for several classes: what scikit-learn answers, fitted to the same rows and labels, model.onnx answers too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder
from threadpoolctl import threadpool_limits

from perennial_runtime import export
from perennial_runtime.answers import Refused
from perennial_runtime.contract import HYPERPARAMETERS
from perennial_runtime.parity_check import read_parity
from perennial_runtime.recipes import models
from perennial_runtime.recipes.encoders import MOST_RATES, ClassRatesEncoder, Standardizer
from perennial_runtime.recipes.train import train
from perennial_runtime.scoring import Scorer
from runtime.tasks_world import kinds

FEATURES = (export.Feature("delay", "numeric"), export.Feature("carrier", "categorical"))
ROWS = 1500
ALGORITHMS = sorted(HYPERPARAMETERS)
STRANGE: dict[str, list[Any]] = {
    "delay": [None, 1e30, -1e30, 0.1, 10.0, -0.0, None, 3e38],
    "carrier": ["AA", None, "never seen", "", "B6", "UA", "ünseen", "aa"],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


@dataclass(frozen=True)
class Case:
    """A set of rows whose label has so many classes, as texts or as numbers in another order than their names."""

    most: int
    numbers: bool = False

    @property
    def rows(self) -> pl.DataFrame:
        data = kinds(ROWS, most=self.most)
        names = sorted(data["kind"].unique().to_list())
        codes = {name: 7 * ((5 * place) % len(names)) - 3 for place, name in enumerate(names)}
        return data.with_columns(pl.col("kind").replace_strict(codes)) if self.numbers else data

    @property
    def classes(self) -> list[Any]:
        return sorted(self.rows["kind"].unique().to_list())

    def params(self, **changes: Any) -> dict[str, Any]:
        return {
            "task": "multiclass",
            "classes": self.classes,
            "features": [{"name": feature.name, "kind": feature.kind} for feature in FEATURES],
            "label": "kind",
            "time": "at",
            "seed": 7,
            "hyperparameters": {"max_iter": 10},
            "parity": {"rows": 512},
            **changes,
        }


CASES = [Case(3), Case(12), Case(3, numbers=True), Case(12, numbers=True)]
IDS = ["3 texts", "12 texts", "3 numbers", "12 numbers"]


def run(folder: Path, algorithm: str, case: Case, data: pl.DataFrame | None = None, **changes: Any) -> Path:
    (folder / "params.json").write_text(json.dumps(case.params(**changes)))
    (case.rows if data is None else data).write_parquet(folder / "train.parquet")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    train(algorithm, folder / "params.json", folder / "train.parquet", out)
    return out


def inputs(data: pl.DataFrame) -> dict[str, list[Any]]:
    return {name: data[name].to_list() for name in ("delay", "carrier")}


def scikit_learns(data: pl.DataFrame, **weights: Any) -> Pipeline:
    """The logistic regression by scikit-learn's own parts, fitted to the labels as they stand in the file."""
    columns = export.columns(data, FEATURES)
    words = [sorted(columns["carrier"].unique().to_list())]
    hot = OneHotEncoder(categories=words, handle_unknown="ignore", dtype=np.float32)
    encode = ColumnTransformer([("n", Standardizer(), ["delay"]), ("c", hot, ["carrier"])])
    pipeline = Pipeline([("columns", encode), ("model", LogisticRegression(max_iter=200, random_state=7, **weights))])
    return pipeline.fit(columns, np.array(data["kind"].to_list()))


# ---- the contract ----


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_recipe_keeps_the_file_contract_for_several_classes(tmp_path: Path, algorithm: str, case: Case) -> None:
    out = run(tmp_path, algorithm, case)
    classes = case.classes
    found = Scorer(out / "model.onnx", case.params()).score(inputs(case.rows))
    told = read_parity(out / "parity.parquet", 512, [f"probability_{place}" for place in range(len(classes))])
    assert found.shape == (ROWS, len(classes))
    assert np.abs(told - found[:512]).max() < 1e-5
    claims = json.loads((out / "metrics.json").read_text())
    assert set(claims) == {"accuracy", "log_loss", "inner_rows"}
    assert claims["accuracy"] > 1.3 / len(classes)
    assert claims["log_loss"] < np.log(len(classes))
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted({line["step"] for line in lines})
    assert lines[-1]["step"] == lines[-1]["of"]
    assert lines[-1]["loss"] <= lines[0]["loss"] + 0.05
    (output,) = onnx.load(str(out / "model.onnx")).graph.output
    assert [dim.dim_value for dim in output.type.tensor_type.shape.dim] == [0, len(classes)]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_columns_are_in_the_order_of_scikit_learns_own_classes(tmp_path: Path, case: Case) -> None:
    out = run(tmp_path, "logistic-regression", case, hyperparameters={"max_iter": 200})
    reference = scikit_learns(case.rows)
    assert reference.classes_.tolist() == case.classes
    expected = reference.predict_proba(export.columns(case.rows, FEATURES))
    assert Scorer(out / "model.onnx", case.params()).score(inputs(case.rows)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_gradient_boosting_is_scikit_learns_on_the_same_columns(tmp_path: Path, case: Case) -> None:
    out = run(tmp_path, "gradient-boosting", case)
    columns, labels = export.columns(case.rows, FEATURES), np.array(case.rows["kind"].to_list())
    codes = np.searchsorted(case.classes, labels)
    rates = ClassRatesEncoder().fit(columns.select("carrier").to_numpy(), codes).transform(columns.select("carrier").to_numpy())
    matrix = np.hstack([columns.select("delay").to_numpy(), rates])
    reference = HistGradientBoostingClassifier(max_iter=10, early_stopping=False, random_state=7).fit(matrix, labels)
    assert reference.classes_.tolist() == case.classes
    found = Scorer(out / "model.onnx", case.params()).score(inputs(case.rows))
    assert found == pytest.approx(reference.predict_proba(matrix), abs=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_no_training_row_holds_is_answered_as_the_trainer_would(tmp_path: Path, algorithm: str) -> None:
    case = Case(12)
    data = case.rows
    codes = np.searchsorted(case.classes, np.array(data["kind"].to_list()))
    rows = models.Rows(export.columns(data, FEATURES), codes, None, "multiclass", 12)
    chosen = {"max_iter": 10, "max_categories": 2} | ({"learning_rate": 0.1} if algorithm == "gradient-boosting" else {"C": 1.0})
    fitted = models.fit(algorithm, FEATURES, chosen, seed=7, data=rows, report=lambda *_: None)
    export.export_sklearn(fitted, FEATURES, tmp_path / "model.onnx", case.classes)
    strange = pl.DataFrame(STRANGE, schema={"delay": pl.Float64, "carrier": pl.String})
    expected = models.answers(fitted, export.columns(strange, FEATURES), rows)
    assert Scorer(tmp_path / "model.onnx", case.params()).score(STRANGE) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_rows_and_seed_give_the_same_bytes(tmp_path: Path, algorithm: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, algorithm, Case(3))
    one, two = ((tmp_path / name / "out" / "model.onnx").read_bytes() for name in ("one", "two"))
    assert one == two


# ---- claims ----


def test_claims_are_scikit_learns_of_a_fit_without_the_newest_tenth(tmp_path: Path) -> None:
    case = Case(3)
    out = run(tmp_path, "logistic-regression", case, hyperparameters={"max_iter": 200})
    older, newest = case.rows[: ROWS * 9 // 10], case.rows[ROWS * 9 // 10 :]
    reference = scikit_learns(older)
    probabilities = reference.predict_proba(export.columns(newest, FEATURES))
    claims = json.loads((out / "metrics.json").read_text())
    assert claims["log_loss"] == pytest.approx(log_loss(newest["kind"], probabilities, labels=case.classes), abs=1e-3)
    assert claims["accuracy"] == pytest.approx(
        accuracy_score(newest["kind"], reference.predict(export.columns(newest, FEATURES)))
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_class_that_only_the_newest_rows_have_is_learnt_and_nothing_is_claimed(tmp_path: Path, algorithm: str) -> None:
    case = Case(3)
    data = case.rows.filter((pl.col("kind") != "late") | (pl.col("minute") >= ROWS * 19 // 20))
    out = run(tmp_path, algorithm, case, data)
    found = Scorer(out / "model.onnx", case.params()).score(inputs(data))
    assert found[:, case.classes.index("late")].max() > 0.01
    assert json.loads((out / "metrics.json").read_text()) == {"inner_rows": 136.0}
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == lines[-1]["of"] <= 10, "there was no first fit"


def test_newest_rows_that_lack_a_class_are_measured(tmp_path: Path) -> None:
    case = Case(3)
    data = case.rows.filter((pl.col("kind") != "late") | (pl.col("minute") < ROWS * 8 // 10))
    claims = json.loads((run(tmp_path, "logistic-regression", case, data) / "metrics.json").read_text())
    assert set(claims) == {"accuracy", "log_loss", "inner_rows"}
    assert claims["log_loss"] < np.log(3)


# ---- weights ----


def test_balanced_weights_are_scikit_learns(tmp_path: Path) -> None:
    case = Case(3)
    out = run(tmp_path, "logistic-regression", case, classWeights={"balanced": 1.0}, hyperparameters={"max_iter": 200})
    expected = scikit_learns(case.rows, class_weight="balanced").predict_proba(export.columns(case.rows, FEATURES))
    found = Scorer(out / "model.onnx", case.params()).score(inputs(case.rows))
    assert found == pytest.approx(expected, abs=1e-3)
    assert np.abs(found - scikit_learns(case.rows).predict_proba(export.columns(case.rows, FEATURES))).max() > 0.02


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rows_of_no_weight_are_as_if_they_were_not_there(tmp_path: Path, algorithm: str) -> None:
    case = Case(3)
    chance = np.random.default_rng(4)
    data = case.rows.with_columns(pays=pl.Series(chance.integers(0, 2, ROWS).astype(float)))
    for name in ("all", "some"):
        (tmp_path / name).mkdir()
    one = run(tmp_path / "all", algorithm, case, data, weight="pays")
    two = run(tmp_path / "some", algorithm, case, data.filter(pl.col("pays") > 0))
    ours, theirs = (Scorer(out / "model.onnx", case.params()).score(inputs(data)) for out in (one, two))
    assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(
    ("task", "factors", "words"),
    [
        ("multiclass", {"0": 1.0, "1": 5.0}, "names 0, 1: of several classes it is balanced"),
        ("regression", {"balanced": 1.0}, "names balanced: a regression has no classes"),
        ("classification", {"0": 1.0}, 'names 0: of two classes it is balanced, or weights of "0" and "1"'),
    ],
)
def test_weights_of_classes_that_do_not_fit_are_refused(tmp_path: Path, task: str, factors: dict[str, float], words: str) -> None:
    with pytest.raises(Refused) as caught:
        run(tmp_path, "gradient-boosting", Case(3), task=task, classWeights=factors)
    assert caught.value.reason == "ClassWeightsWrong"
    assert words in caught.value.message


# ---- the encoder ----


def test_rates_of_a_text_are_target_encoders_without_its_cross_fitting() -> None:
    data = Case(3).rows
    words = data.select(pl.col("carrier").fill_null("")).to_numpy()
    codes = np.searchsorted(["early", "late", "on time"], np.array(data["kind"].to_list()))
    theirs = TargetEncoder(smooth=20.0, target_type="multiclass").fit(words, codes).transform(words)
    ours = ClassRatesEncoder(smoothing=20.0).fit(words, codes).transform(words)
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert ours.sum(axis=1) == pytest.approx(np.ones(len(ours)), abs=1e-6)


def test_of_many_classes_the_largest_have_rates() -> None:
    codes = np.repeat(np.arange(MOST_RATES + 5), np.arange(1, MOST_RATES + 6))
    words = np.array([["even" if code % 2 == 0 else "odd"] for code in codes], dtype=object)
    found = ClassRatesEncoder(smoothing=0.0).fit(words, codes)
    assert found.classes_.tolist() == list(range(5, MOST_RATES + 5))
    assert found.transform(words).shape == (len(codes), MOST_RATES)
    unseen = found.transform(np.array([["new"]], dtype=object))[0]
    assert unseen == pytest.approx(np.arange(6, MOST_RATES + 6) / len(codes))


def test_a_rate_counts_the_weights_of_rows() -> None:
    words = np.array([["a"], ["a"], ["a"], ["b"]], dtype=object)
    codes, weights = np.array([0, 1, 2, 0]), np.array([1.0, 3.0, 0.0, 4.0])
    found = ClassRatesEncoder(smoothing=0.0).fit(words, codes, weights).transform(np.array([["a"], ["c"]], dtype=object))
    assert found == pytest.approx(np.array([[0.25, 0.75, 0.0], [5 / 8, 3 / 8, 0.0]]))


# ---- export of models of one's own ----


def test_a_classifier_of_ones_own_is_exported_with_its_labels_as_they_are(tmp_path: Path) -> None:
    data, classes = Case(3).rows, Case(3).classes
    reference = scikit_learns(data)
    export.export_sklearn(reference, FEATURES, tmp_path / "model.onnx", classes)
    expected = reference.predict_proba(export.columns(data, FEATURES))
    assert Scorer(tmp_path / "model.onnx", Case(3).params()).score(inputs(data)) == pytest.approx(expected, abs=1e-5)
    export.write_parity(expected[:512], tmp_path / "parity.parquet", "multiclass")
    assert pl.read_parquet(tmp_path / "parity.parquet").columns == ["row", "probability_0", "probability_1", "probability_2"]


def test_a_classifier_whose_classes_are_others_is_not_exported(tmp_path: Path) -> None:
    reference = scikit_learns(Case(3).rows)
    with pytest.raises(export.ExportError, match=r"tells 3 classes apart .* and params\.json has 3"):
        export.export_sklearn(reference, FEATURES, tmp_path / "model.onnx", ["on time", "late", "early"])
    assert not (tmp_path / "model.onnx").exists()


def test_scores_of_one_class_are_no_parity_of_several(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"have shape \[3\]: give all of predict_proba"):
        export.write_parity(np.array([0.1, 0.2, 0.3]), tmp_path / "parity.parquet", "multiclass")
    assert not (tmp_path / "parity.parquet").exists()
