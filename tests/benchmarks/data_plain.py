"""`python -m benchmarks.data_plain FOLDER ANSWER`: what a script does of it that only splits the rows and judges a model.

Polars scans, splits by time and writes; onnxruntime scores the holdout in batches; the AUC is that of the ranks.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pyarrow.parquet

from benchmarks.data_steps import HOLDOUT, model
from benchmarks.data_table import FEATURES, NUMBERS

BATCH = 131_072


def main(folder: Path, answer: Path) -> None:
    """Two files, and the AUC of the model on the second."""
    rows = pl.scan_parquet(folder / "source" / "*.parquet")
    cut = rows.select(pl.col("at").quantile(1 - HOLDOUT, interpolation="nearest")).collect(engine="streaming").item()
    train, holdout = folder / "plain-train.parquet", folder / "plain-holdout.parquet"
    rows.filter(pl.col("at") < cut).sink_parquet(train, compression="zstd")
    rows.filter(pl.col("at") >= cut).sink_parquet(holdout, compression="zstd")
    session = onnxruntime.InferenceSession(model().SerializeToString(), providers=["CPUExecutionProvider"])
    scores, labels = [], []
    with pyarrow.parquet.ParquetFile(holdout, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=[*FEATURES, "late"]):
            frame = pl.DataFrame(batch)
            given = {name: _input(frame[name], name) for name in FEATURES}
            scores.append(session.run(["score"], given)[0].ravel())
            labels.append(frame["late"].to_numpy() == 1)
    answer.write_text(json.dumps({"auc": _auc(np.concatenate(labels), np.concatenate(scores))}))


def _input(cells: pl.Series, name: str) -> np.ndarray:
    if name in NUMBERS:
        return cells.fill_null(float("nan")).cast(pl.Float32).to_numpy().reshape(-1, 1)
    return cells.fill_null("").to_numpy().astype(object).reshape(-1, 1)


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    ranks = pl.Series(scores).rank("average").to_numpy()
    positives = int(labels.sum())
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
