"""The examples of trainers of one's own keep the file contract: each is run where `perennial_runtime.check` puts it, and judged.

PyTorch is too large for the development environment: of that example the part in front of the network is tested here, the script
is compiled, and where torch can be imported it is run and judged as the others are.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from perennial_runtime.scoring import Scorer
from runtime.check_world import ROOT, levels, trained

EXAMPLES = ROOT / "examples"
FEATURES = [{"name": "hour", "kind": "numeric"}, {"name": "carrier", "kind": "categorical"}]


def front() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_front", EXAMPLES / "pytorch/front.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_scikit_learn_trainer_keeps_the_contract(tmp_path: Path) -> None:
    found = levels(trained(tmp_path, EXAMPLES / "scikit-learn/train.py", "--hyperparameter", "trees=3"))
    assert found["wrong"] == []
    assert any("claims: accuracy" in one for one in found["ok"])


def test_scikit_learn_trainer_keeps_the_contract_for_several_classes(tmp_path: Path) -> None:
    options = ("--task", "multiclass", "--hyperparameter", "trees=3")
    assert levels(trained(tmp_path, EXAMPLES / "scikit-learn/train.py", *options))["wrong"] == []


def test_front_computes_in_the_graph_what_training_saw(tmp_path: Path) -> None:
    made = front()
    columns = [made.Number("hour", 12.0, 6.0), made.Text("carrier", ("AA", "UA"))]
    rows = {"hour": [6.0, None, 24.0, 1e30], "carrier": ["AA", "UA", None, "never seen"]}
    weights, shift = np.float32([[0.5], [-0.25]]), np.float32([0.1])
    body = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Gemm", ["matrix", "w", "b"], ["logit"]),
                helper.make_node("Sigmoid", ["logit"], ["score"]),
            ],
            "network",
            [helper.make_tensor_value_info("matrix", TensorProto.FLOAT, ["N", 2])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])],
            [
                helper.make_tensor("w", TensorProto.FLOAT, [2, 1], weights.ravel()),
                helper.make_tensor("b", TensorProto.FLOAT, [1], shift),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    (tmp_path / "model.onnx").write_bytes(made.in_front(columns, body).SerializeToString())
    scores = Scorer(tmp_path / "model.onnx", {"features": FEATURES}).score(rows)
    matrix = made.matrix(columns, rows)
    assert matrix[:3].tolist() == [[-1.0, 1.0], [0.0, 2.0], [2.0, 0.0]]
    assert scores == pytest.approx(1 / (1 + np.exp(-(matrix @ weights + shift).ravel().astype(np.float64))), abs=1e-6)


def test_network_of_another_input_is_refused() -> None:
    made = front()
    graph = helper.make_graph([], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])], [])
    with pytest.raises(ValueError, match="input_names="):
        made.in_front([made.Number("hour", 0.0, 1.0)], helper.make_model(graph))


def test_pytorch_trainer_is_python() -> None:
    source = (EXAMPLES / "pytorch/train.py").read_text()
    compile(source, "train.py", "exec")
    assert "from front import" in source


if importlib.util.find_spec("torch"):

    def test_pytorch_trainer_keeps_the_contract(tmp_path: Path) -> None:
        found = levels(trained(tmp_path, EXAMPLES / "pytorch/train.py", "--hyperparameter", "epochs=2"))
        assert found["wrong"] == []
        assert any(one.startswith("checkpoint/") for one in found["ok"])


@pytest.mark.parametrize("folder", ["scikit-learn", "pytorch"])
def test_example_is_whole(folder: str) -> None:
    names = {path.name for path in (EXAMPLES / folder).iterdir()} - {"__pycache__"}
    assert names >= {"Dockerfile", "train.py", "modeldeployment.yaml"}
    training = yaml.safe_load((EXAMPLES / folder / "modeldeployment.yaml").read_text())["spec"]["training"]
    script = (EXAMPLES / folder / "train.py").read_text()
    assert all(f'"{name}"' in script for name in training["smoke"]["hyperparameters"])
