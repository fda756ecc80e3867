"""The checks of a stranger's ONNX file, without the process around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.onnx_check import check, score_tables
from runtime.evaluate_world import SCHEMA, model

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def refusal(body: onnx.ModelProto | bytes, folder: Path, **arguments: int) -> ModelRefused:
    path = folder / "model.onnx"
    path.write_bytes(body if isinstance(body, bytes) else body.SerializeToString())
    with pytest.raises(ModelRefused) as caught:
        check(path, SCHEMA, DOMAINS, **arguments)
    return caught.value


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    body = model()
    change(body)
    return body


def external(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def in_subgraph(body: onnx.ModelProto) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    external(hidden)
    branch = helper.make_graph([helper.make_node("Constant", [], ["out"], value=hidden)], "branch", [], [])
    body.graph.node.append(helper.make_node("If", ["no_hour"], ["never"], then_branch=branch, else_branch=branch))


def in_function(body: onnx.ModelProto) -> None:
    node = helper.make_node("Steal", ["x"], ["y"], domain="evil")
    body.functions.append(helper.make_function("", "Mine", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


def test_accepts_a_sound_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    check(path, SCHEMA, DOMAINS)


def test_accepts_double_inputs_for_numbers(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model(numeric=TensorProto.DOUBLE).SerializeToString())
    check(path, SCHEMA, DOMAINS)


@pytest.mark.refusal(10)
@pytest.mark.parametrize("body", [b"", b"not onnx at all", b"\x08"], ids=["empty", "text", "cut"])
def test_refuses_a_file_that_is_no_onnx(body: bytes, tmp_path: Path) -> None:
    assert refusal(body, tmp_path).reason == "OnnxBroken"


@pytest.mark.refusal(10)
def test_refuses_a_truncated_model(tmp_path: Path) -> None:
    whole = model().SerializeToString()
    assert refusal(whole[: len(whole) // 2], tmp_path).reason == "OnnxBroken"


@pytest.mark.refusal(10)
def test_refuses_a_file_over_the_size_limit_and_names_both_sizes(tmp_path: Path) -> None:
    found = refusal(model(), tmp_path, limit=100)
    assert found.reason == "OnnxTooLarge"
    assert "at most 100" in found.message


@pytest.mark.refusal(10)
def test_refuses_an_operator_that_does_not_exist(tmp_path: Path) -> None:
    found = refusal(changed(lambda body: setattr(body.graph.node[0], "op_type", "IsNoNumber")), tmp_path)
    assert (found.reason, "IsNoNumber" in found.message) == ("OnnxBroken", True)


@pytest.mark.refusal(11)
@pytest.mark.parametrize(
    "hide", [lambda body: external(body.graph.initializer[0]), in_subgraph], ids=["initializer", "attribute of a subgraph"]
)
def test_refuses_tensors_in_other_files(hide: Callable[[onnx.ModelProto], object], tmp_path: Path) -> None:
    found = refusal(changed(hide), tmp_path)
    assert found.reason == "OnnxExternalData"
    assert "save it as one file" in found.message


@pytest.mark.refusal(11)
def test_refuses_external_data_in_a_sparse_tensor(tmp_path: Path) -> None:
    def hide(body: onnx.ModelProto) -> None:
        values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
        external(values)
        indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
        body.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))

    assert refusal(changed(hide), tmp_path).reason == "OnnxExternalData"


@pytest.mark.refusal(11)
def test_refuses_operators_of_unknown_domains_and_names_them(tmp_path: Path) -> None:
    found = refusal(changed(lambda body: setattr(body.graph.node[0], "domain", "evil.example")), tmp_path)
    assert found.reason == "OnnxDomainNotAllowed"
    assert "evil.example::IsNaN" in found.message
    assert "allowed are those of ai.onnx" in found.message


@pytest.mark.refusal(11)
def test_refuses_unknown_domains_inside_local_functions(tmp_path: Path) -> None:
    assert "evil::Steal" in refusal(changed(in_function), tmp_path).message


def test_names_the_features_without_an_input_and_the_inputs_without_a_feature(tmp_path: Path) -> None:
    found = refusal(changed(lambda body: setattr(body.graph.input[1], "name", "airline")), tmp_path)
    # the checker may find the dangling input first; either way it is refused with the input's name
    assert found.reason in {"OnnxInputsDiffer", "OnnxBroken"}
    assert "carrier" in found.message


def test_refuses_an_input_of_the_wrong_type(tmp_path: Path) -> None:
    schema = {**SCHEMA, "features": [{**feature, "kind": "numeric"} for feature in SCHEMA["features"]]}
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString())
    with pytest.raises(ModelRefused, match="'carrier' holds string, but the feature is numeric"):
        check(path, schema, DOMAINS)


def test_refuses_a_fixed_number_of_rows(tmp_path: Path) -> None:
    def fix(body: onnx.ModelProto) -> None:
        body.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    assert "takes 1 rows at a time" in refusal(changed(fix), tmp_path).message


def test_refuses_a_model_without_the_score_output(tmp_path: Path) -> None:
    def rename(body: onnx.ModelProto) -> None:
        body.graph.node[-1].output[0] = "probability"
        body.graph.output[0].name = "probability"

    found = refusal(changed(rename), tmp_path)
    assert found.reason == "OnnxScoreMissing"
    assert "'score' (it has probability)" in found.message


def table(hours: list[float], carriers: list[str]) -> Table:
    codes = np.arange(len(carriers), dtype=np.int32)
    return Table(rows=len(hours), numbers={"hour": np.array(hours)}, texts={"carrier": (carriers, codes)})


def failing_for(carrier: str) -> onnx.ModelProto:
    """`model`, but a Gather out of range (index 9 of 1) for one carrier, as an encoder without a default would do."""
    body = model()
    encode = helper.make_node(
        "LabelEncoder",
        ["carrier"],
        ["index"],
        domain="ai.onnx.ml",
        keys_strings=[carrier],
        values_int64s=[9],
        default_int64=0,
    )
    gather = helper.make_node("Gather", ["noon", "index"], ["picked"])
    same = helper.make_node("Sub", ["picked", "noon"], ["nothing"])
    body.graph.node[-1].input[0] = "shifted"
    nodes = [*body.graph.node[:-1], encode, gather, same, helper.make_node("Add", ["logit", "nothing"], ["shifted"])]
    last = body.graph.node[-1]
    kept = onnx.NodeProto()
    kept.CopyFrom(last)
    del body.graph.node[:]
    body.graph.node.extend([*nodes, kept])
    return body


def test_a_model_that_fails_on_a_row_is_refused_without_telling_the_value(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(failing_for("SECRET").SerializeToString())
    with pytest.raises(ModelRefused) as caught:
        score_tables(path, SCHEMA, {"all": [table([1.0, 2.0], ["AA", "SECRET"])]}, tolerant=False)
    assert caught.value.reason == "ScoresInvalid"
    assert "failed on a batch of 2 rows" in caught.value.message
    assert "SECRET" not in caught.value.message


def test_a_champion_that_fails_on_a_row_answers_the_others(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(failing_for("ZZ").SerializeToString())
    carriers = ["AA", "B6", "ZZ", "UA", "AA "]
    scores = score_tables(path, SCHEMA, {"all": [table([1.0, 2.0, 3.0, 4.0, 5.0], carriers)]}, tolerant=True)["all"]
    assert np.isnan(scores).tolist() == [False, False, True, False, False]


def test_scores_outside_zero_and_one_are_refused(tmp_path: Path) -> None:
    def no_sigmoid(body: onnx.ModelProto) -> None:
        body.graph.node[-1].op_type = "Identity"

    path = tmp_path / "model.onnx"
    path.write_bytes(changed(no_sigmoid).SerializeToString())
    with pytest.raises(ModelRefused, match=r"outside \[0, 1\] for 1 of 2 rows"):
        score_tables(path, SCHEMA, {"all": [table([0.0, 14.0], ["B6", "B6 "])]}, tolerant=False)


def test_scores_that_are_nan_are_refused(tmp_path: Path) -> None:
    def root(body: onnx.ModelProto) -> None:
        body.graph.node[-1].op_type = "Sqrt"

    path = tmp_path / "model.onnx"
    path.write_bytes(changed(root).SerializeToString())
    with pytest.raises(ModelRefused, match="NaN or infinite for 1 of 2 rows"):
        score_tables(path, SCHEMA, {"all": [table([0.0, 14.0], ["B6", "B6 "])]}, tolerant=False)
