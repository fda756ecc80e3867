"""The rows of the benchmark of large data: numbers and words of which a known model tells the label, in files by month."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

NUMBERS = tuple(f"x{number:02}" for number in range(20))
WORDS = ("carrier", "origin", "aircraft")
FEATURES = NUMBERS + WORDS
CARRIERS = [f"C{number:02}" for number in range(16)]
AIRPORTS = [f"A{number:03}" for number in range(300)]
TYPES = [f"type-{number}" for number in range(40)]
SEED = 20
FILE_ROWS = 1_000_000
FEWEST_ROWS = 1000
FIRST_BYTES = 400
"""Of a row, before the first file tells how many they are: more than enough."""
GROUP_ROWS = 250_000
START = np.datetime64("2013-01-01T00:00:00", "us")


@dataclass(frozen=True, slots=True)
class Written:
    """What lies there."""

    files: int
    rows: int
    bytes: int


def write_files(folder: Path, size: int) -> Written:
    """Files until they have so many bytes together; nearly in the order of time, as data that comes in is."""
    files = rows = written = 0
    while written < size:
        wanted = (size - written) * rows // written + 1 if written else size // FIRST_BYTES
        part = table(max(FEWEST_ROWS, min(FILE_ROWS, wanted)), files, rows)
        path = folder / f"part-{files:05}.parquet"
        part.write_parquet(path, compression="zstd", row_group_size=GROUP_ROWS)
        files, rows, written = files + 1, rows + part.height, written + path.stat().st_size
    return Written(files, rows, written)


def table(rows: int, number: int, first: int) -> pl.DataFrame:
    """One file's rows: a second apart, up to an hour out of order; one cell in fifty is missing."""
    chance = np.random.default_rng([SEED, number])
    numbers = {name: chance.normal(size=rows) for name in NUMBERS}
    logit = numbers["x00"] + 0.5 * numbers["x01"] - 0.5
    seconds = first + np.arange(rows) + chance.integers(0, 3600, rows)
    columns: dict[str, object] = {
        name: pl.Series(values).set(pl.Series(chance.random(rows) < 0.02), None) for name, values in numbers.items()
    }
    for name, known in zip(WORDS, (CARRIERS, AIRPORTS, TYPES), strict=True):
        columns[name] = pl.Series(known).gather(chance.integers(0, len(known), rows).astype(np.uint32))
    columns["flight"] = np.arange(first, first + rows)
    columns["at"] = START + seconds.astype("timedelta64[s]")
    columns["late"] = (chance.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    return pl.DataFrame(columns)
