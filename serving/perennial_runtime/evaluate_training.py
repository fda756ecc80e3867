"""The training rows, fetched and verified while the holdout is scored: `evaluate` has a thread for it.

They are most of the bytes of a version. Of the rows the first are scored, as the trainer did, and the features of some are
described (`profile`), which takes memory, and so only once the model's own process is gone. Neighbours: `evaluate_inputs` fetches
everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial_runtime.answers import Refused
from perennial_runtime.contract import PARITY_ROWS, EvaluateSpec
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.evaluate_inputs import Inputs
from perennial_runtime.evaluate_rows import head, read_table
from perennial_runtime.profile import MOST_GROUPS, MOST_ROWS, profile_document
from perennial_runtime.sampling import Look, rows_of, some_cells
from perennial_runtime.scoring import Schema
from perennial_runtime.store import Store


@dataclass(frozen=True, slots=True)
class Training:
    """The file, once it is there. Whoever asks for what is in it waits, and gets what went wrong: Unavailable, DigestMismatch or
    Refused."""

    rows: int
    _schema: Schema
    _fetched: Future[tuple[Path, pl.DataFrame]]

    @classmethod
    def begun(cls, spec: EvaluateSpec, inputs: Inputs, store: Store, room: Path, beside: Executor) -> Training:
        """It is fetched in a thread of `beside`."""

        def fetch() -> tuple[Path, pl.DataFrame]:
            path = store.lend_file(spec.train, room / "train.parquet")
            if (rows := rows_of(path)) != inputs.train_rows:
                raise Refused(
                    "ResultBroken",
                    f"the result of prepare for {spec.version} tells of {inputs.train_rows} training rows, and there are {rows}: "
                    "retrain to make it again",
                )
            return path, head(path, PARITY_ROWS, inputs.schema)

        return cls(inputs.train_rows, inputs.schema, beside.submit(fetch))

    @property
    def scored(self) -> int:
        """So many rows, the first, were scored by the trainer."""
        return min(PARITY_ROWS, self.rows)

    def path(self) -> Path:
        """The verified file."""
        return self._fetched.result()[0]

    def first(self) -> pl.DataFrame:
        """The features of the rows that the trainer scored."""
        return self._fetched.result()[1]

    def tables(self) -> Iterator[Table]:
        """The same, as they are scored here."""
        yield read_table(self.first(), self._schema)

    def profile(self, scores: NDArray[np.float64]) -> dict[str, Any]:
        """What the features look like, beside how the holdout was scored."""
        path = self.path()
        look = Look.at(path, MOST_GROUPS, MOST_ROWS)

        def column(feature: dict[str, Any]) -> Table:
            return read_table(some_cells(path, feature["name"], look).to_frame(), {"features": [feature]})

        return profile_document(self._schema, self.rows, look.every, column, scores)
