"""The two recipes: fitted scikit-learn pipelines over named columns, ready for `export.export_sklearn`.

Both take the columns as `export.columns` gives them and leave nothing for the caller to prepare: missing numbers, missing and
unseen categories are handled by the pipeline's own first step. Deterministic for a seed. Used by `train`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import sklearn
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial_runtime.answers import Refused
from perennial_runtime.contract import BALANCED, CLASSIFICATION, GRADIENT_BOOSTING, MULTICLASS, REGRESSION
from perennial_runtime.export import NUMERIC, Feature
from perennial_runtime.recipes.encoders import ClassRatesEncoder, RateEncoder, Standardizer

CHUNKS = 10
"""In how many parts a long fit reports its progress."""

LOSS_ROWS = 10_000

Report = Callable[[int, int, float], None]
"""Told (done, of, training loss) as the fit goes on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What is learnt from: columns, labels (0 and 1; numbers; of several classes the place of each among them), and the rows'
    weights, about 1 on average, if they have any."""

    columns: pl.DataFrame
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    task: str = CLASSIFICATION
    classes: int = 2

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, start: int, end: int | None = None) -> Rows:
        """The rows from `start` on."""
        weights = None if self.weights is None else self.weights[start:end]
        return replace(self, columns=self.columns[start:end], labels=self.labels[start:end], weights=weights)

    def weighing(self) -> Rows:
        """Without the rows of no weight, and the weights of the others 1 on average: smoothing and penalties count in rows."""
        if self.weights is None:
            return self
        some = self.weights > 0
        weights = self.weights[some]
        columns = self.columns.filter(pl.Series(some))
        return replace(self, columns=columns, labels=self.labels[some], weights=weights / weights.mean())

    def by_class(self, factors: Mapping[str, float]) -> Rows:
        """The rows with their weights times their class's (BALANCED: the reverse of its share); no factors: as they are."""
        if not factors:
            return self
        own = np.ones(len(self)) if self.weights is None else self.weights
        if self.task == MULTICLASS:
            several = np.bincount(self.labels, weights=own, minlength=self.classes)[self.labels]
            return replace(self, weights=own / several / (own / several).mean())
        ones = self.labels == 1
        masses = float(own[~ones].sum()), float(own[ones].sum())
        none, one = (1 / masses[0], 1 / masses[1]) if BALANCED in factors else (factors["0"], factors["1"])
        weights = own * np.where(ones, one, none)
        return replace(self, weights=weights / weights.mean())

    @property
    def varies(self) -> bool:
        """Labels differ, so that there is something to tell apart."""
        return len(np.unique(self.labels)) > 1

    @property
    def teaches(self) -> bool:
        """There is something to learn, and of several classes all of them: one that lacks rows would get the probability 0."""
        return len(np.unique(self.labels)) == self.classes if self.task == MULTICLASS else self.varies


def fit(
    algorithm: str, features: Sequence[Feature], hyperparameters: Mapping[str, float], *, seed: int, data: Rows, report: Report
) -> Pipeline:
    """Fit one recipe."""
    if algorithm == GRADIENT_BOOSTING:
        return _gradient_boosting(features, dict(hyperparameters), seed, data, report)
    return _logistic_regression(features, dict(hyperparameters), seed, data, report)


def check_factors(task: str, factors: Mapping[str, float]) -> None:
    """Raises Refused where classes can't be weighted like that."""
    if not factors or (BALANCED in factors and task != REGRESSION):
        return
    if task == CLASSIFICATION and set(factors) == {"0", "1"}:
        return
    wanted = {
        REGRESSION: "a regression has no classes; remove it, or weight rows by a column with role weight",
        MULTICLASS: "of several classes it is balanced, or weight rows by a column with role weight",
    }
    fix = wanted.get(task, 'of two classes it is balanced, or weights of "0" and "1"')
    raise Refused("ClassWeightsWrong", f"training.recipe.classWeights names {', '.join(sorted(factors))[:200]}: {fix}")


def answers(pipeline: Any, columns: Any, data: Rows) -> NDArray[np.float64]:
    """What a fitted pipeline, or its last step, says of rows: the probability of class 1, of each of several classes ([N, K]; 0
    of those that it never saw), or the predicted number. `data` tells the task and the classes."""
    if data.task == REGRESSION:
        predicted: NDArray[np.float64] = pipeline.predict(columns)
        return predicted
    found: NDArray[np.float64] = pipeline.predict_proba(columns)
    if data.task != MULTICLASS:
        return found[:, 1]
    whole = np.zeros((len(found), data.classes))
    whole[:, pipeline.classes_] = found
    return whole


def _gradient_boosting(features: Sequence[Feature], chosen: dict[str, Any], seed: int, data: Rows, report: Report) -> Pipeline:
    rates = ClassRatesEncoder if data.task == MULTICLASS else RateEncoder
    encode, matrix = _encoded(features, rates(most=int(chosen.pop("max_categories"))), data)
    total = int(chosen.pop("max_iter"))
    kind = HistGradientBoostingRegressor if data.task == REGRESSION else HistGradientBoostingClassifier
    model = kind(**chosen, early_stopping=False, warm_start=True, random_state=seed)
    for done in _stages(total):
        model.set_params(max_iter=done)
        model.fit(matrix, data.labels, sample_weight=data.weights)
        report(done, total, _loss(model, matrix, data))
    return Pipeline([("columns", encode), ("model", model)])


def _encoded(
    features: Sequence[Feature], rates: RateEncoder | ClassRatesEncoder, data: Rows
) -> tuple[ColumnTransformer, NDArray[np.float32]]:
    """The columns' encoder, fitted, and the matrix that it makes. Rates are of weighted rows where rows have weights."""
    if data.weights is None:
        encode = ColumnTransformer(_parts(features, "passthrough", rates))
        return encode, np.asarray(encode.fit_transform(data.columns, data.labels), dtype=np.float32)
    with sklearn.config_context(enable_metadata_routing=True):
        encode = ColumnTransformer(_parts(features, "passthrough", rates.set_fit_request(sample_weight=True)))
        found = encode.fit_transform(data.columns, data.labels, sample_weight=data.weights)
    return encode, np.asarray(found, dtype=np.float32)


def _logistic_regression(features: Sequence[Feature], chosen: dict[str, Any], seed: int, data: Rows, report: Report) -> Pipeline:
    most = int(chosen.pop("max_categories"))
    words = [_frequent(data.columns[feature.name], most) for feature in features if feature.kind != NUMERIC]
    hot = OneHotEncoder(categories=words, handle_unknown="ignore", dtype=np.float32)
    encode = ColumnTransformer(_parts(features, Standardizer(), hot))
    matrix = encode.fit_transform(data.columns, data.labels)
    model = LogisticRegression(**chosen, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_iter is the user's budget; the claims tell how good it got
        model.fit(matrix, data.labels, sample_weight=data.weights)
    report(1, 1, _loss(model, matrix, data))
    return Pipeline([("columns", encode), ("model", model)])


def _loss(model: Any, matrix: Any, data: Rows) -> float:
    """Training loss of evenly spread rows: on all of them it would cost as much as the fit. Of a regression the mean square."""
    step = max(1, len(data) // LOSS_ROWS)
    labels, found = data.labels[::step], answers(model, matrix[::step], data)
    weights = None if data.weights is None else data.weights[::step]
    if data.task == REGRESSION:
        return float(mean_squared_error(labels, found, sample_weight=weights))
    return float(log_loss(labels, found, labels=range(data.classes), sample_weight=weights))


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
