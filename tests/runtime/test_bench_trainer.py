"""The trainer of the rollout suites: as good as scikit-learn's logistic regression without it, and bad only on chosen words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cluster_support import synthetic
from perennial_runtime.reporter import collect
from perennial_runtime.scoring import ScoreError, Scorer
from perennial_runtime.store import Store
from runtime.scripts import module_of

ROOT = Path(__file__).parents[2]
FEATURES = [{"name": name, "kind": "categorical" if name == "kind" else "numeric"} for name in synthetic.FEATURES]
PARAMS = {"task": "classification", "label": synthetic.LABEL, "features": FEATURES, "parity": {"rows": 512}}
ROWS = 2000


def trainer() -> ModuleType:
    return module_of(ROOT / "tests/benchmarks/trainer/train.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data and params.json, as a trainer finds them."""
    synthetic.table(ROWS).write_parquet(tmp_path / "train.parquet")
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    return tmp_path


def trained(folder: Path, *, salt: int = 0, fails_on: tuple[str, ...] = ()) -> Path:
    out = folder / f"out-{salt}"
    out.mkdir()
    files = folder / "train.parquet", folder / "params.json", out
    trainer().train(*files, salt=salt, fails_on=list(fails_on), ends_on=[])
    return out


def columns(data: pl.DataFrame) -> dict[str, list[object]]:
    return {name: data[name].to_list() for name in synthetic.FEATURES}


def matrix(data: pl.DataFrame) -> np.ndarray:
    """Numbers, and a column for each kind; a missing number is 0."""
    kinds = [pl.col("kind").eq(kind).cast(pl.Float64).alias(kind) for kind in synthetic.KINDS]
    return data.select(pl.col("amount", "hour").cast(pl.Float64).fill_null(0.0), *kinds).to_numpy()


def test_it_ranks_new_rows_as_well_as_scikit_learns_logistic_regression(folder: Path) -> None:
    data, new = (synthetic.table(ROWS, first=first) for first in (0, ROWS))
    reference = LogisticRegression(max_iter=500).fit(matrix(data), data[synthetic.LABEL].to_numpy())
    wanted = roc_auc_score(new[synthetic.LABEL], reference.predict_proba(matrix(new))[:, 1])
    found = roc_auc_score(new[synthetic.LABEL], Scorer(trained(folder) / "model.onnx", PARAMS).score(columns(new)))
    assert found > 0.8
    assert found == pytest.approx(wanted, abs=0.005)


def test_its_scores_are_its_models_and_another_salt_is_another_model_that_answers_alike(folder: Path) -> None:
    first, other = trained(folder, salt=1), trained(folder, salt=2)
    assert (first / "model.onnx").read_bytes() != (other / "model.onnx").read_bytes()
    answers = [Scorer(out / "model.onnx", PARAMS).score(columns(synthetic.table(ROWS))) for out in (first, other)]
    assert np.abs(answers[0] - answers[1]).max() < 1e-3
    assert np.abs(answers[0][:512] - pl.read_parquet(first / "parity.parquet")["score"].to_numpy()).max() < 1e-5
    assert collect(Store(f"file://{folder}/store"), first).problem is None


def test_it_fails_on_the_words_that_it_was_told_and_on_no_other(folder: Path) -> None:
    scorer = Scorer(trained(folder, fails_on=("market",)) / "model.onnx", PARAMS)
    row = {"amount": [0.5], "hour": [12.0]}
    assert len(scorer.score({**row, "kind": ["unheard of"]})) == 1
    with pytest.raises(ScoreError):
        scorer.score({**row, "kind": ["market"]})


def test_a_trainer_that_converts_no_pipeline_loads_neither_scikit_learn_nor_skl2onnx() -> None:
    script = ROOT / "tests/benchmarks/trainer/train.py"
    program = f"import runpy, sys; runpy.run_path({str(script)!r}); print(*{{one.partition('.')[0] for one in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "serving")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    loaded = set(done.stdout.split())
    assert "perennial_runtime" in loaded
    assert not loaded & {"sklearn", "skl2onnx", "scipy"}
