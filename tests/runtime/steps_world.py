"""Small true data for the tests of prepare, fetch, recipes and reporter: rows with a known law, in files and folders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.contract import Column, PrepareResult, PrepareSpec
from perennial_runtime.prepare import prepare
from perennial_runtime.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = (
    Column("delay", "feature"),
    Column("carrier", "feature"),
    Column("at", "time"),
    Column("late", "label"),
    Column("flight", "id"),
)


def frame(rows: int = 600, seed: int = 1, start: int = 0) -> pl.DataFrame:
    """One row a minute from `start` (minutes since 2013-01-01): late when delayed, carriers differ, both with nulls."""
    chance = np.random.default_rng(seed)
    delay = np.round(chance.normal(10, 30, rows), 1)
    carrier = chance.choice(np.array(["AA", "B6", "UA", None], dtype=object), rows, p=[0.4, 0.3, 0.2, 0.1])
    logit = (delay - 10) / 15 + np.where(carrier == "AA", 1.0, 0.0)
    base = pl.datetime(2013, 1, 1, time_zone="UTC", time_unit="us")
    return pl.DataFrame(
        {
            "delay": pl.Series(np.where(chance.random(rows) < 0.05, np.nan, delay)).fill_nan(None),
            "carrier": pl.Series(carrier.tolist(), dtype=pl.String),
            "flight": np.arange(start, start + rows),
            "late": (chance.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64),
            "gate": [f"g{number % 7}" for number in range(rows)],
            "minute": np.arange(start, start + rows, dtype=np.int64),
        }
    ).with_columns((base + pl.duration(minutes=pl.col("minute"))).alias("at"))


def as_text(data: pl.DataFrame) -> pl.DataFrame:
    """The time as CSV files hold it."""
    return data.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


@dataclass(frozen=True, slots=True)
class World:
    """A source folder, a store folder and a work folder."""

    root: Path

    @classmethod
    def of(cls, root: Path, rows: pl.DataFrame) -> World:
        """With these rows as its source."""
        found = cls(root)
        rows.write_parquet(found.source / "a.parquet")
        return found

    @property
    def source(self) -> Path:
        folder = self.root / "source"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def store(self) -> Store:
        return Store(f"file://{self.root / 'store'}")

    def spec(self, uid: str = "uid-1", **changes: Any) -> PrepareSpec:
        given: dict[str, Any] = {
            "version": "delays-v1",
            "uid": uid,
            "store": f"file://{self.root / 'store'}",
            "source": f"file://{self.source}/",
            "columns": COLUMNS,
            "holdout_fraction": 0.2,
            "minimum_rows": 10,
        }
        return PrepareSpec(**{**given, **changes})

    def prepare(self, uid: str = "uid-1", *, secret: Path | None = None, now: datetime = NOW, **changes: Any) -> PrepareResult:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        return prepare(self.spec(uid, **changes), self.store, work, secret or self.root / "no-secret", now)

    def refusal(self, **changes: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.prepare(**changes)
        return caught.value

    def table(self, digest: str) -> pl.DataFrame:
        return pl.read_parquet(self.store.get_file(digest, self.root / digest[:12]))
