"""What the recipes let a user set, and the refusal of anything else. Read by `models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perennial_runtime.answers import Refused


@dataclass(frozen=True, slots=True)
class Range:
    """Default and bounds (inclusive) of one hyperparameter."""

    default: float
    least: float
    most: float
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}{', whole' if self.whole else ''}"


GRADIENT_BOOSTING = "gradient-boosting"
LOGISTIC_REGRESSION = "logistic-regression"

ALLOWED: dict[str, dict[str, Range]] = {
    GRADIENT_BOOSTING: {
        "learning_rate": Range(0.1, 0.001, 1.0),
        "max_iter": Range(100, 1, 5000, whole=True),
        "max_leaf_nodes": Range(31, 2, 1024, whole=True),
        "min_samples_leaf": Range(20, 1, 1_000_000, whole=True),
        "l2_regularization": Range(0.0, 0.0, 1e6),
        "max_categories": Range(200, 1, 200, whole=True),
    },
    LOGISTIC_REGRESSION: {
        "C": Range(1.0, 1e-6, 1e6),
        "max_iter": Range(200, 1, 10_000, whole=True),
        "max_categories": Range(200, 1, 200, whole=True),
    },
}


def resolve(algorithm: str, given: Mapping[str, float]) -> dict[str, float]:
    """All hyperparameters of `algorithm`, the given ones checked. Refused names the field and what is allowed."""
    if algorithm not in ALLOWED:
        raise Refused("AlgorithmUnknown", f"training.recipe.algorithm {algorithm!r}: use {' or '.join(ALLOWED)}")
    allowed = ALLOWED[algorithm]
    for name, value in given.items():
        field = f"training.recipe.hyperparameters.{name}"
        if name not in allowed:
            raise Refused("HyperparameterUnknown", f"{field}: {algorithm} knows {', '.join(allowed)}")
        limits = allowed[name]
        if not limits.least <= value <= limits.most or (limits.whole and value != int(value)):
            raise Refused("HyperparameterOutOfRange", f"{field}: {value:g} is not allowed, use {limits}")
    chosen = {name: given.get(name, limits.default) for name, limits in allowed.items()}
    return {name: int(value) if allowed[name].whole else float(value) for name, value in chosen.items()}
