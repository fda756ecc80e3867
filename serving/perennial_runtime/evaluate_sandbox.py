"""Starts the process that checks and scores a model, and turns whatever becomes of it into scores or a refusal.

`perennial_runtime.evaluate` calls it for the challenger (checked, strict) and for the champion (scored, tolerant). The child
(`perennial_runtime.onnx_check`) has no credentials in its environment, an empty directory to work in, and limits on memory,
CPU and time; its crash is the model's fault and never ours.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.contract import MODEL_BYTES_LIMIT
from perennial_runtime.evaluate_columns import Table, write_table
from perennial_runtime.onnx_check import ModelRefused

Scores = dict[str, NDArray[np.float64]]
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


def score_in_sandbox(subject: Subject, tables: Mapping[str, Table], scratch: Path, limits: SandboxLimits) -> Scores:
    """Check the model and score every table in a process of its own. Raises ModelRefused."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="sandbox-") as folder:
        room = Path(folder)
        request = _request(subject, tables, room, limits)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "perennial_runtime.onnx_check", str(request)],
                cwd=room / "empty",
                env=_environment(room),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=limits.wall_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ModelRefused(
                "ModelTooSlow", f"model.onnx was not checked and scored within {limits.wall_seconds:.0f} s: train a smaller model"
            ) from None
        return _scores(room / "out", tables, done.returncode, done.stderr.decode(errors="replace"), limits)


def _request(subject: Subject, tables: Mapping[str, Table], room: Path, limits: SandboxLimits) -> Path:
    for name in ("empty", "out"):
        (room / name).mkdir()
    for name, table in tables.items():
        write_table(table, room / "tables" / name)
    document = {
        "model": str(subject.model),
        "schema": str(subject.schema),
        "domains": None if subject.domains is None else list(subject.domains),
        "tolerant": subject.tolerant,
        "tables": {name: str(room / "tables" / name) for name in tables},
        "out": str(room / "out"),
        "memory": limits.memory,
        "seconds": limits.cpu_seconds,
        "limit": limits.model_bytes,
    }
    request = room / "request.json"
    request.write_text(json.dumps(document), encoding="utf-8")
    return request


def _environment(room: Path) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]),
        "HOME": str(room / "empty"),
        "TMPDIR": str(room / "empty"),
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MiB of the address space that is limited
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }


def _scores(out: Path, tables: Mapping[str, Table], code: int, said: str, limits: SandboxLimits) -> Scores:
    answer_file = out / "answer.json"
    if code != 0 or not answer_file.exists():
        raise ModelRefused(*_crash(code, said, limits))
    answer = json.loads(answer_file.read_text(encoding="utf-8"))
    if answer:
        raise ModelRefused(answer["reason"], answer["message"])
    return {name: np.load(out / f"{name}.npy", allow_pickle=False) for name in tables}


def _crash(code: int, said: str, limits: SandboxLimits) -> tuple[str, str]:
    """Reason and message for a child that gave no answer. Its last words are told only where they hold no value of a row."""
    if code == -signal.SIGXCPU:
        return "ModelTooSlow", f"model.onnx used more than {limits.cpu_seconds} s of CPU: train a smaller model"
    if "MemoryError" in said or "bad_alloc" in said or "Failed to allocate memory" in said:
        return "ModelTooLarge", f"model.onnx needs more than {limits.memory // 1024**2} MiB of memory to be checked and scored"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return "OnnxCrashed", f"the process that loads model.onnx {how}: the file is broken or does harm; export it again"
