"""What was told of the faults, kept as it is told: `make faults` that was cut short goes on where it was, on the same code.

A telling is compared with the reference of its own run, which is kept with it: another run has other names and digests.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cluster_support.faults import Point, Told
from demo.ground import REPOSITORY

CODE = ("operator", "serving", "charts", "crds", "dev/cluster", "dev/demo", "tests/cluster_support", "tests/faults", "uv.lock")
"""What a telling depends on, beside the cluster."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Of the file: a telling with a kill, or a run's reference of a story."""

    run: str
    told: Told
    story: str = ""
    """Whose reference it is; empty for a telling with a kill."""


_LINE = TypeAdapter(_Line)


class Kept:
    """The tellings with a kill that came to their end, one to a line of a file that is named after the code."""

    def __init__(self, run: str, folder: Path = REPOSITORY / "build" / "faults", code: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._file = folder / f"{code or digest(REPOSITORY)}.jsonl"
        self._lock = threading.Lock()

    def of(self, points: Sequence[Point]) -> list[tuple[Told, Told]]:
        """Those of these points, one of each, each with its reference. A line that a kill cut short is none."""
        lines = list(self._lines())
        references = {(line.run, line.story): line.told for line in lines if line.story}
        known = {line.told.point: line for line in lines if not line.story}
        pairs = ((known[point].told, references.get((known[point].run, point.story))) for point in points if point in known)
        return [(told, reference) for told, reference in pairs if reference is not None]

    def begin(self, references: Mapping[str, Told]) -> None:
        """Keeps this run's references."""
        for story, told in references.items():
            self._write(_Line(self._run, told, story))

    def add(self, told: Told) -> None:
        """Keeps it, if it came to its end."""
        if not told.problem:
            self._write(_Line(self._run, told))

    def put_by(self) -> None:
        """Every point was told, and the next run begins anew; what was told can still be read beside it."""
        if self._file.is_file():
            self._file.replace(self._file.with_suffix(".told"))

    def _write(self, line: _Line) -> None:
        with self._lock, self._file.open("ab") as file:
            file.write(b"\n" + _LINE.dump_json(line) + b"\n")  # a line that was cut short before ends here

    def _lines(self) -> Iterator[_Line]:
        for line in self._file.read_bytes().split(b"\n")[:-1] if self._file.is_file() else ():
            try:
                yield _LINE.validate_json(line)
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
