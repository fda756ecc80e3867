"""How far a long reading is, told now and then in the log; the share and the time left are of the bytes of the files."""

from __future__ import annotations

import time
from collections.abc import Callable

from perennial_runtime.answers import say

EVERY_SECONDS = 10.0


class Progress:
    """Of `files` files with so many bytes in all."""

    def __init__(self, files: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bytes = size
        self._files, self._clock = files, clock
        self._began = self._told = clock()
        self._read = self._done = self._rows = 0

    def rows(self, count: int) -> None:
        """So many more rows of the current file."""
        self._rows += count
        if self._clock() - self._told >= EVERY_SECONDS:
            say("reading", **self._words())

    def file(self, name: str, size: int, rows: int) -> None:
        """One file is done."""
        self._read += 1
        self._done += size
        say("file read", file=name, file_rows=rows, **self._words())

    def _words(self) -> dict[str, object]:
        self._told = self._clock()
        share = self._done / self.bytes if self.bytes else self._read / self._files
        left = (self._told - self._began) * (1 / share - 1) if share else None
        words = {"files": f"{self._read} of {self._files}", "rows": self._rows, "percent": round(100 * share)}
        return words if left is None else {**words, "seconds_left": round(left)}
