"""What of a file is told to leave the page cache, and when."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet
import pytest

from perennial_runtime import pagecache, tabular


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Eight row groups."""
    path = tmp_path / "large.parquet"
    chance = np.random.default_rng(4)
    pl.DataFrame({name: chance.normal(size=8000) for name in ("a", "b", "c")}).write_parquet(path, row_group_size=1000)
    return path


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Start and length of what the kernel is told not to be needed any more; it is told, too."""
    told: list[tuple[int, int]] = []
    advise = os.posix_fadvise

    def noted(descriptor: int, start: int, length: int, what: int) -> None:
        assert what == os.POSIX_FADV_DONTNEED
        told.append((start, length))
        advise(descriptor, start, length, what)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    return told


def test_a_span_is_dropped_and_nothing_is_not(large: Path, advice: list[tuple[int, int]]) -> None:
    body = large.read_bytes()
    pagecache.drop(large, 100, 300)
    pagecache.drop(large, 7, 7)
    pagecache.drop(large)
    assert advice == [(100, 200), (0, 0)]  # a length of 0 is the whole file
    assert large.read_bytes() == body


def test_a_row_group_stays_until_its_last_row_was_read(large: Path, advice: list[tuple[int, int]]) -> None:
    with pyarrow.parquet.ParquetFile(large) as file:
        behind = pagecache.Behind(large, file.metadata)
    counts = []
    for rows in (999, 1, 2000, 4999, 1, 5):
        behind.passed(rows)
        counts.append(len(advice))
    assert counts == [0, 1, 3, 7, 8, 8]
    assert advice[0][0] == 4
    assert all(0 <= following - start - length < 100 for (start, length), (following, _) in pairwise(advice))


def test_a_file_that_is_read_as_a_source_is_dropped_behind_its_reader(
    large: Path, advice: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen, dropped = pl.read_parquet(large), [], []
    monkeypatch.setattr(tabular, "BATCH_ROWS", 4096)
    monkeypatch.setattr(tabular, "DROPPED_BYTES", large.stat().st_size)
    for batch in tabular.read(large, large.name, large.parent / "room"):
        seen.append(batch)
        dropped.append(len(advice))
    assert pl.concat(seen).equals(whole)
    assert dropped == [4, 8]


@pytest.mark.parametrize(("smallest", "room"), [(1, "."), (0, "room")])
def test_a_file_that_was_fetched_and_a_small_one_stay(
    large: Path, advice: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, smallest: int, room: str
) -> None:
    monkeypatch.setattr(tabular, "DROPPED_BYTES", smallest or large.stat().st_size + 1)
    assert sum(batch.height for batch in tabular.read(large, large.name, large.parent / room)) == 8000
    assert not advice


def test_advice_that_is_refused_harms_nothing(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    monkeypatch.setattr(tabular, "DROPPED_BYTES", 1)
    assert sum(batch.height for batch in tabular.read(large, large.name, large.parent / "room")) == 8000
    pagecache.drop(large.parent / "nothing")
