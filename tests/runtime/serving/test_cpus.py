"""The CPU limit of the container, read from a fake control-group tree."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial_runtime import cpus
from perennial_runtime.cpus import AT_ONCE, ahead, cpu_limit, spread

HERE = len(os.sched_getaffinity(0))


def test_version_2_limit_is_rounded_down_to_whole_cpus(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpu_limit(tmp_path) == 1


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_version_1_limit_is_read_from_either_folder(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path) == 1


def test_half_a_cpu_is_one_thread(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cpu_limit(tmp_path) == 1


def test_a_limit_over_the_machine_is_the_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    assert cpu_limit(tmp_path) == HERE


def test_without_a_limit_it_is_the_affinity_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_limit(tmp_path) == HERE


def test_what_is_made_of_many_things_comes_in_their_order_however_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpu_limit", lambda: 64)
    together = threading.Barrier(AT_ONCE, timeout=5)  # nobody passes it alone
    seen: set[str] = set()

    def work(item: int) -> int:
        together.wait()
        seen.add(threading.current_thread().name)
        return item * item

    assert spread(work, range(10 * AT_ONCE)) == [item * item for item in range(10 * AT_ONCE)]
    assert len(seen) == AT_ONCE


def test_what_goes_wrong_with_one_thing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "cpu_limit", lambda: 1)
    with pytest.raises(ZeroDivisionError):
        spread(lambda item: 1 // item, [1, 0])


def test_the_next_item_is_made_while_one_is_dealt_with_and_no_more_than_that() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for item in range(5):
            made.append(item)
            if item == 1:
                second.set()
            yield item

    found = ahead(items())
    assert next(found) == 0
    assert second.wait(timeout=5)
    assert made == [0, 1]
    assert list(found) == [1, 2, 3, 4]
    assert list(ahead(iter([]))) == []


def test_what_goes_wrong_ahead_is_raised_where_its_item_is_asked_for() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)
