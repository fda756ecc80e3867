"""The hashes of many batches of rows, in order, while the batches before are dealt with.

    Hashing.of(batches) -> (batch, hashes) ...       each batch by one process: python -m perennial_runtime.row_hashing

Hashing is most of the work of reading data, and Python's hash functions hold its lock: threads would wait for each other, and
with them all else that is done with the rows. So a large source has processes for it. Each is sent an Arrow stream for a batch,
and answers with eight bytes for a row. A small source is hashed in a thread, long before a process would have come up.
`prepare_gather` uses it; `rows` says what is hashed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from perennial_runtime.answers import Unavailable
from perennial_runtime.cpus import cpu_limit
from perennial_runtime.rows import row_hashes

MOST = 2
"""Processes: reading, typing and sorting keep up with so many."""
LARGE = 64 * 1024 * 1024
"""Bytes of a source from which on processes are worth their start."""
SENT_ROWS = 16_384
"""In one piece: few enough that its memory is used again, and not fetched anew from the kernel."""
PIPE_BYTES = 1024 * 1024

Hashes = NDArray[np.uint64]
Child = subprocess.Popen[bytes]


def processes_for(source_bytes: int) -> int:
    """How many are worth it; 0: a thread is enough. With one CPU there is nobody to work beside."""
    cpus = cpu_limit()
    return min(cpus, MOST) if source_bytes >= LARGE and cpus > 1 else 0


class Hashing:
    """So many processes, which end with the context; or a thread, where there are none."""

    def __init__(self, processes: int) -> None:
        self._at_once = max(1, processes)
        self._threads = ThreadPoolExecutor(self._at_once)
        self._free: SimpleQueue[Child] = SimpleQueue()
        self.children = [_started() for _ in range(processes)]
        for child in self.children:
            self._free.put(child)

    def __enter__(self) -> Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.kill()  # what waits for its answer ends with that
        self._threads.shutdown()
        for child in self.children:
            child.communicate()

    def of(self, batches: Iterator[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, Hashes]]:
        """Each batch with the hashes of its rows; as many are read ahead as are hashed at once. Raises Unavailable."""
        waiting: deque[tuple[pl.DataFrame, Future[Hashes]]] = deque()
        for batch in batches:
            waiting.append((batch, self._threads.submit(self._hashes, batch)))
            if len(waiting) > self._at_once:
                first, hashes = waiting.popleft()
                yield first, hashes.result()
        for first, hashes in waiting:
            yield first, hashes.result()

    def _hashes(self, batch: pl.DataFrame) -> Hashes:
        if not self.children:
            return row_hashes(batch)
        child = self._free.get()  # there are as many threads as children
        try:
            return _answer(batch, child)
        finally:
            self._free.put(child)


def _answer(batch: pl.DataFrame, child: Child) -> Hashes:
    """What a child makes of a batch."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("a child without pipes")
    table = batch.to_arrow()
    with suppress(BrokenPipeError):
        with pa.ipc.new_stream(child.stdin, table.schema) as stream:
            stream.write_table(table, max_chunksize=SENT_ROWS)
        child.stdin.flush()
    answer = child.stdout.read(8 * batch.height)
    if len(answer) < 8 * batch.height:  # no fault of the data: mostly there was too little memory for all
        raise Unavailable("HashingStopped", f"a process that hashes rows {_how(child.wait())}: give the step more memory")
    return np.frombuffer(answer, dtype="<u8").astype(np.uint64)


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


def _started() -> Child:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]),
        "POLARS_MAX_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    if sys.platform == "linux" and child.stdin is not None:
        with suppress(OSError):  # a wide pipe wakes both ends less often; a narrow one does too
            fcntl.fcntl(child.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return child


def main() -> None:
    """A child: answers each stream of rows with their hashes, until there is none any more."""
    with open(sys.stdin.fileno(), "rb", closefd=False) as given:
        source = pa.PythonFile(given, "r")
        while given.peek(1):
            with pa.ipc.open_stream(source) as stream:
                found = [row_hashes(pl.DataFrame(batch)) for batch in stream]
            sys.stdout.buffer.write(np.concatenate(found).astype("<u8").tobytes())
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
