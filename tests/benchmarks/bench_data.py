"""Data larger than memory through prepare and evaluate, beside a plain Polars script over the same files; needs no cluster.

Three processes, one after the other, each in a control group with LIMIT of memory (page cache included) and on the same files:
`prepare`, `evaluate` (tests/benchmarks/data_steps.py) and the script (tests/benchmarks/data_plain.py), which does what somebody
would write who only wants the rows split and a model's AUC: no duplicates removed, no order, no digests, no store, no checks of
any file, no sandbox, no Bento. Work that is left out of it is what the steps are for, and what the ratio is the price of.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data_table import FEATURES, write_files
from benchmarks.report import Report
from cluster import cgroups
from demo.ground import REPOSITORY

GIGABYTE = 10**9
GIGABYTES = 10.0
LIMIT = 2 * 1024**3
LEAST_SHARE = 1 / 3
"""Of the plain script's speed."""
DISK = 5
"""Times the data that has to be free: itself, the runs, two files, copies of them in the store and in evaluate, the script's."""
GROUP = "perennial-bench-data"
WATCH_SECONDS = 0.1


class CannotMeasure(Exception):
    """The machine does not let us: no control groups, or no room."""


@dataclass(frozen=True, slots=True)
class Run:
    """A process that has ended well."""

    seconds: float
    cpu: float
    """Seconds of CPU, those of its own processes included: a busy machine changes them less."""
    peak: int
    """Bytes of memory that its control group held at most, page cache included."""
    own: int
    """The same without what only stands for files: what can't be given back."""
    said: dict[str, Any]


def run(gigabytes: float = GIGABYTES) -> Report:
    """The section. Raises CannotMeasure; leaves no file behind."""
    with _room(gigabytes) as room, _group() as group:
        (room / "source").mkdir()
        written = write_files(room / "source", int(gigabytes * GIGABYTE))
        prepare = _run("data_steps", "prepare", room, group)
        _run("data_steps", "train", room, group)
        evaluate = _run("data_steps", "evaluate", room, group)
        for folder in ("store", "work"):
            shutil.rmtree(room / folder)
        plain = _run("data_plain", "", room, group)
    return _report(written.bytes, written.rows, prepare, evaluate, plain)


def _report(size: int, rows: int, prepare: Run, evaluate: Run, plain: Run) -> Report:
    report = Report("data", "Data larger than memory", _about(size, rows, prepare.said))
    ours = prepare.seconds + evaluate.seconds
    for name, found in (("prepare", prepare), ("evaluate", evaluate), ("plain Polars script", plain)):
        report.add(f"{name}: seconds", found.seconds, "s")
        report.add(f"{name}: megabytes of data a second", size / 1e6 / found.seconds, "MB/s")
        report.add(f"{name}: seconds of CPU", found.cpu, "s")
        report.add(f"{name}: most memory in use", found.peak / 1024**2, "MiB")
        report.add(f"{name}: most memory in use, page cache left out", found.own / 1024**2, "MiB")
    report.add("prepare and evaluate together over the plain script", ours / plain.seconds, "x", 1 / LEAST_SHARE)
    difference = abs(evaluate.said["auc"] - plain.said["auc"])
    report.add("difference between their AUCs", difference, "", 1e-3)
    return report


def _about(size: int, rows: int, said: dict[str, Any]) -> str:
    return (
        f"{size / GIGABYTE:.1f} GB of Parquet in {said['files']} files, {rows:,} rows of {len(FEATURES)} features, an id, a time "
        f"and a label, generated for the run. Each process runs alone in a control group of {LIMIT // 1024**2} MiB of memory, "
        "page cache included. The steps read the files where they lie, as they do with a claim, and store in a folder. The "
        "plain script scans the files with Polars, splits them at the same share of times, writes two Parquet files, scores "
        "the holdout in batches with the same ONNX model and computes its AUC: it removes no duplicates, sorts nothing, and "
        "verifies nothing."
    )


@contextmanager
def _room(gigabytes: float) -> Iterator[Path]:
    """A folder with room for everything, which goes afterwards."""
    base = Path(os.environ.get("PERENNIAL_BENCH_DATA", tempfile.gettempdir()))
    free, needed = shutil.disk_usage(base).free, int(DISK * gigabytes * GIGABYTE)
    if free < needed:
        raise CannotMeasure(
            f"{base} has {free / GIGABYTE:.0f} GB free and {needed / GIGABYTE:.0f} GB are needed: set PERENNIAL_BENCH_DATA to a "
            "folder with more, or ask for less with --gigabytes"
        )
    with tempfile.TemporaryDirectory(prefix="perennial-data-", dir=base) as folder:
        yield Path(folder)


@contextmanager
def _group() -> Iterator[Path]:
    """A control group with the limit."""
    tree = cgroups.detect()
    top = tree.hierarchies[0] if tree.version == 2 else next(one for one in tree.hierarchies if "memory" in one.name.split(","))
    group = top / GROUP
    try:
        group.mkdir(exist_ok=True)
        (group / ("memory.max" if tree.version == 2 else "memory.limit_in_bytes")).write_text(str(LIMIT))
    except OSError as error:
        raise CannotMeasure(
            f"no control group can be made at {group} ({error.strerror}): run as root on the machine itself"
        ) from error
    try:
        yield group
    finally:
        group.rmdir()


def _run(module: str, step: str, room: Path, group: Path) -> Run:
    """The module as a process that is in the group from its first line on, with a cold page cache for the data."""
    _forget(room)
    _start_counting(group)
    answer = room / f"{module}{step}.json"
    enter = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -m benchmarks.{module} {room} {answer} {step}"
    roots = ("operator", "serving", "dev", "tests")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in roots)}
    began, used = time.monotonic(), _cpu()
    with _watched(group) as own:
        done = subprocess.run(["sh", "-c", enter], env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise AssertionError(f"{module} {step} ended with {done.returncode}: {done.stderr[-2000:]}")
    return Run(seconds, _cpu() - used, _most(group), max(own), json.loads(answer.read_text()))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _watched(group: Path) -> Iterator[list[int]]:
    """The bytes that are no page cache, now and then."""
    found, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_SECONDS):
            facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            found.append(int(next(facts[name] for name in ("anon", "total_rss") if name in facts)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _forget(room: Path) -> None:
    """What was written before is not in memory any more, whoever paid for it."""
    os.sync()
    for path in room.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _start_counting(group: Path) -> None:
    counter = group / "memory.max_usage_in_bytes"
    if counter.exists():
        counter.write_text("0")


def _most(group: Path) -> int:
    names = ("memory.peak", "memory.max_usage_in_bytes")
    return next((int((group / name).read_text()) for name in names if (group / name).exists()), 0)
