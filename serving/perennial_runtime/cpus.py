"""How many CPUs this container may use: onnxruntime would start one thread for each core of the *host*.

Read by `onnx_model` and by all that works on several things at once. Knows cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`);
without a limit it is the CPUs of the process's affinity mask.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

_CGROUPS = Path("/sys/fs/cgroup")
_V1_FOLDERS = ("cpu", "cpu,cpuacct")
AT_ONCE = 2
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cpu_limit(root: Path = _CGROUPS) -> int:
    """Whole CPUs, at least 1: a limit of 1500m is one thread, for a second one would be throttled half the time."""
    available = len(os.sched_getaffinity(0))
    limit = _version_2(root) or _version_1(root)
    return max(1, min(available, int(limit))) if limit else available


def spread(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """What the work makes of each, in order; of at most AT_ONCE at once, for what is in memory grows with them. For work that
    is done by numpy or polars: other Python code would only wait for its turn."""
    with ThreadPoolExecutor(min(cpu_limit(), AT_ONCE)) as threads:
        return list(threads.map(work, items))


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The items in order; the next one is made, in a thread, while one is dealt with."""
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(list, islice(items, 1))
        while found := made.result():
            made = thread.submit(list, islice(items, 1))
            yield found[0]


def _version_2(root: Path) -> float | None:
    words = _words(root / "cpu.max")
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _version_1(root: Path) -> float | None:
    for folder in _V1_FOLDERS:
        quota, period = (_words(root / folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota and period and int(quota[0]) > 0:
            return int(quota[0]) / int(period[0])
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
