"""What schema.json tells of the columns: extremes of all rows, and an example of a few of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from perennial_runtime import prepare_schema, sampling
from perennial_runtime.columns import NUMERIC
from perennial_runtime.contract import Column
from perennial_runtime.prepare_schema import describe


def test_extremes_and_the_middle_are_those_of_all_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    data = pl.DataFrame(
        {
            "delay": pl.Series(random.normal(size=1001)).set(pl.Series(random.random(1001) < 0.3), None),
            "late at first": pl.Series([None] * 500 + list(range(501)), dtype=pl.Float64),
        }
    )
    path = tmp_path / "train.parquet"
    data.write_parquet(path, row_group_size=200)
    columns = [Column("label", "label"), *(Column(name, "feature") for name in data.columns)]
    features = describe(path, columns, dict.fromkeys(data.columns, NUMERIC))["features"]
    assert isinstance(features, list)
    for feature, cells in zip(features, data, strict=True):
        wanted = cells.min(), cells.max(), cells.quantile(0.5, interpolation="lower")
        assert (feature["min"], feature["max"], feature["example"]) == wanted
        assert feature["nullable"]


def test_of_a_long_file_a_few_row_groups_tell_the_middle(tmp_path: Path) -> None:
    data = pl.DataFrame({"x": np.repeat(np.arange(20.0), 10)})
    path = tmp_path / "train.parquet"
    data.write_parquet(path, row_group_size=10)
    found = sampling.some_cells(path, "x", sampling.Look.at(path, sampling.MOST_GROUPS))
    assert sorted(found.unique()) == [0, 3, 6, 9, 12, 15, 18]
    columns = [Column("label", "label"), Column("x", "feature")]
    features = describe(path, columns, {"x": NUMERIC})["features"]
    assert features == [{"name": "x", "kind": NUMERIC, "nullable": False, "min": 0, "max": 19, "example": 9}]


def test_a_number_that_no_row_looked_at_has_is_shown_by_the_least_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_schema, "MOST_GROUPS", 1)
    path = tmp_path / "train.parquet"
    pl.DataFrame({"rare": [None, None, 7.0, 9.0]}).write_parquet(path, row_group_size=2)
    columns = [Column("label", "label"), Column("rare", "feature")]
    features = describe(path, columns, {"rare": NUMERIC})["features"]
    assert features == [{"name": "rare", "kind": NUMERIC, "nullable": True, "min": 7, "max": 9, "example": 7}]


@pytest.mark.parametrize(("most", "wanted"), [(1000, range(95)), (30, range(0, 95, 4)), (1, [0])])
def test_of_all_row_groups_every_so_manieth_row_is_looked_at(tmp_path: Path, most: int, wanted: Iterable[int]) -> None:
    path = tmp_path / "train.parquet"
    pl.DataFrame({"x": np.arange(95)}).write_parquet(path, row_group_size=10)
    look = sampling.Look.at(path, 10, most)
    assert sampling.some_cells(path, "x", look).to_list() == list(wanted)
    assert look.every == -(-95 // most)


def test_of_some_row_groups_some_rows_are_looked_at_and_it_is_said_for_how_many_each_stands(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    pl.DataFrame({"x": np.arange(100), "y": 1}).write_parquet(path, row_group_size=10)
    look = sampling.Look.at(path, 4, 8)
    found, places = sampling.some_rows(path, ["y", "x"], look)
    assert found["x"].to_list() == places.tolist() == [0, 5, 30, 35, 60, 65, 90, 95]
    assert found.columns == ["y", "x"]
    assert look.every * found.height == pytest.approx(100, rel=0.25)


def test_words_are_counted_over_row_groups_with_a_dictionary_and_without(tmp_path: Path) -> None:
    words = ["a", None, "b", "a", "", "ä", "b", "a"] * 50
    for name, dictionary in (("with", True), ("without", False)):
        table = pa.table({"word": pa.array(words, pa.string())})
        pyarrow.parquet.write_table(table, tmp_path / name, row_group_size=100, use_dictionary=dictionary)
        found = sampling.word_counts(tmp_path / name, "word")
        assert found.rows() == [("a", 150), ("b", 100), ("", 50), ("ä", 50)]
