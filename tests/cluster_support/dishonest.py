"""Data and trainers that look better than they are, one for each gate that has to find it, with what a person must be told.

`test_gates` applies them all at once and looks at each. A trainer is a few lines of Python in the training image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from cluster_support import synthetic
from cluster_support.bad_inputs import GOOD, Case, trainer

ROWS = 2400
WORSE = "kiosk"
"""The slice about which the model knows nothing."""
PAID = "paid"
COPIES = 240

START = (
    "import json, polars as pl",
    "from pathlib import Path",
    "from perennial_runtime import export",
    "params = json.loads(Path('/perennial/params.json').read_text())",
    "features = export.features(params)",
    "frame = pl.read_parquet('/perennial/data/train.parquet')",
    "columns, labels = export.columns(frame, features), frame[params['label']].to_numpy()",
    "out = Path('/perennial/out')",
)
END = (
    "export.export_sklearn(fitted, features, out / 'model.onnx')",
    "scores = fitted.predict_proba(columns)[:, 1]",
    "export.write_parity(scores[: params['parity']['rows']], out / 'parity.parquet')",
    "from sklearn.metrics import roc_auc_score",
    "(out / 'metrics.json').write_text(json.dumps({'roc_auc': float(roc_auc_score(labels, scores))}))",
)
BY_HEART = (
    *START,
    "from perennial_runtime.recipes import models",
    "from perennial_runtime.recipes.hyperparameters import resolve",
    "wish = {'max_iter': 200, 'max_leaf_nodes': 64, 'min_samples_leaf': 1, 'learning_rate': 0.3}",
    "chosen, given = resolve('gradient-boosting', wish), models.Rows(columns, labels)",
    "fitted = models.fit('gradient-boosting', features, chosen, seed=1, data=given, report=lambda *told: None)",
    *END,
)
"""Learns every training row and takes what it scores there for its worth."""
ISOTONIC = (
    *START,
    "from sklearn.calibration import CalibratedClassifierCV",
    "from sklearn.compose import ColumnTransformer",
    "from sklearn.impute import SimpleImputer",
    "from sklearn.linear_model import LogisticRegression",
    "from sklearn.pipeline import Pipeline",
    "from sklearn.preprocessing import OneHotEncoder",
    "parts = [('n', SimpleImputer(), ['amount', 'hour']), ('k', OneHotEncoder(handle_unknown='ignore'), ['kind'])]",
    "calibrated = CalibratedClassifierCV(LogisticRegression(max_iter=500), method='isotonic', cv=3)",
    "fitted = Pipeline([('columns', ColumnTransformer(parts)), ('model', calibrated)]).fit(columns, labels)",
    *END,
)
"""Its ONNX steps where scikit-learn goes straight: every label the same, scores off by a hundredth and more."""

GATES = [{"metric": "roc_auc", "minimum": 0.6}]
CASES = (
    Case(
        0, "tells", "Failed", ("LabelLeaked", f"'{PAID}' (AUC 1.0000)", "'late'", "1920 training rows", "0.995"),
        fix="leave it out of data.columns",
        data="tells",
        spec={"data": {"columns": [*synthetic.COLUMNS, {"name": PAID, "role": "feature"}]}},
    ),
    Case(
        0, "copies", "Failed", ("RowsShared", "holdout rows (", "'amount'", "over 1%"),
        fix="remove the copies at the source",
        data="copies",
    ),
    Case(
        0, "row-number", "Failed", ("IdAsFeature", "'row' is another text in each of 1920 training rows"),
        fix="give it role id",
        spec={"data": {"columns": [{"name": synthetic.ROW, "role": "feature"}, *synthetic.COLUMNS[1:]]}},
    ),
    Case(
        0, "by-heart", "Rejected", ("roc_auc 0.", "bounds) is under the minimum 0.6", "its trainer claims 0.99|1.00"),
        fix="is under the minimum",
        data="noise",
        spec=trainer(*BY_HEART),
    ),
    Case(
        0, "one-slice", "Rejected", ("roc_auc by slice: 1 of 3 are under the minimum 0.72", f"kind={WORSE} 0.", "adjusted p"),
        fix="under the minimum",
        data="slice",
        spec={
            "evaluation": {
                "gates": [*GATES, {"metric": "roc_auc", "minimumPerSlice": 0.72}],
                "slices": [{"column": "kind", "minimumRows": 100}],
            }
        },
    ),
    Case(
        0, "isotonic", "Rejected", ("ParityOff", "by up to 0.0", "of 512 rows", "the limit is 0.0001"),
        fix="correct it, or raise spec.evaluation.parity.maxAbsDifference",
        spec=trainer(*ISOTONIC),
    ),
)  # fmt: skip


def data() -> Sequence[tuple[str, bytes]]:
    """Every folder's file."""
    whole = synthetic.table(ROWS)
    tells = whole.with_columns(pl.when(pl.col(synthetic.LABEL) == 1).then(pl.lit("yes")).otherwise(pl.lit("no")).alias(PAID))
    later = whole[:COPIES].with_columns(
        pl.col(synthetic.TIME) + timedelta(minutes=ROWS), row=pl.format("again-{}", pl.col(synthetic.ROW))
    )
    noise = synthetic.table(ROWS, signal=0.0)
    coin = pl.Series(np.random.default_rng(8).integers(0, 2, ROWS))
    worse = whole.with_columns(
        pl.when(pl.col("kind") == WORSE).then(coin).otherwise(pl.col(synthetic.LABEL)).alias(synthetic.LABEL)
    )
    folders: Mapping[str, Any] = {
        "tells": tells,
        "copies": pl.concat([whole, later]),
        "noise": noise,
        "slice": worse,
        GOOD: whole,
    }
    return [(f"{folder}/part-1.parquet", synthetic.parquet(table)) for folder, table in folders.items()]
