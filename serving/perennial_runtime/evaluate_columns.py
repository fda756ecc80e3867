"""Feature values as columns on disk, so that the scoring process needs numpy alone.

`evaluate_rows` reads parquet files into a Table, `evaluate_sandbox` writes it, `onnx_check` reads it in its own process. A
categorical column is kept as its distinct values and int32 codes: a long text in one row does not widen all the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of features: numbers as float64 with NaN for null, categories as (distinct values, codes) with "" for null."""

    rows: int
    numbers: Mapping[str, NDArray[np.float64]]
    texts: Mapping[str, tuple[list[str], NDArray[np.int32]]]

    def columns(self, start: int = 0, end: int | None = None) -> dict[str, NDArray[Any]]:
        """The columns by name, as `perennial_runtime.scoring` takes them; of rows start..end."""
        found: dict[str, NDArray[Any]] = {name: values[start:end] for name, values in self.numbers.items()}
        for name, (values, codes) in self.texts.items():
            found[name] = np.array(values, dtype=object)[codes[start:end]] if values else np.empty(0, dtype=object)
        return found


def write_table(table: Table, directory: Path) -> None:
    """The table as .npy files and one index."""
    directory.mkdir(parents=True)
    index: dict[str, Any] = {"rows": table.rows, "numbers": list(table.numbers), "texts": list(table.texts), "values": {}}
    for place, name in enumerate(table.numbers):
        np.save(directory / f"n{place}.npy", table.numbers[name], allow_pickle=False)
    for place, name in enumerate(table.texts):
        values, codes = table.texts[name]
        index["values"][name] = values
        np.save(directory / f"t{place}.npy", codes, allow_pickle=False)
    (directory / "index.json").write_text(json.dumps(index), encoding="utf-8")


def read_table(directory: Path) -> Table:
    """What `write_table` wrote."""
    index = json.loads((directory / "index.json").read_text(encoding="utf-8"))
    numbers = {name: np.load(directory / f"n{place}.npy", allow_pickle=False) for place, name in enumerate(index["numbers"])}
    texts = {
        name: (index["values"][name], np.load(directory / f"t{place}.npy", allow_pickle=False))
        for place, name in enumerate(index["texts"])
    }
    return Table(rows=index["rows"], numbers=numbers, texts=texts)
