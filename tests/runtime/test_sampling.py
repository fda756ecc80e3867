"""A column that may be larger than memory: what is looked at of it is every so-manieth row, however the file is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime import sampling
from perennial_runtime.columns import NUMERIC
from perennial_runtime.contract import Column
from perennial_runtime.prepare_schema import describe


@pytest.mark.parametrize("every", [1, 2, 7, 5000])
@pytest.mark.parametrize("at_once", [1, 10, 333])
def test_known_numbers_are_those_of_every_so_manieth_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, at_once: int
) -> None:
    monkeypatch.setattr(sampling, "COUNTED_ROWS", at_once)
    random = np.random.default_rng(at_once)
    cells = pl.Series("x", random.normal(size=700)).set(pl.Series(random.random(700) < 0.2), None)
    path = tmp_path / "x.parquet"
    cells.to_frame().write_parquet(path, row_group_size=128)
    found = sampling.known_numbers(path, "x", every, np.empty(700 // every + 1))
    assert sorted(found) == sorted(cells.gather_every(every).drop_nulls())


def test_extremes_and_the_middle_are_those_of_all_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    data = pl.DataFrame(
        {
            "delay": pl.Series(random.normal(size=1001)).set(pl.Series(random.random(1001) < 0.3), None),
            "late at first": pl.Series([None] * 500 + list(range(501)), dtype=pl.Float64),
        }
    )
    path = tmp_path / "train.parquet"
    data.write_parquet(path, row_group_size=100)
    columns = [Column("label", "label"), *(Column(name, "feature") for name in data.columns)]
    features = describe(path, columns, dict.fromkeys(data.columns, NUMERIC))["features"]
    assert isinstance(features, list)
    for feature, cells in zip(features, data, strict=True):
        wanted = cells.min(), cells.max(), cells.quantile(0.5, interpolation="lower")
        assert (feature["min"], feature["max"], feature["example"]) == wanted
        assert feature["nullable"]
