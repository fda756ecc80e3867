"""Small data sets with a seed: a table that a model can learn (AUC about 0.85), in time order, whole rows unique."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

KINDS = ("bakery", "cafe", "kiosk")
FEATURES = ("amount", "hour", "kind")
LABEL, TIME, ROW = "late", "at", "row"
COLUMNS: list[dict[str, str]] = [
    {"name": ROW, "role": "id"},
    {"name": TIME, "role": "time"},
    *({"name": name, "role": "feature"} for name in FEATURES),
    {"name": LABEL, "role": "label"},
]
START = datetime(2024, 1, 1, tzinfo=UTC)


def table(rows: int = 2400, *, seed: int = 0, first: int = 0, kinds: Sequence[str] = KINDS, signal: float = 2.2) -> pl.DataFrame:
    """`rows` rows, one a minute from row number `first` on; `signal` 0 gives labels that nothing predicts."""
    chance = np.random.default_rng([seed, first])
    amount = chance.normal(0.0, 1.0, rows)
    hour = chance.integers(0, 24, rows)
    kind = chance.integers(0, len(kinds), rows)
    lean = signal * amount + 0.4 * signal * (hour > 15) - 0.3 * signal * kind
    label = (chance.random(rows) < 1 / (1 + np.exp(-lean))).astype(np.int64)
    numbers = np.arange(first, first + rows)
    return pl.DataFrame(
        {
            ROW: [f"r{number}" for number in numbers],
            TIME: pl.Series([START + timedelta(minutes=int(number)) for number in numbers], dtype=pl.Datetime("us", "UTC")),
            "amount": amount,
            "hour": hour,
            "kind": [kinds[index] for index in kind],
            LABEL: label,
        }
    ).with_columns(amount=pl.when(pl.int_range(pl.len()) % 97 == 5).then(None).otherwise(pl.col("amount")))


def parquet(data: pl.DataFrame) -> bytes:
    """A Parquet file."""
    buffer = io.BytesIO()
    data.write_parquet(buffer)
    return buffer.getvalue()


def csv(data: pl.DataFrame) -> bytes:
    """A CSV file."""
    return data.write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()


def bodies(data: pl.DataFrame, *, new_kind: str = "", new_every: int = 0) -> Iterator[str]:
    """A predict request for each row; one in `new_every` asks about `new_kind`.

    By lot, the same one each time: the gateway deals requests out in turns, and all of a fixed period may go to one version.
    """
    new = np.random.default_rng([new_every, data.height]).random(data.height) * new_every < 1.0 if new_every else None
    for number, row in enumerate(data.select(FEATURES).iter_rows(named=True)):
        instance: dict[str, Any] = dict(row)
        if new is not None and new[number]:
            instance["kind"] = new_kind
        yield json.dumps({"instances": [instance]})
