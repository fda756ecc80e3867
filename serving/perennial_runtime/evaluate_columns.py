"""Feature values as columns on disk, so that the scoring process needs numpy alone.

`evaluate_rows` reads parquet files into Tables, `evaluate_sandbox` hands them over in a folder, one after the other, and
`onnx_check` takes them from there in its own process, meanwhile: what was read is gone, mostly before a disk has seen it. A
categorical column is kept as its distinct values and int32 codes: a long text in one row does not widen all the others.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_END = "end"
_LOOK_SECONDS = 0.01


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

    def inputs(self, start: int = 0, end: int | None = None) -> dict[str, NDArray[Any]]:
        """The same with the categories as a model takes them, [N, 1]: nothing is left to look at in each."""
        found = self.columns(start, end)
        return {**found, **{name: found[name].reshape(-1, 1) for name in self.texts}}


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


@dataclass(slots=True)
class Handover:
    """The end at which tables are given."""

    folder: Path
    given: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)

    def give(self, table: Table) -> None:
        """One more; it is there as a whole or not at all."""
        unfinished = self.folder / ".unfinished"
        write_table(table, unfinished)
        unfinished.rename(self.folder / str(self.given))
        self.given += 1

    def end(self) -> None:
        """There are no more."""
        (self.folder / _END).touch()


def taken(folder: Path, giver: int) -> Iterator[Table]:
    """The other end: the tables in order, as they come. Raises EOFError where the process that gives them, whose child this one
    is, is gone before the end."""
    number = 0
    while True:
        ended, there = (folder / _END).exists(), folder / str(number)
        if there.exists():
            yield read_table(there)
            shutil.rmtree(there)
            number += 1
        elif ended:
            return
        elif os.getppid() != giver:
            raise EOFError(f"after table {number} nobody gives any more")
        else:
            time.sleep(_LOOK_SECONDS)
