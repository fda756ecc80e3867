"""Hashing in processes: the same hashes as here, in order, and an end that is told when a process has died."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from perennial_runtime import row_hashing
from perennial_runtime.answers import Unavailable
from perennial_runtime.row_hashing import Hashing, processes_for
from perennial_runtime.rows import row_hashes


def batches(rows: int = 20_000, count: int = 5) -> Iterator[pl.DataFrame]:
    random = np.random.default_rng(4)
    for number in range(count):
        yield pl.DataFrame(
            {
                "amount": pl.Series(random.normal(size=rows)).set(pl.Series(random.random(rows) < 0.1), None),
                "place": pl.Series(["Genève", "", None]).gather(random.integers(0, 3, rows)),
                "kind": pl.Series(["a", "b"]).gather(random.integers(0, 2, rows)).cast(pl.Categorical),
                "at": pl.repeat(datetime(2013, 1, 1 + number, tzinfo=UTC), rows, eager=True),
                "nothing": pl.repeat(None, rows, eager=True),
            }
        )


@pytest.mark.parametrize("processes", [0, 2])
def test_each_batch_comes_with_the_hashes_of_its_rows_in_order(processes: int) -> None:
    with Hashing(processes) as hashing:
        found = list(hashing.of(batches()))
        again = list(hashing.of(batches(rows=7, count=1)))
    assert [batch.equals(wanted) for (batch, _), wanted in zip(found, batches(), strict=True)] == [True] * 5
    assert all((hashes == row_hashes(batch)).all() for batch, hashes in [*found, *again])


def test_a_process_that_was_killed_is_no_fault_of_the_data() -> None:
    with Hashing(1) as hashing:
        first = hashing.of(batches())
        next(first)
        hashing.children[0].send_signal(signal.SIGKILL)
        with pytest.raises(Unavailable, match="killed by signal 9: give the step more memory"):
            list(first)


def test_processes_are_for_large_sources_and_for_more_than_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_hashing, "cpu_limit", lambda: 8)
    assert processes_for(row_hashing.LARGE) == row_hashing.MOST
    assert processes_for(row_hashing.LARGE - 1) == 0
    monkeypatch.setattr(row_hashing, "cpu_limit", lambda: 1)
    assert processes_for(row_hashing.LARGE) == 0
