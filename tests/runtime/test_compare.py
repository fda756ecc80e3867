"""compare: a version's model beside the one that was trained again, and in what they differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.compare import Pair, compare
from perennial_runtime.contract import CompareSpec, ReproduceResult, decode_answer, encode_answer
from perennial_runtime.evaluate_sandbox import SandboxLimits
from perennial_runtime.model_difference import difference
from runtime.evaluate_world import World, model

PACKAGES = "# python 3.11.2\nnumpy==2.1.0\nscikit-learn==1.6.0\n"


class Again:
    """A version with everything in the store, and what a trainer writes now."""

    def __init__(self, folder: Path) -> None:
        self.world = World.make(folder, train_rows=600, holdout_rows=20)
        judged = self.world.spec()
        self.out, self.room = folder / "out", folder / "room"
        self.out.mkdir()
        self.room.mkdir()
        self.train_file = folder / "files" / "train.parquet"
        told = self.world.store.put_bytes(PACKAGES.encode())
        self.spec = CompareSpec("delays-v1", "", judged.model, judged.train, judged.schema, told)

    def writes(self, made: onnx.ModelProto | bytes, packages: str = PACKAGES) -> Again:
        body = made if isinstance(made, bytes) else made.SerializeToString()
        (self.out / "model.onnx").write_bytes(body)
        (self.out / "environment.txt").write_text(packages)
        return self

    def result(self) -> ReproduceResult:
        pair = Pair(self.room / "before.onnx", self.room / "now.onnx", self.room, SandboxLimits(cpu_seconds=40, wall_seconds=40))
        found = compare(self.spec, self.world.store, self.out, self.train_file, pair)
        assert decode_answer(encode_answer(found)) == found
        return found


@pytest.fixture
def again(tmp_path: Path) -> Again:
    return Again(tmp_path)


def test_same_bytes_are_bit_equal(again: Again) -> None:
    found = again.writes(model()).result()
    assert (found.equal, found.model) == (True, again.spec.model)
    assert found.message == f"model.onnx is bit-equal (sha256:{again.spec.model[:12]})"


def test_other_weights_are_told_with_how_far_they_and_the_scores_are_apart(again: Again) -> None:
    found = again.writes(model(slope=0.25)).result()
    assert not found.equal
    assert "bytes instead of" in found.message
    assert "1 of " in found.message
    assert "numbers by up to 0.05" in found.message
    assert "of 512 rows of the parity sample have another score, by up to 0." in found.message
    assert found.message.endswith("the packages are the same")


def test_graph_that_differs_in_names_only_is_told_to_score_the_same(again: Again) -> None:
    named = model()
    named.graph.name = "another"
    found = again.writes(named).result()
    assert "graph, tensors and attributes are the same" in found.message
    assert "all 512 rows of the parity sample have the same score" in found.message


def test_packages_of_other_versions_are_named(again: Again) -> None:
    found = again.writes(model(slope=0.3), "# python 3.11.2\nnumpy==2.2.0\nonnx==1.18.0\n").result()
    assert "packages: numpy 2.1.0 is 2.2.0 now, onnx none is 1.18.0 now, scikit-learn 1.6.0 is none now" in found.message


def test_packages_that_nobody_told_are_said_to_be_not_told(again: Again) -> None:
    again.spec = replace(again.spec, environment=None)
    assert again.writes(model(slope=0.3)).result().message.endswith("the packages of then are not told")


def test_new_file_that_is_no_model_is_told_and_breaks_nothing(again: Again) -> None:
    found = again.writes(b"not ONNX at all").result()
    assert not found.equal
    assert "can't be compared tensor by tensor" in found.message
    assert "its scores can't be compared: Onnx" in found.message


def test_words_hold_no_category_of_the_data(again: Again) -> None:
    carriers = {"secret-carrier": 4.0, "AA": 1.0}
    message = again.writes(model(carriers=carriers)).result().message
    assert "secret-carrier" not in message
    assert "have another size" in message


def test_words_that_a_hostile_file_brings_are_cut_and_made_plain(again: Again) -> None:
    hostile = model()
    hostile.producer_name = '\n"\x1b[31m\u00fc' * 40
    hostile.opset_import[1].domain = '"\\' * 400
    message = again.writes(hostile).result().message
    assert message.isascii()
    assert message.isprintable()


def test_trainer_that_wrote_no_model_is_refused_in_its_own_words(again: Again) -> None:
    with pytest.raises(Refused, match=r"without writing out/model\.onnx"):
        again.result()


def test_link_in_the_place_of_the_model_is_not_followed(again: Again, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (again.out / "model.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(Refused, match="is a link or no file"):
        again.result()


def test_operator_sets_and_nodes_are_compared() -> None:
    other = model()
    other.opset_import[0].version = 18
    del other.graph.node[-1]
    found = difference(model(), other)
    assert found[0] == "operator sets: ai.onnx 17, ai.onnx.ml 3, now ai.onnx 18, ai.onnx.ml 3"
    assert "8 nodes, now 7" in " ".join(found) or "7 nodes, now 6" in " ".join(found)


def test_tensors_that_lie_in_other_files_are_not_looked_for(again: Again) -> None:
    outside = model(slope=0.3)
    tensor = outside.graph.initializer.add(name="more", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    found = again.writes(outside).result()
    assert "can't be compared tensor by tensor (ValidationError)" in found.message
    assert "its scores can't be compared: OnnxExternalData" in found.message


def test_tensor_of_a_type_that_there_is_not_is_told_and_breaks_nothing(again: Again) -> None:
    odd = model(slope=0.3)
    odd.graph.initializer.add(name="more", data_type=999, dims=[1], raw_data=b"1234")
    assert "can't be compared tensor by tensor (KeyError)" in again.writes(odd).result().message
