"""What was told of the faults, kept as it is told: `make faults` that was cut short goes on where it was, on the same code."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cluster_support.faults import Point, Told
from demo.ground import REPOSITORY

CODE = ("operator", "serving", "charts", "crds", "dev/cluster", "dev/demo", "tests/cluster_support", "tests/faults", "uv.lock")
"""What a telling depends on, beside the cluster."""
_TOLD = TypeAdapter(Told)


class Kept:
    """The tellings with a kill that came to their end, one to a line of a file that is named after the code."""

    def __init__(self, folder: Path = REPOSITORY / "build" / "faults", code: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{code or digest(REPOSITORY)}.jsonl"
        self._lock = threading.Lock()

    def of(self, points: Sequence[Point]) -> list[Told]:
        """Those of these points, one of each. A line that a kill cut short is none."""
        known = {told.point: told for told in self._lines()}
        return [known[point] for point in points if point in known]

    def add(self, told: Told) -> None:
        """Keeps it, if it came to its end."""
        if told.problem:
            return
        with self._lock, self._file.open("ab") as file:
            file.write(b"\n" + _TOLD.dump_json(told) + b"\n")  # a line that was cut short before ends here

    def forget(self) -> None:
        """All of it: every point was told, and the next run begins anew."""
        self._file.unlink(missing_ok=True)

    def _lines(self) -> Iterator[Told]:
        for line in self._file.read_bytes().split(b"\n")[:-1] if self._file.is_file() else ():
            try:
                yield _TOLD.validate_json(line)
            except ValidationError:
                continue


def digest(root: Path) -> str:
    """Of the files that a telling depends on, by name and content, and of the cluster that is used."""
    found = hashlib.sha256(f"{os.environ.get('PERENNIAL_KUBECONFIG', '')}\0".encode())
    for place in CODE:
        files = sorted((root / place).rglob("*")) if (root / place).is_dir() else [root / place]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                found.update(f"{file.relative_to(root)}\0".encode())
                found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]
