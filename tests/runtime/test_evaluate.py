"""The evaluate step over a store in a folder: what it measures, what it packages, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression

from perennial_runtime import bento, export
from perennial_runtime.answers import Refused
from perennial_runtime.contract import EvaluateResult, EvaluateSpec, GateSpec, encode_answer, unpacked
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_sandbox import SandboxLimits
from perennial_runtime.parity_check import difference
from perennial_runtime.rows import SCHEME
from perennial_runtime.scoring import Scorer
from runtime.evaluate_world import SCHEMA, World, against, model, truth

GATES = [GateSpec(metric, minimum=0.3) for metric in ("roc_auc", "average_precision", "accuracy")]
BESIDE = [GateSpec(metric, not_worse_than_serving_by=0.02) for metric in ("roc_auc", "average_precision", "accuracy")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def champion(world: World) -> tuple[EvaluateSpec, EvaluateResult]:
    """Version 1, evaluated once for all tests that need one that serves."""
    spec = world.spec(gates=GATES)
    return spec, evaluate(spec, world.store, world.folder / "work")


def run(world: World, spec: EvaluateSpec, limits: SandboxLimits | None = None) -> EvaluateResult:
    return evaluate(spec, world.store, world.folder / "work", limits)


def refused(world: World, spec: EvaluateSpec, limits: SandboxLimits | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        run(world, spec, limits)
    assert world.store.get_result(spec.uid, "evaluate", spec.champion.identity if spec.champion else "none") is None
    return caught.value


def challenger(world: World, name: str, gates: Sequence[GateSpec] = tuple(BESIDE), scheme: int | None = None) -> EvaluateSpec:
    """A later version: another slope, its own honest parity file."""
    scores = pl.DataFrame({"row": np.arange(512), "score": truth(world.train.head(512), slope=0.25)})
    return world.spec(name, model(slope=0.25), scores, gates, scheme=scheme)


def test_measures_every_gate_on_all_holdout_rows(champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    _, result = champion
    assert [gate.metric for gate in result.gates] == ["roc_auc", "average_precision", "accuracy"]
    assert all(gate.lower < gate.estimate < gate.upper for gate in result.gates)
    assert (result.holdout_rows, result.dropped_rows, result.champion) == (2000, 0, None)
    assert result.parity < 1e-6


def test_answers_the_same_again_without_doing_it_again(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    spec, result = champion
    started = len(list((world.folder / "work").iterdir()))
    assert run(world, replace(spec, model="0" * 64)) == result
    assert len(list((world.folder / "work").iterdir())) == started == 0


def test_the_bento_holds_all_that_serving_needs(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    spec, result = champion
    source = world.bento_source(result.bento)
    identity = json.loads((source / bento.IDENTITY_FILE).read_text())
    assert identity == {"version": "delays-v1", "identity": result.identity, "threshold": 0.5, "row_hashes": 1}
    assert bento.file_digest(source / bento.MODEL_FILE) == spec.model
    assert bento.file_digest(source / bento.SCHEMA_FILE) == spec.schema
    assert (source / "perennial_runtime" / "service.py").is_file()
    assert len(np.load(source / bento.TRAIN_ROWS_FILE)) == world.train.height
    assert not [path.name for path in source.rglob("*") if path.suffix in {".pyc", ".pkl"}]


def test_golden_requests_show_nulls_extremes_and_categories_with_the_models_own_scores(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    source = world.bento_source(champion[1].bento)
    golden = json.loads((source / bento.GOLDEN_FILE).read_text())
    hours = [row["hour"] for row in golden["rows"]]
    carriers = {row["carrier"] for row in golden["rows"]}
    assert len(golden["rows"]) == len(golden["scores"]) == 32
    assert {None, 0.0, 23.0} <= set(hours)
    assert carriers == {None, "AA", "B6", "UA", "WN"}
    columns = {name: [row[name] for row in golden["rows"]] for name in ("hour", "carrier")}
    again = Scorer(source / bento.MODEL_FILE, SCHEMA).score(columns)
    assert np.abs(again - golden["scores"]).max() < 1e-9


def test_the_profile_tells_nulls_quantiles_and_top_values(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    profile = json.loads((world.bento_source(champion[1].bento) / bento.PROFILE_FILE).read_text())
    hour, carrier = profile["features"]["hour"], profile["features"]["carrier"]
    assert profile["rows"] == world.train.height
    assert (hour["min"], hour["max"], len(hour["quantiles"])) == (0.0, 23.0, 101)
    assert hour["nullRate"] == pytest.approx(world.train["hour"].null_count() / world.train.height)
    assert sum(carrier["top"].values()) == carrier["count"] == world.train["carrier"].count()


def test_the_same_model_judged_beside_another_champion_is_the_same_bento(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    spec, result = champion
    assert run(world, against(spec, result)).bento == result.bento


def test_compares_with_the_champion_on_the_same_rows(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    result = run(world, against(challenger(world, "delays-v2"), champion[1]))
    assert [gate.kind for gate in result.gates] == ["notWorseThanServingBy"] * 3
    assert all(gate.limit == -0.02 for gate in result.gates)
    assert all(gate.lower <= gate.estimate <= gate.upper for gate in result.gates)
    assert result.champion == champion[1].identity


def test_five_gates_fit_into_one_termination_message(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    spec = challenger(world, "delays-v12", (*BESIDE, *GATES[:2]))
    result = run(world, against(spec, champion[1]))
    assert [gate.metric for gate in unpacked(result, spec.gates).gates] == [gate.metric for gate in spec.gates]
    assert len(encode_answer(result).encode()) <= 1024


def test_a_gate_against_the_serving_version_is_not_measured_when_nothing_serves(world: World) -> None:
    assert run(world, world.spec("delays-v3", gates=[BESIDE[0]])).gates == ()


def test_rows_that_the_champion_was_trained_on_are_dropped_and_counted(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    trained_on = [*range(1, 301), 1_000_000]
    earlier = run(world, world.spec("delays-v4", train_hashes=trained_on, gates=[]))
    own = run(world, against(challenger(world, "delays-v5"), earlier, "delays-v4"))
    assert (own.holdout_rows, own.dropped_rows) == (1700, 300)


@pytest.mark.refusal(10)
def test_refuses_a_broken_model(world: World) -> None:
    assert refused(world, world.spec("r10", b"no onnx")).reason == "OnnxBroken"


@pytest.mark.refusal(11)
def test_refuses_external_data(world: World) -> None:
    body = model()
    body.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    body.graph.initializer[0].external_data.add(key="location", value="../secrets/store/AWS_SECRET_ACCESS_KEY")
    assert refused(world, world.spec("r11", body)).reason == "OnnxExternalData"


@pytest.mark.refusal(12)
def test_refuses_a_model_whose_scores_are_not_the_trainers(world: World) -> None:
    found = refused(world, world.spec("r12", model(slope=0.21)))
    assert found.reason == "ParityOff"
    assert "the limit is 0.0001" in found.message


@pytest.mark.refusal(12)
@pytest.mark.parametrize(
    ("parity", "told"),
    [
        (b"PAR1 nothing PAR1", "it can't be read as Parquet"),
        (pl.DataFrame({"row": [0, 1, 2]}), "no column score"),
        (pl.DataFrame({"row": [0, 1, 2], "score": [0.1, 0.2, 0.3]}), "not exactly 0 .. 511 (it has 3 rows)"),
        (pl.DataFrame({"row": [0] * 512, "score": [0.1] * 512}), "not exactly 0 .. 511"),
        (pl.DataFrame({"row": np.arange(512), "score": [float("nan")] * 512}), "null, NaN or infinite"),
        (pl.DataFrame({"row": np.arange(512), "score": ["0.1"] * 512}), "not int64 and float64"),
    ],
    ids=["no parquet", "no score", "too few", "repeated", "nan", "text"],
)
def test_refuses_a_parity_file_that_proves_nothing(parity: pl.DataFrame | bytes, told: str, world: World) -> None:
    found = refused(world, world.spec("parity", parity=parity))
    assert found.reason == "ParityBroken"
    assert told in found.message


@pytest.mark.refusal(13)
def test_refuses_a_champion_whose_stored_bento_was_altered(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    path = world.folder.parent / "store" / "blobs" / "sha256" / champion[1].bento
    sound = path.read_bytes()
    path.write_bytes(sound[:5000] + bytes([sound[5000] ^ 1]) + sound[5001:])
    try:
        found = refused(world, against(challenger(world, "delays-v13"), champion[1]))
    finally:
        path.write_bytes(sound)
    assert found.reason == "DigestMismatch"
    assert champion[1].bento in found.message


def test_refuses_a_champion_that_is_another_model_than_the_one_that_serves(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    found = refused(world, against(challenger(world, "delays-v14"), replace(champion[1], identity="f" * 64)))
    assert found.reason == "ChampionBroken"


def test_says_when_the_champion_needs_a_column_that_is_gone(world: World, champion: tuple[EvaluateSpec, EvaluateResult]) -> None:
    narrow = World(world.folder, world.store, world.train, world.holdout.drop("carrier"))
    scores = pl.DataFrame({"row": np.arange(512), "score": truth(world.train.head(512), carriers={})})
    spec = narrow.spec("delays-v6", hour_only(), scores, BESIDE)
    schema = json.dumps({**SCHEMA, "features": SCHEMA["features"][:1]}).encode()
    found = refused(narrow, against(replace(spec, schema=world.store.put_bytes(schema)), champion[1]))
    assert found.reason == "ChampionNotComparable"
    assert "needs carrier" in found.message


def test_says_when_a_column_of_the_champion_is_of_another_kind_now(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    changed = World(world.folder, world.store, world.train, world.holdout.with_columns(carrier=pl.lit(7.0)))
    scores = pl.DataFrame({"row": np.arange(512), "score": truth(world.train.head(512), carriers={})})
    spec = changed.spec("delays-v7", hour_only(), scores, BESIDE)
    schema = json.dumps({**SCHEMA, "features": SCHEMA["features"][:1]}).encode()
    found = refused(changed, against(replace(spec, schema=world.store.put_bytes(schema)), champion[1]))
    assert found.reason == "ChampionNotComparable"
    assert "column 'carrier' was categorical when delays-v1 was trained and is numeric now" in found.message
    assert "take notWorseThanServingBy out of the gates" in found.message


def test_says_when_the_champions_rows_were_hashed_in_another_way(
    world: World, champion: tuple[EvaluateSpec, EvaluateResult]
) -> None:
    spec = challenger(world, "delays-v15", scheme=SCHEME)
    found = refused(world, against(spec, champion[1]))
    assert found.reason == "ChampionNotComparable"
    assert (
        f"the training rows of delays-v1 were hashed by scheme 1, and those of this version by scheme {SCHEME}" in found.message
    )
    assert "take notWorseThanServingBy out of the gates" in found.message
    alone = evaluate(replace(spec, gates=(GateSpec("roc_auc", minimum=0.6),)), world.store, world.folder / "work")
    assert json.loads((world.bento_source(alone.bento) / bento.IDENTITY_FILE).read_text())["row_hashes"] == SCHEME
    next_one = challenger(world, "delays-v16", scheme=SCHEME)
    assert evaluate(against(next_one, alone, "delays-v15"), world.store, world.folder / "work").champion == alone.identity


def hour_only() -> onnx.ModelProto:
    """`model` with the carrier's effect fixed at 0 instead of an input."""
    body = model()
    encoder = next(node for node in body.graph.node if node.op_type == "LabelEncoder")
    body.graph.node.remove(encoder)
    body.graph.initializer.append(onnx.helper.make_tensor("effect", onnx.TensorProto.FLOAT, [1], [0.0]))
    del body.graph.input[1]
    return body


def test_a_model_that_needs_too_much_memory_is_refused_and_we_live(world: World) -> None:
    body = model()
    size = onnx.helper.make_tensor("size", onnx.TensorProto.INT64, [1], [2**36])
    body.graph.initializer.append(size)
    body.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["size"], ["much"]))
    body.graph.node.insert(1, onnx.helper.make_node("ReduceSum", ["much"], ["nothing"], keepdims=0))
    body.graph.node[-1].input[0] = "logit2"
    body.graph.node.insert(len(body.graph.node) - 1, onnx.helper.make_node("Add", ["logit", "nothing"], ["logit2"]))
    found = refused(world, world.spec("memory", body), SandboxLimits(memory=1024**3))
    assert found.reason == "ScoresInvalid"  # onnxruntime catches the refused allocation itself


def test_a_model_that_never_ends_is_refused(world: World) -> None:
    found = refused(world, world.spec("slow"), SandboxLimits(wall_seconds=0.05))
    assert found.reason == "ModelTooSlow"


@pytest.mark.refusal(12)
def test_an_isotonic_calibration_that_onnx_gets_a_hundredth_wrong_is_refused_though_every_label_is_right() -> None:
    """skl2onnx steps where scikit-learn goes straight from one knot to the next: labels agree, scores do not."""
    random = np.random.default_rng(0)
    values = random.normal(size=(3000, 4)).astype(np.float32)
    labels = (random.random(3000) < 1 / (1 + np.exp(-values[:, 0] - 0.5 * values[:, 1]))).astype(int)
    fitted = CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3).fit(values, labels)
    converted = export.convert(fitted, [("values", FloatTensorType([None, 4]))])
    asked = values[:1000]
    own = fitted.predict_proba(asked)[:, 1]
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    served = session.run(None, {"values": asked})[1][:, 1].astype(np.float64)
    assert np.array_equal(own >= 0.5, served >= 0.5)
    assert np.abs(own - served).max() > 0.01
    with pytest.raises(ModelRefused) as caught:
        difference(own, served, 1e-4)
    assert caught.value.reason == "ParityOff"
    assert f"by up to {np.abs(own - served).max():.3g}" in caught.value.message


@pytest.mark.refusal(12)
def test_scores_that_are_off_by_a_hundredth_with_equal_labels_are_refused(world: World) -> None:
    own = truth(world.train.head(512))
    off = own + np.where(own >= 0.5, 0.01, -0.01)
    found = refused(world, world.spec("hundredth", parity=pl.DataFrame({"row": np.arange(512), "score": np.clip(off, 0, 1)})))
    assert found.reason == "ParityOff"
    assert "by up to 0.01" in found.message


def test_what_a_trainer_claims_is_not_what_is_measured(world: World) -> None:
    """A model that learnt its training rows by heart: perfect there, a coin on the holdout."""
    noise = world.holdout.with_columns(
        late=pl.Series(np.random.default_rng(9).integers(0, 2, world.holdout.height, dtype=np.int8))
    )
    blind = World(world.folder, world.store, world.train, noise)
    (gate,) = run(blind, blind.spec("heart", gates=[GateSpec("roc_auc", minimum=0.7)])).gates
    assert gate.upper < 0.6
