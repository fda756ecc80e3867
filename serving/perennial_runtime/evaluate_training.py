"""The training rows, fetched and looked at while the holdout is scored: `evaluate` has a thread for it.

They are most of the bytes of a version, and all of them are read to verify them. Of the rows the first are scored, as the trainer
did, and the features of some are described (`profile`). Neighbours: `evaluate_inputs` fetches everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from perennial_runtime.contract import PARITY_ROWS, EvaluateSpec
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.evaluate_inputs import Inputs
from perennial_runtime.evaluate_rows import head, read_table
from perennial_runtime.profile import MOST_GROUPS, MOST_ROWS, Features, describe_features
from perennial_runtime.sampling import Look, some_cells
from perennial_runtime.scoring import Schema
from perennial_runtime.store import Store


@dataclass(frozen=True, slots=True)
class Training:
    """What comes of it, in this order. Each result raises Unavailable and DigestMismatch."""

    rows: int
    """Of those the first that the trainer scored, too."""
    _fetched: Future[tuple[Path, pl.DataFrame]]
    _features: Future[Features]

    @classmethod
    def begun(cls, spec: EvaluateSpec, inputs: Inputs, store: Store, room: Path, beside: Executor) -> Training:
        """In a thread of `beside`."""
        rows = min(PARITY_ROWS, inputs.train_rows)

        def fetch() -> tuple[Path, pl.DataFrame]:
            path = store.lend_file(spec.train, room / "train.parquet")
            return path, head(path, rows, inputs.schema)

        fetched = beside.submit(fetch)
        return cls(rows, fetched, beside.submit(lambda: _described(inputs.schema, fetched.result()[0])))

    @property
    def path(self) -> Path:
        """The verified file."""
        return self._fetched.result()[0]

    @property
    def first(self) -> pl.DataFrame:
        """The features of the first rows."""
        return self._fetched.result()[1]

    @property
    def features(self) -> Features:
        """What they look like."""
        return self._features.result()

    def tables(self, schema: Schema) -> Iterator[Table]:
        """The first rows, as they are scored."""
        yield read_table(self.first, schema)


def _described(schema: Schema, train: Path) -> Features:
    look = Look.at(train, MOST_GROUPS, MOST_ROWS)

    def column(feature: dict[str, Any]) -> Table:
        return read_table(some_cells(train, feature["name"], look).to_frame(), {"features": [feature]})

    return describe_features(schema, look.every, column)
