"""`perennial_runtime.check_metrics`: the example is right, and a program that is not is told what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

from perennial_runtime.check_metrics import in_order, made_up, main
from runtime.check_world import ROOT

EXAMPLE = str(ROOT / "examples/own-metric/cost.py")
FORGETS = """\
import os, pathlib, polars as pl
for rows in pathlib.Path(os.environ["PERENNIAL_ROWS"]).iterdir():
    cost = pl.col("hour") * 1.5
    pl.read_parquet(rows).select(cost=cost).write_parquet(pathlib.Path(os.environ["PERENNIAL_VALUES"]) / rows.name)
"""
Capture = pytest.CaptureFixture[str]


def line(code: str) -> list[str]:
    return ["--value", "cost", "--", sys.executable, "-c", code]


def test_the_example_says_a_number_of_each_row(capfd: Capture) -> None:
    assert main(["--column", "hour", "--value", "cost", "--", sys.executable, EXAMPLE]) == 0
    told = capfd.readouterr().out
    rows = made_up({"hour": "number"}, 0)
    late, warned = pl.col("label") == 1, pl.col("score") >= 0.5
    cost = pl.when(late & ~warned).then(24 - pl.col("hour").fill_null(12)).when(~late & warned).then(2).otherwise(0)
    assert f"ok     cost: {rows.select(cost.mean()).item():.6g} (from " in told
    assert "challenger.parquet: 1000 rows\n" in told
    assert "champion.parquet: 990 rows\n" in told


def test_rows_of_the_users_own_are_taken_as_they_are(tmp_path: Path, capfd: Capture) -> None:
    rows = pl.DataFrame({"hour": [1.0, 2.0, 3.0], "label": [1, 0, 1], "score": [0.1, 0.9, 0.8]})
    rows.write_parquet(tmp_path / "rows.parquet")
    given = ["--data", str(tmp_path / "rows.parquet"), "--value", "cost", "--", sys.executable, EXAMPLE]
    assert main(given) == 0
    assert "ok     cost: 8.33333 (from " in capfd.readouterr().out


MISSED = """\
import os, pathlib, polars as pl
for rows in pathlib.Path(os.environ["PERENNIAL_ROWS"]).iterdir():
    given = pl.read_parquet(rows)
    named = {"blue": "probability_0", "green": "probability_1", "red": "probability_2"}
    ours = pl.coalesce([pl.when(pl.col("label") == one).then(pl.col(column)) for one, column in named.items()])
    given.select(cost=1 - ours).write_parquet(pathlib.Path(os.environ["PERENNIAL_VALUES"]) / rows.name)
"""


def test_rows_of_several_classes_have_their_labels_and_all_probabilities(capfd: Capture) -> None:
    assert main(["--classes", "red,green,blue", *line(MISSED)]) == 0
    told = capfd.readouterr().out
    rows = made_up({}, 0, in_order("red,green,blue"))
    assert rows.columns == ["label", "probability_0", "probability_1", "probability_2"]
    assert set(rows["label"]) == {"red", "green", "blue"}
    assert rows.select(pl.sum_horizontal(pl.selectors.float())).to_series().to_list() == pytest.approx([1.0] * 1000)
    places = rows["label"].replace_strict(["blue", "green", "red"], [1, 2, 3]).to_list()
    missed = sum(1 - row[place] for row, place in zip(rows.rows(), places, strict=True)) / 1000
    assert f"ok     cost: {missed:.6g} (from " in told


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("late,early, on time", ["early", "late", "on time"]),
        ("10,9,-1", [-1, 9, 10]),
        ("10,9,x", ["10", "9", "x"]),
        ("10,9,01", ["01", "10", "9"]),
        ("", []),
    ],
)
def test_classes_are_in_the_order_and_of_the_kind_that_prepare_gives_them(text: str, classes: list[str] | list[int]) -> None:
    assert in_order(text) == classes
    if classes:
        rows = made_up({}, 0, in_order(text))
        assert sorted(rows["label"].unique().to_list()) == classes
        assert rows.columns[1:] == [f"probability_{place}" for place in range(3)]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "wrong  the command ended with 3"),
        ("pass", "wrong  MetricValuesMissing: challenger.parquet of the program in evaluation.metrics: it ended without"),
        (
            FORGETS,
            "rows have no finite number",
        ),
    ],
    ids=["that fails", "that writes nothing", "that forgets missing values"],
)
def test_a_program_is_told_what_is_wrong(code: str, words: str, capfd: Capture) -> None:
    assert main(["--column", "hour", "--column", "carrier:text", *line(code)]) == 1
    assert words in capfd.readouterr().out


def test_a_program_that_is_not_there_or_takes_too_long_is_told(capfd: Capture) -> None:
    assert main(["--value", "cost", "--", "/no/such/program"]) == 1
    assert "can't be run: No such file or directory: /no/such/program" in capfd.readouterr().out
    assert main(["--timeout", "0.2", *line("import time; time.sleep(60)")]) == 1
    assert "ran longer than 0 s" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--value", "cost"], "--value NAME -- COMMAND"),
        (["--value", "cost", "--column", "hour:date", "--", "true"], "--column NAME[:text]"),
        (["--", "true"], "--value"),
    ],
)
def test_a_command_line_that_says_too_little_ends_with_64(given: list[str], words: str, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 64
    assert words in capfd.readouterr().err
