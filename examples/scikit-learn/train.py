"""A scikit-learn trainer that keeps the file contract (docs/file-contract.md): a forest of two classes or of several, exported by
perennial_runtime.export."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial_runtime import export

BASE = Path(os.environ.get("PERENNIAL_ROOT", "/")) / "perennial"  # PERENNIAL_ROOT: only where perennial_runtime.check runs it
KEPT_ROWS = 0.1  # the newest share of the rows, on which the claims are measured


def pipeline(features: tuple[export.Feature, ...], trees: int, seed: int) -> Pipeline:
    """Missing numbers become the mean; a text that was never seen, or is missing, is none of the known ones."""
    numbers = [feature.name for feature in features if feature.kind == "numeric"]
    texts = [feature.name for feature in features if feature.kind == "categorical"]
    columns = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
        ]
    )
    forest = RandomForestClassifier(n_estimators=trees, min_samples_leaf=10, random_state=seed, n_jobs=1)
    return Pipeline([("columns", columns), ("forest", forest)])


def main() -> None:
    """Fit on the older rows for an honest claim, then on all rows for the model."""
    params = json.loads((BASE / "params.json").read_text())
    features = export.features(params)
    frame = pl.read_parquet(BASE / "data" / "train.parquet")  # ordered by time
    columns, labels = export.columns(frame, features), frame[params["label"]].to_numpy()
    trees, seed = int(params["hyperparameters"].get("trees", 100)), params["seed"]
    out = BASE / "out"

    older = round(len(labels) * (1 - KEPT_ROWS))
    first = pipeline(features, trees, seed).fit(columns[:older], labels[:older])
    accuracy = float(first.score(columns[older:], labels[older:]))
    (out / "metrics.json").write_text(json.dumps({"accuracy": accuracy, "rows": len(labels)}))

    model = pipeline(features, trees, seed).fit(columns, labels)
    export.export_sklearn(model, features, out / "model.onnx", params.get("classes"))
    found = model.predict_proba(columns[: params["parity"]["rows"]])
    export.write_parity(found if "classes" in params else found[:, 1], out / "parity.parquet", params["task"])


if __name__ == "__main__":
    main()
