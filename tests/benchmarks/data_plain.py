"""`python -m benchmarks.data_plain FOLDER ANSWER split|same`: what a plain script does of it.

`split`: Polars scans, splits by time and writes. `same`: what prepare leaves, so repeats removed and rows in order of time, by
Polars' own `unique` and `sort`, which hold all rows in memory; of as many files as SAME_BYTES are, then. Either way onnxruntime
scores the holdout in batches, and the AUC is that of the ranks.
"""

from __future__ import annotations

import json
import sys
from itertools import accumulate
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pyarrow.parquet

from benchmarks.data_steps import HOLDOUT, model
from benchmarks.data_table import FEATURES, NUMBERS

BATCH = 131_072
SAME_BYTES = 10**9
"""Of files; in memory they are over three times as much."""


def main(folder: Path, answer: Path, what: str) -> None:
    """Two files, and the AUC of the model on the second."""
    files = sorted((folder / "source").glob("*.parquet"))
    if what == "same":
        files = files[: max(1, sum(so_far <= SAME_BYTES for so_far in accumulate(path.stat().st_size for path in files)))]
    rows = pl.scan_parquet(files)
    cut = rows.select(pl.col("at").quantile(1 - HOLDOUT, interpolation="nearest")).collect(engine="streaming").item()
    if what == "same":
        rows = _in_order(rows, folder / "plain-all.parquet")
    train, holdout = folder / "plain-train.parquet", folder / "plain-holdout.parquet"
    rows.filter(pl.col("at") < cut).sink_parquet(train, compression="zstd")
    rows.filter(pl.col("at") >= cut).sink_parquet(holdout, compression="zstd")
    found = {"auc": _judged(holdout), "bytes": sum(path.stat().st_size for path in files)}
    answer.write_text(json.dumps(found))


def _in_order(rows: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """Each row once, the oldest first; written once, not sorted again for each side."""
    rows.unique().sort("at").sink_parquet(path, compression="lz4")
    return pl.scan_parquet(path)


def _judged(holdout: Path) -> float:
    session = onnxruntime.InferenceSession(model().SerializeToString(), providers=["CPUExecutionProvider"])
    scores, labels = [], []
    with pyarrow.parquet.ParquetFile(holdout, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=[*FEATURES, "late"]):
            frame = pl.DataFrame(batch)
            given = {name: _input(frame[name], name) for name in FEATURES}
            scores.append(session.run(["score"], given)[0].ravel())
            labels.append(frame["late"].to_numpy() == 1)
    return _auc(np.concatenate(labels), np.concatenate(scores))


def _input(cells: pl.Series, name: str) -> np.ndarray:
    if name in NUMBERS:
        return cells.fill_null(float("nan")).cast(pl.Float32).to_numpy().reshape(-1, 1)
    return cells.fill_null("").to_numpy().astype(object).reshape(-1, 1)


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    ranks = pl.Series(scores).rank("average").to_numpy()
    positives = int(labels.sum())
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
