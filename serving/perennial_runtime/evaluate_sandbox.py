"""Starts the processes that read what the trainer wrote, and turns whatever becomes of one into scores or a refusal.

`perennial_runtime.evaluate` calls it for the trainer's own scores, for the challenger (checked, strict), for the champion
(scored, tolerant), for the latency and for what a program of the user's said of the rows; `compare` for two models of one
record. The children (`onnx_check`, `parity_check`, `latency_check`, `values_check`, `model_difference`) have no credentials in
their environment, an empty directory to work in, and limits on memory, CPU and time; their crash is the file's fault and never
ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import MODEL_BYTES_LIMIT, SCORE_OUTPUT
from perennial_runtime.evaluate_child import ANSWER_FILE, WORDS_FILE, ModelRefused
from perennial_runtime.evaluate_columns import Handover, Table
from perennial_runtime.parity_check import SCORES_FILE, broken
from perennial_runtime.scoring import read_schema, score_columns
from perennial_runtime.values_check import broken as unreadable

LATENCIES_FILE = "latencies.npy"
Scores = dict[str, NDArray[np.float64]]
SCORE_BYTES, HEADER_BYTES = 8, 4096
"""Of a file of scores: each of them, and what stands before them at most."""
PARITY_SECONDS = 120
"""Of CPU and of the clock, for 512 rows; most of it is there for a busy node."""
LEAST_MEMORY = 768 * 1024**2
MOST_MEMORY = 4 * 1024**3
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""cgroup v2 and v1, as a container sees its own."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What the child may use. Memory is address space, of which the libraries alone take a quarter of a GiB."""

    memory: int = MOST_MEMORY
    cpu_seconds: int = 900
    wall_seconds: float = 1200.0
    file_bytes: int = 1024**3
    """Of the largest file that the child writes: that of the scores."""
    model_bytes: int = MODEL_BYTES_LIMIT

    @classmethod
    def of_this_pod(cls, limit_files: Sequence[Path] = CGROUP_LIMITS) -> SandboxLimits:
        """Less memory than the pod's own limit, so that the child is refused memory before the kernel kills someone."""
        for path in limit_files:
            if path.is_file() and (text := path.read_text(encoding="ascii").strip()).isdigit():
                return cls(memory=max(LEAST_MEMORY, min(MOST_MEMORY, int(text) * 3 // 4)))
        return cls()


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to score. `domains` None: it was checked before."""

    model: Path
    schema: Path
    domains: Sequence[str] | None
    tolerant: bool = False


def score_in_sandbox(subject: Subject, tables: Mapping[str, Iterable[Table]], scratch: Path, limits: SandboxLimits) -> Scores:
    """Check the model and score what the tables hold, by name, in a process of its own. Raises ModelRefused."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        most = (limits.file_bytes - HEADER_BYTES) // (SCORE_BYTES * len(score_columns(read_schema(subject.schema))))
        given = {name: Handover(room / "tables" / name) for name in tables}
        request = {
            "model": str(subject.model),
            "schema": str(subject.schema),
            "domains": None if subject.domains is None else list(subject.domains),
            "tolerant": subject.tolerant,
            "tables": {name: str(one.folder) for name, one in given.items()},
            "giver": os.getpid(),
            "limit": limits.model_bytes,
        }
        try:
            with _started("onnx_check", request, room, limits) as child:  # it checks the model, and scores what is there already
                for name, parts in tables.items():
                    if child.poll() is None:  # what is not needed any more may take long to come
                        _give(parts, given[name], most, child)
                done = _ended(child, limits)
        except subprocess.TimeoutExpired:
            raise ModelRefused(
                "ModelTooSlow", f"model.onnx was not checked and scored within {limits.wall_seconds:.0f} s: train a smaller model"
            ) from None
        if not _answered(done, room):
            raise ModelRefused(*_crash(done.returncode, done.stderr.decode(errors="replace"), limits))
        return {name: np.load(room / "out" / f"{name}.npy", allow_pickle=False) for name in tables}


def _give(parts: Iterable[Table], target: Handover, most: int, child: subprocess.Popen[bytes]) -> None:
    """Hands over a table's parts, in order, to a child that has not ended. Raises ModelRefused where they have more rows than can
    be scored."""
    rows = 0
    for part in parts:
        rows += part.rows
        if rows > most:
            raise ModelRefused(
                "HoldoutTooLarge",
                f"the holdout has {rows} rows or more, and at most {most} are scored (the more classes, the fewer rows): give a "
                "smaller data.holdout.fraction, or put rare classes together",
            )
        if child.poll() is not None:
            return
        target.give(part)
    target.end()


def parity_in_sandbox(
    path: Path, rows: int, scratch: Path, limits: SandboxLimits, columns: Sequence[str] = (SCORE_OUTPUT,)
) -> NDArray[np.float64]:
    """The trainer's own scores of the first `rows` rows of train.parquet, in order: the file's `columns`. Raises ModelRefused."""
    short = replace(limits, cpu_seconds=PARITY_SECONDS, wall_seconds=PARITY_SECONDS)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        try:
            done = _child("parity_check", {"parity": str(path), "rows": rows, "columns": list(columns)}, room, short)
        except subprocess.TimeoutExpired:
            raise broken(f"it was not read within {PARITY_SECONDS} s", columns) from None
        if not _answered(done, room):
            raise broken(f"the process that reads it {_how(done.returncode)}", columns)
        scores: NDArray[np.float64] = np.load(room / "out" / SCORES_FILE, allow_pickle=False)
        return scores


def values_in_sandbox(
    path: Path, shown: str, names: Sequence[str], rows: int, scratch: Path, *, limits: SandboxLimits
) -> list[NDArray[np.float64]]:
    """What the user's program said of each row, a metric after the other. Raises ModelRefused."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        request = {"values": str(path), "shown": shown, "names": list(names), "rows": rows}
        try:
            done = _child("values_check", request, room, limits)
        except subprocess.TimeoutExpired:
            raise unreadable(shown, f"it was not read within {limits.wall_seconds:.0f} s") from None
        if not _answered(done, room):
            raise unreadable(shown, f"the process that reads it {_how(done.returncode)}")
        return [np.load(room / "out" / f"{place}.npy", allow_pickle=False) for place in range(len(names))]


def difference_in_sandbox(one: Path, other: Path, scratch: Path, limits: SandboxLimits) -> list[str] | None:
    """In what two models differ, in words; None where the process that compares them did not come to its end."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        try:
            done = _child("model_difference", {"one": str(one), "other": str(other)}, room, limits)
        except subprocess.TimeoutExpired:
            return None
        if not _answered(done, room):
            return None
        words: list[str] = json.loads((room / "out" / WORDS_FILE).read_text(encoding="utf-8"))
        return words


def latencies_in_sandbox(bento_source: Path, scratch: Path, limits: SandboxLimits) -> NDArray[np.float64]:
    """Milliseconds of each of many requests on an unpacked Bento, golden rows one by one. Raises ModelRefused."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        try:
            done = _child("latency_check", {"bento": str(bento_source)}, room, limits)
        except subprocess.TimeoutExpired:
            raise ModelRefused(
                "ModelTooSlow", f"the predict path was not measured within {limits.wall_seconds:.0f} s: train a smaller model"
            ) from None
        if not _answered(done, room):
            raise ModelRefused(*_crash(done.returncode, done.stderr.decode(errors="replace"), limits))
        taken: NDArray[np.float64] = np.load(room / "out" / LATENCIES_FILE, allow_pickle=False)
        return taken


def _child(module: str, request: Mapping[str, Any], room: Path, limits: SandboxLimits) -> subprocess.CompletedProcess[bytes]:
    """Run one child to its end in `room`. Raises TimeoutExpired."""
    with _started(module, request, room, limits) as child:
        return _ended(child, limits)


@contextmanager
def _started(module: str, request: Mapping[str, Any], room: Path, limits: SandboxLimits) -> Iterator[subprocess.Popen[bytes]]:
    """A child at work in `room`; it is gone afterwards, however that comes about."""
    for name in ("empty", "out"):
        (room / name).mkdir()
    document = {
        **request,
        "out": str(room / "out"),
        "memory": limits.memory,
        "seconds": limits.cpu_seconds,
        "file": limits.file_bytes,
    }
    request_file = room / "request.json"
    request_file.write_text(json.dumps(document), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", f"perennial_runtime.{module}", str(request_file)],
        cwd=room / "empty",
        env=_environment(room),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            yield child
        finally:
            child.kill()  # of one that has ended nothing is left to kill


def _ended(child: subprocess.Popen[bytes], limits: SandboxLimits) -> subprocess.CompletedProcess[bytes]:
    """Waits for it. Raises TimeoutExpired."""
    _, said = child.communicate(timeout=limits.wall_seconds)
    return subprocess.CompletedProcess(child.args, child.returncode, stderr=said)


def _answered(done: subprocess.CompletedProcess[bytes], room: Path) -> bool:
    """Whether the child came to its end. Raises ModelRefused where that was its answer."""
    answer_file = room / "out" / ANSWER_FILE
    if done.returncode != 0 or not answer_file.exists():
        return False
    answer = json.loads(answer_file.read_text(encoding="utf-8"))
    if answer:
        raise ModelRefused(answer["reason"], answer["message"])
    return True


def _environment(room: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]),
        "HOME": str(room / "empty"),
        "TMPDIR": str(room / "empty"),
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MiB of the address space that is limited
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }


def _crash(code: int, said: str, limits: SandboxLimits) -> tuple[str, str]:
    """Reason and message for a child that gave no answer. Its last words are told only where they hold no value of a row."""
    if code == -signal.SIGXCPU:
        return "ModelTooSlow", f"model.onnx used more than {limits.cpu_seconds} s of CPU: train a smaller model"
    if "MemoryError" in said or "bad_alloc" in said or "Failed to allocate memory" in said:
        return "ModelTooLarge", f"model.onnx needs more than {limits.memory // 1024**2} MiB of memory to be checked and scored"
    return "OnnxCrashed", f"the process that loads model.onnx {_how(code)}: the file is broken or does harm; export it again"


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
