"""The two recipes: fitted scikit-learn pipelines over named columns, ready for `export.export_sklearn`.

Both take the columns as `export.columns` gives them and leave nothing for the caller to prepare: missing numbers, missing and
unseen categories are handled by the pipeline's own first step. Deterministic for a seed. Used by `train`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial_runtime.export import NUMERIC, Feature
from perennial_runtime.recipes.encoders import RateEncoder, Standardizer
from perennial_runtime.recipes.hyperparameters import GRADIENT_BOOSTING

CHUNKS = 10
"""In how many parts a long fit reports its progress."""

LOSS_ROWS = 10_000

Labels = NDArray[np.int64]
Report = Callable[[int, int, float], None]
"""Told (done, of, training loss) as the fit goes on."""


def fit(
    algorithm: str,
    features: Sequence[Feature],
    hyperparameters: Mapping[str, float],
    *,
    seed: int,
    data: tuple[pl.DataFrame, Labels],
    report: Report,
) -> Pipeline:
    """Fit one recipe to (columns, labels)."""
    if algorithm == GRADIENT_BOOSTING:
        return _gradient_boosting(features, dict(hyperparameters), seed, data, report)
    return _logistic_regression(features, dict(hyperparameters), seed, data, report)


def _gradient_boosting(
    features: Sequence[Feature], chosen: dict[str, Any], seed: int, data: tuple[pl.DataFrame, Labels], report: Report
) -> Pipeline:
    columns, labels = data
    encode = ColumnTransformer(_parts(features, "passthrough", RateEncoder(most=int(chosen.pop("max_categories")))))
    matrix = np.asarray(encode.fit_transform(columns, labels), dtype=np.float32)
    total = int(chosen.pop("max_iter"))
    model = HistGradientBoostingClassifier(**chosen, early_stopping=False, warm_start=True, random_state=seed)
    for done in _stages(total):
        model.set_params(max_iter=done)
        model.fit(matrix, labels)
        report(done, total, _loss(model, matrix, labels))
    return Pipeline([("columns", encode), ("model", model)])


def _logistic_regression(
    features: Sequence[Feature], chosen: dict[str, Any], seed: int, data: tuple[pl.DataFrame, Labels], report: Report
) -> Pipeline:
    columns, labels = data
    most = int(chosen.pop("max_categories"))
    words = [_frequent(columns[feature.name], most) for feature in features if feature.kind != NUMERIC]
    hot = OneHotEncoder(categories=words, handle_unknown="ignore", dtype=np.float32)
    encode = ColumnTransformer(_parts(features, Standardizer(), hot))
    matrix = encode.fit_transform(columns, labels)
    model = LogisticRegression(**chosen, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is the user's budget; the claims tell how good it got
        model.fit(matrix, labels)
    report(1, 1, _loss(model, matrix, labels))
    return Pipeline([("columns", encode), ("model", model)])


def _loss(model: Any, matrix: Any, labels: Labels) -> float:
    """Training loss of evenly spread rows: on all of them it would cost as much as the fit."""
    step = max(1, len(labels) // LOSS_ROWS)
    return float(log_loss(labels[::step], model.predict_proba(matrix[::step])[:, 1], labels=[0, 1]))


def _parts(features: Sequence[Feature], numeric: Any, categorical: Any) -> list[tuple[str, Any, list[str]]]:
    numbers = [feature.name for feature in features if feature.kind == NUMERIC]
    texts = [feature.name for feature in features if feature.kind != NUMERIC]
    parts = [("numeric", numeric, numbers), ("categorical", categorical, texts)]
    return [part for part in parts if part[2]]


def _frequent(cells: pl.Series, most: int) -> NDArray[Any]:
    counts = cells.to_frame("word").group_by("word").len().sort(["len", "word"], descending=[True, False])
    return np.array(sorted(counts["word"].head(most).to_list()), dtype=object)


def _stages(total: int) -> list[int]:
    return sorted({max(1, round(total * part / CHUNKS)) for part in range(1, CHUNKS + 1)})
