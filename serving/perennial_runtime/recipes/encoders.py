"""The columns' encoders of the recipes: scikit-learn transformers that `export` can write into an ONNX graph.

All decide at fit time what an unseen value, or a missing one, becomes; nothing is left for the caller to do. They answer in
float32, as the ONNX graph does, so that a tree's thresholds are compared with the same numbers in training and serving.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

Matrix = NDArray[np.float32]
MOST_RATES = 20
"""Classes of which a text has a rate, the largest: columns of 50 for each text column would be most of a trainer's memory."""


class RateEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Text -> smoothed rate of the positive class (of a regression: mean label) among the training rows with that text.

    The `most` most frequent texts of a column have a rate of their own, every other one (unseen ones too) has the column's
    average. A missing value is the empty string and a category like any other. `smoothing` is the weight, in rows, of the
    average: a rare category stays near it. Rows may have weights, about 1 on average.
    """

    def __init__(self, most: int = 200, smoothing: float = 20.0) -> None:
        self.most = most
        self.smoothing = smoothing

    def fit(self, columns: Any, labels: NDArray[Any], sample_weight: NDArray[np.float64] | None = None) -> Self:
        """`columns` [N, K] of str, `labels` [N] of 0 and 1, or of numbers."""
        words = np.asarray(columns, dtype=object)
        self.default_ = np.float32(labels.mean() if sample_weight is None else np.average(labels, weights=sample_weight))
        self.rates_ = [self._rates(words[:, index], labels, sample_weight) for index in range(words.shape[1])]
        self.n_features_in_ = words.shape[1]
        return self

    def transform(self, columns: Any) -> Matrix:
        """[N, K] of str -> [N, K] float32."""
        words = np.asarray(columns, dtype=object)
        encoded = [_look_up(words[:, index], rates, self.default_) for index, rates in enumerate(self.rates_)]
        return np.stack(encoded, axis=1)

    def _rates(self, words: NDArray[Any], labels: NDArray[Any], weights: NDArray[np.float64] | None) -> dict[str, np.float32]:
        found, positions, counts = np.unique(words.astype(str), return_inverse=True, return_counts=True)
        masses = counts if weights is None else np.bincount(positions, weights=weights, minlength=len(found))
        weighed = labels if weights is None else labels * weights
        positives = np.bincount(positions, weights=weighed, minlength=len(found))
        rates = (positives + self.smoothing * float(self.default_)) / (masses + self.smoothing)
        kept = sorted(range(len(found)), key=lambda index: (-int(counts[index]), str(found[index])))[: self.most]
        return {str(found[index]): np.float32(rates[index]) for index in kept}


class ClassRatesEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Text -> smoothed rates of the classes among the training rows with that text, as `RateEncoder` has one: [N, K] of text
    becomes [N, K * classes], the rates of the first column first. Of more than `classes` classes the largest have rates."""

    def __init__(self, most: int = 200, smoothing: float = 20.0, classes: int = MOST_RATES) -> None:
        self.most = most
        self.smoothing = smoothing
        self.classes = classes

    def fit(self, columns: Any, labels: NDArray[Any], sample_weight: NDArray[np.float64] | None = None) -> Self:
        """`columns` [N, K] of str, `labels` [N] of 0, 1, 2 .."""
        words = np.asarray(columns, dtype=object)
        weights = np.ones(len(labels)) if sample_weight is None else sample_weight
        masses = np.bincount(labels, weights=weights)
        self.classes_ = np.sort(np.argsort(-masses, kind="stable")[: self.classes])
        shares = masses[self.classes_] / masses.sum()
        self.default_ = shares.astype(np.float32)
        found = [self._table(words[:, index], labels, weights, shares) for index in range(words.shape[1])]
        self.words_ = [known for known, _ in found]
        self.rates_ = [np.vstack([rates, self.default_]) for _, rates in found]
        self.n_features_in_ = words.shape[1]
        return self

    def transform(self, columns: Any) -> Matrix:
        """[N, K] of str -> [N, K * classes] float32."""
        words = np.asarray(columns, dtype=object)
        encoded = []
        for index, (known, rates) in enumerate(zip(self.words_, self.rates_, strict=True)):
            places = {word: place for place, word in enumerate(known)}
            found, positions = np.unique(words[:, index].astype(str), return_inverse=True)
            encoded.append(rates[np.array([places.get(str(word), len(known)) for word in found], dtype=np.intp)][positions])
        return np.hstack(encoded)

    def _table(
        self, words: NDArray[Any], labels: NDArray[Any], weights: NDArray[np.float64], shares: NDArray[np.float64]
    ) -> tuple[list[str], Matrix]:
        """The texts that have rates of their own, and these: (texts, classes)."""
        found, positions, counts = np.unique(words.astype(str), return_inverse=True, return_counts=True)
        masses = np.bincount(positions, weights=weights, minlength=len(found))
        hits = [np.bincount(positions, weights=weights * (labels == one), minlength=len(found)) for one in self.classes_]
        rates = (np.stack(hits, axis=1) + self.smoothing * shares) / (masses + self.smoothing)[:, None]
        kept = sorted(range(len(found)), key=lambda index: (-int(counts[index]), str(found[index])))[: self.most]
        return [str(found[index]) for index in kept], rates[kept].astype(np.float32)


class Standardizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Numbers -> (x - mean) / deviation, and for each column one more that is 1 where it was missing (and the first is 0)."""

    def fit(self, columns: Any, labels: Any = None) -> Self:
        """`columns` [N, K] of float, NaN where missing."""
        numbers = np.asarray(columns, dtype=np.float64)
        known = ~np.isnan(numbers)
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, numbers, 0.0).sum(axis=0) / counts
        deviation = np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).sum(axis=0) / counts)
        self.mean_ = mean.astype(np.float32)
        self.scale_ = np.where(deviation > 0, deviation, 1.0).astype(np.float32)
        self.n_features_in_ = numbers.shape[1]
        return self

    def transform(self, columns: Any) -> Matrix:
        """[N, K] -> [N, 2 K] float32: all values, then all flags."""
        numbers = np.asarray(columns, dtype=np.float32)
        missing = np.isnan(numbers)
        values = np.where(missing, np.float32(0), (numbers - self.mean_) / self.scale_).astype(np.float32)
        return np.hstack([values, missing.astype(np.float32)])


def _look_up(words: NDArray[Any], rates: dict[str, np.float32], default: np.float32) -> Matrix:
    found, positions = np.unique(words.astype(str), return_inverse=True)
    table = np.array([rates.get(str(word), default) for word in found], dtype=np.float32)
    return table[positions]
