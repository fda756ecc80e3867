"""Real flights in the suites on the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demo import flights


def columns(label: str, features: Sequence[str]) -> list[dict[str, Any]]:
    """`data.columns`: the row's number, the time, the features, the label."""
    return [
        {"name": flights.ROW, "role": "id"},
        {"name": flights.TIME, "role": "time"},
        *({"name": name, "role": "feature"} for name in features),
        {"name": label, "role": "label"},
    ]
