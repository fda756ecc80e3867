"""A regression from its rows to its answer over HTTP: each number again, by scikit-learn and by the model itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from perennial_runtime.answers import Refused
from perennial_runtime.contract import Column, GateSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.golden_run import read_golden
from perennial_runtime.parity_check import SINGLE, difference, read_parity
from runtime.serving.pods import Pod, running
from runtime.steps_world import World
from runtime.tasks_world import NUMBERS, Made, arrivals, made

GATES = (
    GateSpec("rmse", maximum=12.0),
    GateSpec("mae", maximum=9.0),
    GateSpec("r2", minimum=0.5),
    GateSpec("rmse", not_worse_than_serving_by=0.5),
    GateSpec("r2", not_worse_than_serving_by=0.01),
    GateSpec("model_bytes", maximum=1e6),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.of(tmp_path_factory.mktemp("world"), arrivals())


@pytest.fixture(scope="module")
def first(world: World) -> Made:
    return made(world, gates=GATES[:3], task="regression", columns=NUMBERS, hyperparameters={"max_iter": 5})


@pytest.fixture(scope="module")
def second(world: World, first: Made) -> Made:
    """A challenger that fits better, beside the first."""
    return made(world, "uid-2", gates=GATES, task="regression", columns=NUMBERS, champion=first.champion())


@pytest.fixture(scope="module")
def pod(second: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    source, spec = second.source()
    work = tmp_path_factory.mktemp("pod")
    with running(spec, source.parent, work) as found:
        found.wait_ready()
        yield found


# ---- data ----


def test_label_is_a_number_and_the_schema_says_so(second: Made) -> None:
    assert second.train["arrival"].dtype == pl.Float64
    assert json.loads(second.world.store.get_bytes(second.prepared.schema))["task"] == "regression"
    assert second.params["task"] == "regression"
    assert second.prepared.positive_rate == 0.0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "2 missing or NaN"),
        (float("nan"), "2 missing or NaN"),
        (float("inf"), "2 infinite"),
        (float("-inf"), "2 infinite"),
    ],
)
def test_labels_that_are_no_finite_numbers_are_refused_with_their_count(tmp_path: Path, wrong: float | None, words: str) -> None:
    world = World(tmp_path)
    spoilt = pl.when(pl.col("minute").is_in([100, 300])).then(pl.lit(wrong, pl.Float64)).otherwise(pl.col("arrival"))
    arrivals(400).with_columns(arrival=spoilt).write_parquet(world.source / "a.parquet")
    refused = world.refusal(task="regression", columns=NUMBERS)
    assert refused.reason == "NotANumber"
    for word in ("'arrival' (role label)", "in 2 of 400 rows", words, "a.parquet, row 101", "leave them out"):
        assert word in refused.message


def test_cells_of_a_csv_label_that_are_words_are_counted_over_all_files(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name, start in (("a", 0), ("b", 400)):
        told = arrivals(400, start=start).with_columns(pl.col("arrival").cast(pl.String), pl.col("at").dt.strftime("%FT%TZ"))
        spoilt = {10: "late", 20: "NA", 30: ""}
        cells = [spoilt.get(row, cell) for row, cell in enumerate(told["arrival"].to_list())]
        told.with_columns(arrival=pl.Series(cells)).write_csv(world.source / f"{name}.csv")
    refused = world.refusal(task="regression", columns=NUMBERS)
    assert refused.reason == "NotANumber"
    assert "in 6 of 800 rows (4 missing or NaN, 2 no number), first in a.csv, row 11" in refused.message


def test_a_label_of_one_value_has_nothing_to_predict(tmp_path: Path) -> None:
    world = World(tmp_path)
    arrivals(400).with_columns(arrival=pl.lit(3.0)).write_parquet(world.source / "a.parquet")
    refused = world.refusal(task="regression", columns=NUMBERS)
    assert refused.reason == "OneValue"
    assert "same number in all" in refused.message


def test_the_same_rows_are_still_refused_where_the_task_is_a_classification(tmp_path: Path) -> None:
    world = World(tmp_path)
    arrivals(400).write_parquet(world.source / "a.parquet")
    assert world.refusal(columns=NUMBERS).reason == "LabelNotBinary"


@pytest.mark.parametrize(
    "leak",
    [
        pl.col("arrival") * 2.0 + 5.0,
        -(pl.col("arrival") ** 3),
        (pl.col("arrival") - 10.0).abs() * pl.when(pl.col("arrival") > 10).then(1.0).otherwise(1000.0),
        (pl.col("arrival").rank() * 50 / pl.len()).floor().cast(pl.Int64).cast(pl.String),
    ],
    ids=["a multiple", "its order turned round", "no order", "a word for each fiftieth"],
)
def test_a_feature_that_tells_the_number_is_refused_with_its_correlation(tmp_path: Path, leak: pl.Expr) -> None:
    world = World(tmp_path)
    arrivals(6000).with_columns(paid=leak).write_parquet(world.source / "a.parquet")
    refused = world.refusal(task="regression", columns=(*NUMBERS, Column("paid", "feature")))
    assert refused.reason == "LabelLeaked"
    for word in ("'paid' (correlation of ranks", "'arrival'", "4800 training rows", "0.995", "allowLeakage"):
        assert word in refused.message
    let_through = (*NUMBERS, Column("paid", "feature", may_leak=True))
    assert world.prepare(task="regression", columns=let_through).rows == 6000


def test_a_feature_that_goes_with_the_number_as_features_should_is_no_leak(tmp_path: Path) -> None:
    world = World(tmp_path)
    arrivals(3000).write_parquet(world.source / "a.parquet")
    assert world.prepare(task="regression", columns=NUMBERS).rows == 3000


# ---- training and judgement ----


def test_recipe_learns_the_law_and_claims_what_scikit_learn_measures(second: Made) -> None:
    claims = json.loads((second.out / "metrics.json").read_text())
    assert 8 < claims["rmse"] < 11
    assert claims["mae"] < claims["rmse"]
    assert 0.8 < claims["r2"] < 1


def test_every_gate_is_scikit_learns_on_the_holdout(first: Made, second: Made) -> None:
    labels = second.holdout["arrival"].to_numpy()
    ours, theirs = (one.answers(second.holdout, "prediction") for one in (second, first))
    found = {named: gate["estimate"] for named, gate in second.evidence.items()}
    assert found["rmse", "maximum"] == pytest.approx(root_mean_squared_error(labels, ours), rel=1e-5)
    assert found["mae", "maximum"] == pytest.approx(mean_absolute_error(labels, ours), rel=1e-5)
    assert found["r2", "minimum"] == pytest.approx(r2_score(labels, ours), abs=1e-5)
    gap = root_mean_squared_error(labels, theirs) - root_mean_squared_error(labels, ours)
    assert gap > 1
    assert found["rmse", "notWorseThanServingBy"] == pytest.approx(gap, rel=1e-5)
    assert found["r2", "notWorseThanServingBy"] == pytest.approx(r2_score(labels, ours) - r2_score(labels, theirs), abs=1e-5)
    for gate in second.gates.values():
        assert gate.lower <= gate.estimate <= gate.upper
    assert second.gates["rmse", "notWorseThanServingBy"].lower > 1, "the better one is shown to be better"


def test_card_shows_residuals_in_place_of_what_only_classes_have(second: Made) -> None:
    markdown, html = second.card["markdown"], second.card["html"]
    assert "## Residuals" in markdown
    assert "Calibration" not in markdown + html
    rows = [line for line in markdown.partition("## Residuals")[2].partition("##")[0].splitlines() if line.startswith("| ")]
    bins = [[float(cell) for cell in line.strip("| ").split(" | ")] for line in rows[1:]]
    assert sum(one[-1] for one in bins) == second.holdout.height
    gaps = second.holdout["arrival"].to_numpy() - second.answers(second.holdout, "prediction")
    assert sum(one[1] * one[-1] for one in bins) / second.holdout.height == pytest.approx(gaps.mean(), abs=0.01)
    assert all(low < mean < high for _, mean, low, high, *_ in bins)
    assert html.count("<svg") == 1


def test_champion_of_another_task_is_not_compared(second: Made, tmp_path: Path) -> None:
    world = World(tmp_path)
    arrivals().write_parquet(world.source / "a.parquet")
    columns = tuple(replace(one, name="late") if one.role == "label" else one for one in NUMBERS)
    classes = made(world, gates=(GateSpec("roc_auc", minimum=0.5),), task="classification", columns=columns)
    world.store.put_file(second.world.store.get_file(second.result.bento, tmp_path / "other.tar"))
    wish = replace(
        classes.spec, uid="uid-1", champion=second.champion(), gates=(GateSpec("roc_auc", not_worse_than_serving_by=0.1),)
    )
    with pytest.raises(Refused) as caught:
        evaluate(wish, world.store, tmp_path / "work")
    assert caught.value.reason == "ChampionNotComparable"
    assert "was made for a regression, and this is a classification" in caught.value.message


def renamed(first: Made, name: str) -> bytes:
    """The model with its output called otherwise."""
    body = onnx.load(str(first.out / "model.onnx"))
    body.graph.output[0].name = body.graph.node[-1].output[0] = name
    return bytes(body.SerializeToString())


def test_model_without_the_output_prediction_is_refused(first: Made) -> None:
    store = first.world.store
    wish = replace(first.spec, uid="uid-1", model=store.put_bytes(renamed(first, "score")), champion=first.champion())
    with pytest.raises(Refused) as caught:
        evaluate(wish, store, first.world.root / "work")
    assert caught.value.reason == "OnnxPredictionMissing"
    assert "no output named 'prediction' (it has score)" in caught.value.message


def test_model_that_answers_what_is_no_finite_number_is_refused(first: Made) -> None:
    body = onnx.load(str(first.out / "model.onnx"))
    last = body.graph.node[-1]
    last.output[0] = "before"
    body.graph.initializer.append(onnx.helper.make_tensor("huge", onnx.TensorProto.FLOAT, [1], [3e38]))
    body.graph.node.append(onnx.helper.make_node("Mul", ["before", "huge"], ["prediction"]))
    store = first.world.store
    wish = replace(first.spec, model=store.put_bytes(body.SerializeToString()), champion=first.champion())
    with pytest.raises(Refused) as caught:
        evaluate(wish, store, first.world.root / "work")
    assert caught.value.reason == "ScoresInvalid"
    assert "output 'prediction' is NaN or infinite" in caught.value.message


def test_predictions_that_differ_from_the_trainers_own_are_refused(first: Made) -> None:
    told = pl.read_parquet(first.out / "parity.parquet").with_columns(pl.col("prediction") + 0.01)
    path = first.world.root / "other.parquet"
    told.write_parquet(path)
    wish = replace(first.spec, parity=first.world.store.put_file(path), champion=first.champion())
    with pytest.raises(Refused) as caught:
        evaluate(wish, first.world.store, first.world.root / "work")
    assert caught.value.reason == "ParityOff"
    assert "the predictions of model.onnx differ" in caught.value.message


def test_parity_of_large_numbers_is_no_nearer_than_single_precision() -> None:
    trainers = np.array([1e6, 2e6, -3e6])
    assert difference(trainers, trainers + 3.0, 1e-4, "regression") == pytest.approx(3.0)
    with pytest.raises(ModelRefused, match=r"the limit is 6"):
        difference(trainers, trainers + 3e6 * SINGLE * 1.1, 1e-4, "regression")
    with pytest.raises(ModelRefused, match=r"the limit is 0\.0001"):
        difference(trainers, trainers + 3.0, 1e-4)


def test_parity_has_the_column_of_the_task(first: Made, tmp_path: Path) -> None:
    rows = pl.read_parquet(first.out / "parity.parquet").height
    assert len(read_parity(first.out / "parity.parquet", rows, ("prediction",))) == rows
    with pytest.raises(ModelRefused, match="it has no column score"):
        read_parity(first.out / "parity.parquet", rows)


# ---- serving ----


def test_pod_answers_what_the_model_says(second: Made, pod: Pod) -> None:
    rows = second.holdout.head(40)
    answer = httpx.post(f"{pod.url}/predict", json={"instances": rows.select("delay", "carrier").to_dicts()})
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"] == "delays-v2"
    assert all(list(one) == ["prediction"] for one in body["predictions"])
    found = [one["prediction"] for one in body["predictions"]]
    assert found == pytest.approx(second.answers(rows, "prediction").tolist(), rel=1e-6)
    assert max(found) > 5, "minutes, and no probabilities"


def test_pod_was_ready_only_after_golden_requests_with_predictions(second: Made, pod: Pod) -> None:
    golden = read_golden(second.source()[0])
    assert golden.answer == "prediction"
    assert golden.tolerance >= 1e-4
    text = httpx.get(f"{pod.management}/metrics").text
    assert 'perennial_requests_total{kind="golden",outcome="bad",version="delays-v2"} 0.0' in text


def test_pod_counts_no_scores_and_its_page_describes_numbers(pod: Pod) -> None:
    assert 'perennial_scores_count{kind="live",version="delays-v2"} 0.0' in httpx.get(f"{pod.management}/metrics").text
    schemas = httpx.get(f"{pod.url}/docs.json").json()["components"]["schemas"]
    assert list(schemas["PredictedNumber"]["properties"]) == ["prediction"]
    assert "Prediction" not in schemas
