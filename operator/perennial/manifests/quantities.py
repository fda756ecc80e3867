"""Kubernetes quantities of memory, as far as a limit has to be compared with another. Used by `perennial.manifests.jobs`."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")


def in_bytes(quantity: str) -> float:
    """Bytes of a quantity such as 512Mi or 1.5G; 0 for what is none (the API server will say so)."""
    found = _QUANTITY.fullmatch(quantity.strip())
    try:
        return float(found[1]) * _FACTORS[found[2]] if found else 0.0
    except (KeyError, ValueError):
        return 0.0


def larger(one: str, other: str) -> str:
    """The larger of two quantities, as it was written."""
    return other if in_bytes(other) > in_bytes(one) else one
