"""A model that is there already: fetched if it is the one that was meant, and judged as one that was trained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from perennial_runtime import brought
from perennial_runtime.answers import Refused
from perennial_runtime.contract import EvaluateSpec, ModelSource, encode_answer
from perennial_runtime.evaluate import evaluate
from runtime import evaluate_world
from runtime.steps_world import World, frame

BODY = b"a model"
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.onnx").write_bytes(BODY)
    return World(tmp_path)


def source(world: World, digest: str = DIGEST, name: str = "model.onnx") -> ModelSource:
    return ModelSource(f"file://{world.root}/models/{name}", digest)


def refusal(world: World, model: ModelSource, most: int = 1024) -> Refused:
    with pytest.raises(Refused) as caught:
        brought.fetch(model, world.store, world.root, world.root / "none", most)
    return caught.value


def test_model_is_in_the_store_under_its_digest(world: World) -> None:
    assert brought.fetch(source(world), world.store, world.root, world.root / "none") == DIGEST
    assert world.store.get_bytes(DIGEST) == BODY


def test_model_of_another_digest_is_refused_with_both_and_not_stored(world: World) -> None:
    found = refusal(world, source(world, "0" * 64))
    assert found.reason == "ModelDigestDiffers"
    for words in (f"has sha256:{DIGEST}", f"is sha256:{'0' * 64}", "models/model.onnx", "correct the digest or the URI"):
        assert words in found.message
    assert not (world.root / "store" / "blobs").exists()


def test_model_that_is_not_there_is_told_by_its_uri(world: World) -> None:
    found = refusal(world, source(world, name="other.onnx"))
    assert (found.reason, "models/other.onnx" in found.message) == ("ObjectNotFound", True)


def test_model_that_is_too_large_is_refused_before_it_is_fetched(world: World) -> None:
    found = refusal(world, source(world), most=6)
    assert (found.reason, "has 7 bytes, at most 6" in found.message) == ("ModelTooLarge", True)


def test_prepare_fetches_the_model_beside_the_rows(world: World) -> None:
    frame().write_parquet(world.source / "rows.parquet")
    result = world.prepare(model=source(world))
    assert (result.model, world.store.get_bytes(DIGEST)) == (DIGEST, BODY)
    assert encode_answer(result)


def test_prepare_refuses_a_wrong_model_before_it_reads_a_row(world: World) -> None:
    (world.source / "rows.parquet").write_text("no rows")
    assert world.refusal(model=source(world, "0" * 64)).reason == "ModelDigestDiffers"


def judged(tmp_path: Path) -> tuple[evaluate_world.World, EvaluateSpec]:
    world = evaluate_world.World.make(tmp_path)
    return world, replace(world.spec(), parity="", record=(("Model that was there already", "s3://models/m"),))


def test_model_without_a_trainers_scores_is_judged_by_the_same_gates_and_parity_is_said_not_to_be(tmp_path: Path) -> None:
    world, spec = judged(tmp_path)
    result = evaluate(spec, world.store, world.folder / "work")
    assert result.parity is None
    assert [(gate.metric, gate.lower > 0.6) for gate in result.gates] == [("roc_auc", True)]
    assert result.card is not None
    card = json.loads(world.store.get_bytes(result.card))
    for page in (card["markdown"], card["html"]):
        assert "Parity was not judged: no trainer told its scores." in page
        assert "it may have seen some of the 2000" in page
        assert "700 rows trained it" not in page
    assert json.loads(world.store.get_bytes(result.evidence or ""))["parity"] is None
    golden = json.loads((world.bento_source(result.bento) / "golden.json").read_text())
    assert len(golden["rows"]) == 32


def test_model_that_is_none_is_refused_as_a_trained_one_is(tmp_path: Path) -> None:
    world = evaluate_world.World.make(tmp_path)
    with pytest.raises(Refused) as caught:
        evaluate(replace(world.spec(onnx_model=b"no model"), parity=""), world.store, world.folder / "work")
    assert caught.value.reason == "OnnxBroken"
