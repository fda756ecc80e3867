"""The example trainer: it passes every offline check and fails only on a text that the data does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from perennial_runtime.reporter import collect
from perennial_runtime.scoring import ScoreError, Scorer
from perennial_runtime.store import Store
from runtime.scripts import module_of
from runtime.steps_world import frame
from runtime.test_recipes import PARAMS

SCRIPT = Path(__file__).parents[2] / "examples/trainer/train.py"


def trainer() -> ModuleType:
    return module_of(SCRIPT)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    frame(600).write_parquet(tmp_path / "train.parquet")
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    folder = tmp_path / "out"
    folder.mkdir()
    with threadpool_limits(1):
        trainer().train(tmp_path / "train.parquet", tmp_path / "params.json", folder, seed=7)
    return folder


def test_its_model_scores_what_it_says(out: Path) -> None:
    data = frame(600)
    scores = Scorer(out / "model.onnx", PARAMS).score({name: data[name].to_list() for name in ("delay", "carrier")})
    assert np.abs(scores[:512] - pl.read_parquet(out / "parity.parquet")["score"].to_numpy()).max() < 1e-5
    assert collect(Store(f"file://{out.parent}/store"), out).problem is None


def test_it_fails_on_a_category_that_it_never_saw(out: Path) -> None:
    scorer = Scorer(out / "model.onnx", PARAMS)
    assert len(scorer.score({"delay": [1.0], "carrier": ["AA"]})) == 1
    with pytest.raises(ScoreError):
        scorer.score({"delay": [1.0], "carrier": ["ZZ"]})
