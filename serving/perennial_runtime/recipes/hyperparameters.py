"""What the recipes let a user set, and the refusal of anything else. Read by `models`; the table is the contract's."""

from __future__ import annotations

from collections.abc import Mapping

from perennial_runtime.answers import Refused
from perennial_runtime.contract import HYPERPARAMETERS


def resolve(algorithm: str, given: Mapping[str, float]) -> dict[str, float]:
    """All hyperparameters of `algorithm`, the given ones checked. Refused names the field and what is allowed.

    The API server refuses the same; an object of before its rules, or of a client with old CRDs, comes as far as this.
    """
    if algorithm not in HYPERPARAMETERS:
        raise Refused("AlgorithmUnknown", f"training.recipe.algorithm {algorithm!r}: use {' or '.join(HYPERPARAMETERS)}")
    allowed = HYPERPARAMETERS[algorithm]
    for name, value in given.items():
        field = f"training.recipe.hyperparameters.{name}"
        if name not in allowed:
            raise Refused("HyperparameterUnknown", f"{field}: {algorithm} knows {', '.join(allowed)}")
        limits = allowed[name]
        if not limits.least <= value <= limits.most or (limits.whole and value != int(value)):
            raise Refused("HyperparameterOutOfRange", f"{field}: {value:g} is not allowed, use {limits}")
    chosen = {name: given.get(name, limits.default) for name, limits in allowed.items()}
    return {name: int(value) if allowed[name].whole else float(value) for name, value in chosen.items()}
