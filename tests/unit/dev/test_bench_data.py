"""The benchmark of large data: what it is made of, what it holds against its target, and when it refuses to measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bench_data
from benchmarks.bench_data import CannotMeasure, Run, Runs
from benchmarks.data_table import FEATURES, table, write_files


def found(seconds: float, auc: float = 0.75, size: int = 10**10) -> Run:
    return Run(seconds, 2 * seconds, 2**30, 2**29, {"auc": auc, "files": 3, "bytes": size})


def test_files_have_the_size_that_was_asked_for_and_rows_that_differ(tmp_path: Path) -> None:
    written = write_files(tmp_path, 8_000_000)
    assert 8_000_000 <= written.bytes < 12_000_000
    assert written.files == len(list(tmp_path.iterdir())) > 1
    rows = table(2000, 1, 0)
    assert set(FEATURES) < set(rows.columns)
    assert rows.is_unique().all()
    assert table(2000, 1, 0).equals(rows)


@pytest.mark.parametrize(
    ("seconds", "same", "split", "missed"),
    [
        (29.0, 1.0, 10.0, []),
        (31.0, 1.0, 11.0, ["script that does the same"]),
        (29.0, 1.0, 9.0, ["script that only splits"]),
        (31.0, 1.0, 10.0, ["script that does the same", "script that only splits"]),
    ],
)
def test_under_a_third_of_the_speed_of_a_script_misses_the_target(
    seconds: float, same: float, split: float, missed: list[str]
) -> None:
    part = found(same, size=10**9)  # a tenth of the data
    report = bench_data._report(10**10, 60_000_000, Runs(found(seconds - 5), found(5), part, found(split)))
    assert [figure.what for figure in report.missed] == [
        f"{script}: so many times as fast as prepare and evaluate together" for script in missed
    ]


def test_figures_of_another_result_than_the_plain_scripts_miss_the_target() -> None:
    report = bench_data._report(10**10, 60_000_000, Runs(found(5), found(5, auc=0.75), found(10), found(10, auc=0.76)))
    assert [figure.what for figure in report.missed] == ["difference between their AUCs"]


def test_a_disk_without_room_is_told_before_anything_is_written() -> None:
    with pytest.raises(CannotMeasure, match="PERENNIAL_BENCH_DATA"), bench_data._room(1e9):
        pass
