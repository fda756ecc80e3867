"""Data larger than memory through prepare and evaluate, beside a plain Polars script over the same files; needs no cluster.

Processes one after the other on the same files: `prepare` and `evaluate` (tests/benchmarks/data_steps.py) in a control group
with LIMIT of memory (page cache included), and two scripts (tests/benchmarks/data_plain.py). One does the same with Polars' own
means: repeats removed, rows in order, split, a model's AUC. It holds all rows in memory, so it has no limit and gets a part of
the files only; the steps are held against its megabytes a second. The other does what somebody would write who only wants the
rows split and the AUC, under the limit, on all files: it shows what order and the removal of repeats cost, and is the one that is
hard to keep up with. Neither makes digests, has a store, checks a file, or has a sandbox or a Bento.
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

from benchmarks.data_steps import HOLDOUT
from benchmarks.data_table import FEATURES, write_files
from benchmarks.report import Report
from cluster import cgroups
from demo.ground import REPOSITORY

GIGABYTE = 10**9
GIGABYTES = 10.0
LIMIT = 2 * 1024**3
MOST = 3.0
"""Times the speed of the steps that a script may have."""
OURS = "prepare and evaluate together"
SAME, SPLIT = "script that does the same", "script that only splits"
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


@dataclass(frozen=True, slots=True)
class Runs:
    """All that is timed."""

    prepare: Run
    evaluate: Run
    same: Run
    split: Run


def run(gigabytes: float = GIGABYTES) -> Report:
    """The section. Raises CannotMeasure; leaves no file behind."""
    with _room(gigabytes) as room, _group(GROUP, LIMIT) as group, _group(f"{GROUP}-free", None) as free:
        (room / "source").mkdir()
        written = write_files(room / "source", int(gigabytes * GIGABYTE))
        prepare = _run("data_steps", "prepare", room, group)
        _run("data_steps", "train", room, group)
        evaluate = _run("data_steps", "evaluate", room, group)
        for folder in ("store", "work"):
            shutil.rmtree(room / folder)
        split = _run("data_plain", "split", room, group)
        same = _run("data_plain", "same", room, free)
    return _report(written.bytes, written.rows, Runs(prepare, evaluate, same, split))


def _report(size: int, rows: int, runs: Runs) -> Report:
    report = Report("data", "Data larger than memory", _about(size, rows, runs))
    ours, part = runs.prepare.seconds + runs.evaluate.seconds, int(runs.same.said["bytes"])
    named = (("prepare", runs.prepare), ("evaluate", runs.evaluate), (SAME, runs.same), (SPLIT, runs.split))
    for name, found in named:
        data = part if found is runs.same else size
        report.add(f"{name}: seconds", found.seconds, "s")
        report.add(f"{name}: megabytes of data a second", data / 1e6 / found.seconds, "MB/s")
        report.add(f"{name}: seconds of CPU", found.cpu, "s")
        report.add(f"{name}: most memory in use", found.peak / 1024**2, "MiB")
        report.add(f"{name}: most memory in use, page cache left out", found.own / 1024**2, "MiB")
    report.add(f"{OURS}: seconds", ours, "s")
    report.add(f"{OURS}: megabytes of data a second", size / 1e6 / ours, "MB/s")
    report.add(f"{SAME}: so many times as fast as {OURS}", part / runs.same.seconds / (size / ours), "x", MOST)
    report.add(f"{SPLIT}: so many times as fast as {OURS}", ours / runs.split.seconds, "x", MOST)
    difference = abs(runs.evaluate.said["auc"] - runs.split.said["auc"])
    report.add("difference between their AUCs", difference, "", 1e-3)
    return report


def _about(size: int, rows: int, runs: Runs) -> str:
    part = runs.same.said["bytes"] / GIGABYTE
    return (
        f"{size / GIGABYTE:.1f} GB of Parquet in {runs.prepare.said['files']} files, {rows:,} rows of {len(FEATURES)} features, "
        f"an id, a time and a label, generated for the run; the newest {HOLDOUT:.0%} are the holdout. prepare and evaluate run "
        f"alone in a control group of {LIMIT // 1024**2} MiB of memory, page cache included, which fills it; who needed more "
        "would be killed, and there would be no figures. They read the files where they lie, as they do with a claim, and store "
        "in a folder. Each runs once. Two plain scripts score the holdout in batches with the same ONNX model and compute its "
        "AUC. One "
        f"does the same as the steps by Polars' own unique and sort, on {part:.1f} GB of the files and without a limit, for it "
        "holds all rows in memory. The other, under the limit and on all files, only splits them at the same share of times: it "
        "removes no repeats and sorts nothing. Neither makes digests or verifies anything."
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
def _group(name: str, limit: int | None) -> Iterator[Path]:
    """A control group, with a limit of memory or none."""
    tree = cgroups.detect()
    top = tree.hierarchies[0] if tree.version == 2 else next(one for one in tree.hierarchies if "memory" in one.name.split(","))
    group = top / name
    try:
        group.mkdir(exist_ok=True)
        if limit is not None:
            (group / ("memory.max" if tree.version == 2 else "memory.limit_in_bytes")).write_text(str(limit))
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
