"""A trainer's checkpoint folder, kept in the store while it trains and put back before another attempt.

`reporter` saves /perennial/out/checkpoint when it has changed; `fetch` restores it, so that a trainer that looks there goes on
instead of starting again. Regular files directly in the folder, within the limits below. What is recorded is one state of the
folder: nothing in it changed from REST_SECONDS before its upload until the end of it.
"""

from __future__ import annotations

import json
import stat
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from perennial_runtime.answers import say
from perennial_runtime.outputs import OutputError, names, opened
from perennial_runtime.store import DigestMismatch, Store

MOST_FILES = 64
MOST_BYTES = 1024 * 1024 * 1024
TRIES = 5
"""How often a folder that changes while it is saved is tried again at once."""
REST_SECONDS = 2.0
"""A trainer that writes a checkpoint of several files has time for the next one."""
Marks = tuple[tuple[str, int, int], ...]


def marks(folder: Path) -> Marks:
    """What tells one state of the folder from another: names, sizes and times of change."""
    found = []
    for name in names(folder, MOST_FILES):
        try:
            facts = (folder / name).stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        found.append((name, facts.st_size, facts.st_mtime_ns))
    return tuple(found)


@dataclass(slots=True)
class Saver:
    """Saves one folder, and knows which state of it lies in the store."""

    store: Store
    uid: str
    folder: Path
    _saved: Marks = ()

    def save(self, stop: threading.Event, rest: float = REST_SECONDS) -> bool:
        """Save the folder where it has changed; returns whether it did. Raises StepError when the store fails.

        The checkpoint that was saved before stays when `stop` is set between two files, or when the folder does not rest.
        """
        for _ in range(TRIES):
            before = marks(self.folder)
            if before in (self._saved, ()) or stop.wait(rest):
                return False
            files = self._upload(stop) if marks(self.folder) == before else None
            if files is not None and marks(self.folder) == before:
                if files:
                    self.store.put_document(_path(self.uid), json.dumps(files, sort_keys=True).encode())
                self._saved = before
                say("checkpoint saved", files=len(files))
                return bool(files)
        say("checkpoint not saved: it changed while it was read")
        return False

    def _upload(self, stop: threading.Event) -> dict[str, str] | None:
        """Name and digest of each file; None when stopped. A file that is no regular one or too large is left out."""
        files: dict[str, str] = {}
        left = MOST_BYTES
        for name in names(self.folder, MOST_FILES):
            if stop.is_set():
                return None
            try:
                with opened(self.folder, name, left) as stream:
                    files[name] = self.store.put_file(stream)
                    left -= stream.tell()
            except OutputError as error:
                say("checkpoint file left out", reason=error.reason)
        return files


def restore(store: Store, uid: str, folder: Path) -> int:
    """Put the last checkpoint back into `folder`; returns how many files."""
    body = store.get_document(_path(uid))
    if body is None:
        return 0
    files = {str(name): str(digest) for name, digest in json.loads(body).items() if PurePosixPath(name).name == name}
    folder.mkdir(exist_ok=True)
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IWGRP)  # the trainer may be another user, of the pod's group
    for name, digest in files.items():
        try:
            store.get_file(digest, folder / name)
        except DigestMismatch:
            say("checkpoint altered in the store, left out")
    return len(files)


def _path(uid: str) -> str:
    return f"checkpoints/{uid}.json"
