"""What wrong answers cost, row by row: a program for `evaluation.metrics`.

Each Parquet file in $PERENNIAL_ROWS is one model's: the columns that the manifest names, `label` (0 or 1) and `score`. For each
of them a file of the same name goes to $PERENNIAL_VALUES, with one finite number for each row and metric, in the same order.
"""

import os
from pathlib import Path

import polars as pl

ANNOYED = 2.0
"""Euros that a traveller who is warned for nothing costs; one who is not warned costs a euro for each hour until the evening."""

late = pl.col("label") == 1
warned = pl.col("score") >= 0.5
cost = pl.when(late & ~warned).then(24.0 - pl.col("hour").fill_null(12.0)).when(~late & warned).then(ANNOYED).otherwise(0.0)

for rows in sorted(Path(os.environ["PERENNIAL_ROWS"]).glob("*.parquet")):
    answers = pl.read_parquet(rows)
    answers.select(cost=cost).write_parquet(Path(os.environ["PERENNIAL_VALUES"]) / rows.name)
    print(f"{rows.name}: {answers.height} rows", flush=True)
