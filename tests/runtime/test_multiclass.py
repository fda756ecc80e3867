"""Several classes from their rows to the answer over HTTP: what a pod says is what the model says, by the classes' names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from perennial_runtime.answers import Refused
from perennial_runtime.bento import MODEL_FILE, SCHEMA_FILE
from perennial_runtime.compare import Pair, compare
from perennial_runtime.contract import CompareSpec, GateSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_sandbox import SandboxLimits
from perennial_runtime.golden_run import Golden, GoldenMismatch, golden_run, read_golden
from perennial_runtime.predict import SchemaBroken
from perennial_runtime.service import Predictor
from runtime.serving.pods import Pod, running
from runtime.steps_world import World
from runtime.tasks_world import KINDS, Made, kinds, made

GATES = (GateSpec("model_bytes", maximum=1e6),)
CODES = {"early": 30, "late": 4, "on time": -1}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Made:
    world = World.of(tmp_path_factory.mktemp("texts"), kinds().with_columns(pl.col("kind").replace("early", "früh")))
    return made(world, gates=GATES, task="multiclass", columns=KINDS, hyperparameters={"max_iter": 5})


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Made:
    world = World.of(tmp_path_factory.mktemp("numbers"), kinds().with_columns(pl.col("kind").replace_strict(CODES)))
    return made(world, gates=GATES, task="multiclass", columns=KINDS, hyperparameters={"max_iter": 5})


@pytest.fixture(scope="module")
def pod(texts: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    source, spec = texts.source()
    with running(spec, source.parent, tmp_path_factory.mktemp("pod")) as found:
        found.wait_ready()
        yield found


def asked(rows: pl.DataFrame) -> bytes:
    return json.dumps({"instances": rows.select("delay", "carrier").to_dicts()}).encode()


# ---- what the steps hand on ----


def test_classes_are_in_the_schema_in_params_and_in_every_file(texts: Made) -> None:
    classes = ["früh", "late", "on time"]
    assert json.loads(texts.world.store.get_bytes(texts.prepared.schema))["classes"] == classes
    assert texts.params["classes"] == classes
    assert texts.params["task"] == "multiclass"
    assert set(texts.train["kind"]) == set(texts.holdout["kind"]) == set(classes)
    parity = pl.read_parquet(texts.out / "parity.parquet")
    assert parity.columns == ["row", "probability_0", "probability_1", "probability_2"]
    assert texts.result.parity is not None
    assert texts.result.parity < 1e-5


def test_trainers_probabilities_that_differ_in_one_class_are_refused(texts: Made, tmp_path: Path) -> None:
    told = pl.read_parquet(texts.out / "parity.parquet").with_columns(pl.col("probability_2") + 0.01)
    told.write_parquet(tmp_path / "other.parquet")
    store = texts.world.store
    wish = replace(texts.spec, parity=store.put_file(tmp_path / "other.parquet"), champion=texts.champion())
    with pytest.raises(Refused) as caught:
        evaluate(wish, store, texts.world.root / "work")
    assert caught.value.reason == "ParityOff"
    assert "the probabilities of model.onnx differ from the trainer's own (parity.parquet) by up to 0.01" in caught.value.message


# ---- serving ----


def test_pod_answers_the_most_probable_class_and_all_by_name(texts: Made, pod: Pod) -> None:
    rows = texts.holdout.head(60)
    answer = httpx.post(f"{pod.url}/predict", content=asked(rows), headers={"content-type": "application/json"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["version"] == "delays-v1"
    expected = texts.answers(rows, "probabilities")
    assert [list(one["probabilities"]) for one in body["predictions"]] == [["früh", "late", "on time"]] * 60
    found = np.array([list(one["probabilities"].values()) for one in body["predictions"]])
    assert found == pytest.approx(expected, abs=1e-6)
    labels = [["früh", "late", "on time"][place] for place in expected.argmax(axis=1)]
    assert [one["label"] for one in body["predictions"]] == labels
    assert len(set(labels)) == 3
    assert (np.array(labels) == rows["kind"].to_numpy()).mean() > 0.7


def test_pod_was_ready_only_after_golden_requests_with_all_probabilities(texts: Made, pod: Pod) -> None:
    golden = read_golden(texts.source()[0])
    assert golden.answer == "probabilities"
    assert {len(scores) for scores in golden.scores} == {3}
    text = httpx.get(f"{pod.management}/metrics").text
    assert 'perennial_requests_total{kind="golden",outcome="bad",version="delays-v1"} 0.0' in text
    assert 'perennial_scores_count{kind="live",version="delays-v1"} 0.0' in text, "there is no one score to count"


def test_golden_requests_that_are_off_in_one_class_are_a_mismatch(texts: Made, pod: Pod) -> None:
    golden = read_golden(texts.source()[0])
    assert asyncio.run(golden_run(pod.port, "guess", golden, warm_seconds=0.0)) == len(golden.rows) + 1
    off = [list(scores) for scores in golden.scores]
    off[5][2] += 0.01
    with pytest.raises(GoldenMismatch, match=r"golden request 5 is off by 0\.01"):
        asyncio.run(golden_run(pod.port, "guess", replace(golden, scores=off), warm_seconds=0.0))
    fewer = Golden(golden.tolerance, golden.rows, [scores[:2] for scores in golden.scores], golden.answer)
    with pytest.raises(GoldenMismatch, match="or by those of other classes"):
        asyncio.run(golden_run(pod.port, "guess", fewer, warm_seconds=0.0))


def test_its_page_describes_each_class(pod: Pod) -> None:
    schemas = httpx.get(f"{pod.url}/docs.json").json()["components"]["schemas"]
    assert schemas["PredictedClass"]["properties"]["label"]["enum"] == ["früh", "late", "on time"]
    probabilities = schemas["Probabilities"]
    assert list(probabilities["properties"]) == probabilities["required"] == ["früh", "late", "on time"]
    assert probabilities["properties"]["late"]["maximum"] == 1.0
    assert "Prediction" not in schemas


def test_whole_numbers_are_answered_as_numbers_in_the_order_of_their_size(numbers: Made) -> None:
    predictor = Predictor(numbers.source()[0], threads=1)
    rows = numbers.holdout.head(50)
    body = json.loads(asyncio.run(predictor.answer(asked(rows))))
    assert [list(one["probabilities"]) for one in body["predictions"]] == [["-1", "4", "30"]] * 50
    expected = np.array([-1, 4, 30])[numbers.answers(rows, "probabilities").argmax(axis=1)]
    assert [one["label"] for one in body["predictions"]] == expected.tolist()
    typed = asyncio.run(predictor.predict(predictor.requests.parse(asked(rows))))
    assert typed.model_dump(by_alias=True) == body


def tied(source: Path, target: Path) -> Path:
    """src/ whose model gives the last two of three classes the same probability, and the first less."""
    target.mkdir()
    for name in ("schema.json", "identity.json"):
        (target / name).write_bytes((source / name).read_bytes())
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["delay", "zeros"], ["nothing"]),
            helper.make_node("IsNaN", ["nothing"], ["missing"]),
            helper.make_node("Where", ["missing", "shares", "shares"], ["probabilities"]),
        ],
        "tied",
        [
            helper.make_tensor_value_info("delay", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, ["N", 1]),
        ],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])],
        [
            helper.make_tensor("zeros", TensorProto.FLOAT, [1, 3], [0.0] * 3),
            helper.make_tensor("shares", TensorProto.FLOAT, [1, 3], [0.2, 0.4, 0.4]),
        ],
    )
    body = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (target / MODEL_FILE).write_bytes(body.SerializeToString())
    return target


def test_of_equally_probable_classes_the_first_is_the_label(texts: Made, tmp_path: Path) -> None:
    predictor = Predictor(tied(texts.source()[0], tmp_path / "src"), threads=1)
    body = json.loads(asyncio.run(predictor.answer(asked(texts.holdout.head(3)))))
    assert [one["label"] for one in body["predictions"]] == ["late"] * 3
    assert body["predictions"][0]["probabilities"] == pytest.approx({"früh": 0.2, "late": 0.4, "on time": 0.4})


def test_a_schema_whose_classes_are_none_is_not_served(texts: Made, tmp_path: Path) -> None:
    source = tied(texts.source()[0], tmp_path / "src")
    document = json.loads((source / SCHEMA_FILE).read_text())
    (source / SCHEMA_FILE).write_text(json.dumps({**document, "classes": ["one", "one", "one"]}))
    with pytest.raises(SchemaBroken, match="neither different texts nor different whole numbers"):
        Predictor(source, threads=1)


# ---- trained again ----


def difference(texts: Made, folder: Path, change: Any) -> str:
    """What a reproduction says of the model once it was changed."""
    out, room = folder / "out", folder / "room"
    for one in (out, room):
        one.mkdir()
    body = onnx.load(str(texts.out / "model.onnx"))
    change(body)
    (out / "model.onnx").write_bytes(body.SerializeToString())
    rows = texts.world.store.get_file(texts.spec.train, folder / "train.parquet")
    spec = CompareSpec("delays-v1", "", texts.spec.model, texts.spec.train, texts.spec.schema)
    pair = Pair(room / "before.onnx", room / "now.onnx", room, SandboxLimits(cpu_seconds=40, wall_seconds=40))
    return compare(spec, texts.world.store, out, rows, pair).message


def flattened(body: onnx.ModelProto) -> None:
    """Every row gets what is the mean of its probabilities and a third of one."""
    last = body.graph.output[0].name
    for node in body.graph.node:
        node.output[:] = ["before" if name == last else name for name in node.output]
    body.graph.initializer.append(helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]))
    body.graph.initializer.append(helper.make_tensor("sixth", TensorProto.FLOAT, [1, 3], [0.0, 0.5, 0.0]))
    body.graph.node.append(helper.make_node("Mul", ["before", "half"], ["halved"]))
    body.graph.node.append(helper.make_node("Add", ["halved", "sixth"], [last]))


def test_a_reproduction_tells_in_how_many_rows_probabilities_and_labels_differ(texts: Made, tmp_path: Path) -> None:
    message = difference(texts, tmp_path, flattened)
    assert "of 512 rows of the parity sample have other probabilities, by up to 0." in message
    assert "another label" in message


def test_a_reproduction_of_the_same_graph_has_the_same_probabilities(texts: Made, tmp_path: Path) -> None:
    message = difference(texts, tmp_path, lambda body: setattr(body.graph, "name", "another"))
    assert "all 512 rows of the parity sample have the same probabilities" in message
