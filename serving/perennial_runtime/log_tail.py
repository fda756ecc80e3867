"""The end of what a step wrote, kept in the store: what `kubectl perennial logs` shows when the pod is gone.

`__main__` records what Python writes to standard output and standard error (not what libraries in C write: a pipe between could
stop a step that holds the interpreter), and `keep` stores its redacted end once the step has given its answer. Best effort: a
store that does not answer costs the step KEEP_SECONDS and nothing else. The recipe has no credentials: its copy is a file
beside the model, which the reporter stores; a trainer of the user's may write that file too (docs/file-contract.md).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from perennial_runtime.answers import say
from perennial_runtime.contract import (
    LOG_NAME,
    MODEL_SECRET_PATH,
    OUT_PATH,
    SIGNING_SECRET_PATH,
    SOURCE_SECRET_PATH,
    STORE_SECRET_PATH,
    Command,
    Container,
    EvaluateSpec,
    PrepareSpec,
    Step,
    TrainSpec,
    decode,
    log_path,
    worker_of,
)
from perennial_runtime.outputs import tail
from perennial_runtime.redaction import known, redacted

SECRETS = (STORE_SECRET_PATH, SOURCE_SECRET_PATH, MODEL_SECRET_PATH, SIGNING_SECRET_PATH)
"""Where Secrets may be mounted in a step's pod."""
LINES = 200
BYTES = 64 * 1024
RAW_BYTES = 4 * BYTES
"""Read and redacted before it is cut: what is cut through before that could not be recognised."""
FILE_BYTES = 8 * 1024 * 1024
"""The recipe's copy ends there."""
KEEP_SECONDS = 2.0

_KEPT: dict[Command, tuple[type[PrepareSpec | TrainSpec | EvaluateSpec], Step, Container]] = {
    Command.PREPARE: (PrepareSpec, Step.PREPARE, Container.PREPARE),
    Command.FETCH: (TrainSpec, Step.TRAIN, Container.FETCH),
    Command.REPORTER: (TrainSpec, Step.TRAIN, Container.REPORTER),
    Command.EVALUATE: (EvaluateSpec, Step.EVALUATE, Container.EVALUATE),
}
"""Commands that may write to the store. Serving pods may only read it."""


class Tee:
    """A text stream that writes on, and tells what was written."""

    def __init__(self, stream: TextIO, told: Callable[[str], None]) -> None:
        self._stream, self._told = stream, told

    def write(self, text: str) -> int:
        """As the stream itself."""
        written = self._stream.write(text)
        self._told(text)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Recorded:
    """The newest RAW_BYTES or so of a text; several threads may add to it."""

    def __init__(self) -> None:
        self._parts: deque[str] = deque()
        self._length, self._lock = 0, threading.Lock()

    def add(self, text: str) -> None:
        """One more piece."""
        with self._lock:
            self._parts.append(text[-RAW_BYTES:])
            self._length += len(self._parts[-1])
            while self._length - len(self._parts[0]) >= RAW_BYTES:
                self._length -= len(self._parts.popleft())

    def text(self) -> str:
        """What there is."""
        with self._lock:
            return "".join(self._parts)


class Copy:
    """A file that what is written goes to as well, at once: a trainer may be killed. Ends at FILE_BYTES, or with the disk."""

    def __init__(self, path: Path) -> None:
        self._path, self._left = path, FILE_BYTES

    def add(self, text: str) -> None:
        """One more piece."""
        if self._left <= 0:
            return
        body = text.encode(errors="replace")[: self._left]
        try:
            with self._path.open("ab") as stream:
                stream.write(body)
        except OSError:
            self._left = 0
        else:
            self._left -= len(body)


def record(command: Command, out: Path = Path(OUT_PATH)) -> Recorded:
    """Records from now on what this process writes; of the recipe into its file."""
    recorded = Recorded()
    if command in _KEPT or command is Command.RECIPE:
        told = Copy(out / LOG_NAME).add if command is Command.RECIPE else recorded.add
        sys.stdout, sys.stderr = cast("TextIO", Tee(sys.stdout, told)), cast("TextIO", Tee(sys.stderr, told))
    return recorded


def keep(command: Command, recorded: Recorded, step: str, seconds: float = KEEP_SECONDS) -> bool:
    """Stores the end of what was recorded, and for the reporter the trainer's file beside it; `step` is the command's spec as
    JSON. Waits for so many seconds at most, and never raises: the step has ended already. False: a thread may still be at it."""
    if command not in _KEPT:
        return True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the answer is given; what ends the pod now changes it no more
    try:
        storing = threading.Thread(target=_store, args=(command, recorded.text(), step), name="log", daemon=True)
        storing.start()
        storing.join(seconds)
        if not storing.is_alive():
            return True
        say("log not kept", reason=f"the store did not take it within {seconds:g} s")
    except Exception as error:  # noqa: BLE001 - no thread more, no room for the text, nobody who reads what is said
        with suppress(Exception):
            say("log not kept", reason=type(error).__name__)
    return False


def _store(command: Command, text: str, step: str) -> None:
    from perennial_runtime.store import Store  # noqa: PLC0415 - obstore, which every such command has imported by now

    kind, of, container = _KEPT[command]
    try:
        spec = decode(kind, step)
        if isinstance(spec, TrainSpec) and spec.scratch:
            return
        secrets = known(map(Path, SECRETS), os.environ)
        store = Store(spec.store)
        texts = {container: text}
        if command is Command.REPORTER:
            texts = {Container.TRAIN: tail(Path(OUT_PATH), LOG_NAME, RAW_BYTES).decode(errors="replace"), **texts}
        for name, whole in texts.items():
            if found := _from_a_line_on(whole):
                path = log_path(spec.uid, of, spec.attempt, name, worker_of(os.environ))
                store.put_document(path, end_of(redacted(found, secrets)))
    except Exception as error:  # noqa: BLE001 - a log that is not kept is no reason to end otherwise, whatever the reason
        say("log not kept", reason=type(error).__name__)


def _from_a_line_on(text: str) -> str:
    """Without the first line where the text may be the end of a longer one: half of a secret could not be recognised."""
    if len(text.encode(errors="replace")) < RAW_BYTES:
        return text
    half, _, rest = text.partition("\n")
    return rest or half[BYTES:]


def end_of(text: str) -> bytes:
    """The last LINES lines, of at most BYTES together; a line cut through by that is left out, unless there is no other."""
    lines = text.splitlines(keepends=True)[-LINES:]
    body = "".join(lines).encode(errors="replace")
    if len(body) <= BYTES:
        return body
    cut = body[-BYTES:]
    _, newline, whole = cut.partition(b"\n")
    return whole if newline and whole else cut
