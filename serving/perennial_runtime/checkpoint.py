"""A trainer's checkpoint folder, kept in the store while it trains and put back before another attempt.

`reporter` saves /perennial/out/checkpoint when it has changed; `fetch` restores it, so that a trainer that looks there goes on
instead of starting again. Regular files directly in the folder, within the limits below. What is recorded is one state of the
folder: nothing in it changed from REST_SECONDS before its upload until the end of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from perennial_runtime.answers import Refused, say
from perennial_runtime.outputs import OutputError, names, opened
from perennial_runtime.store import Store

MOST_FILES = 64
MOST_BYTES = 1024 * 1024 * 1024
TRIES = 5
"""How often a folder that changes while it is saved is tried again at once."""
REST_SECONDS = 2.0
"""A trainer that writes a checkpoint of several files has time for the next one."""
LONGEST_NAME = 255
LIST_BYTES = 128 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")

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
            if not _is_plain(name):
                say("checkpoint file left out", reason="NameTooLong")
                continue
            try:
                with opened(self.folder, name, left) as stream:
                    files[name] = self.store.put_file(stream)
                    left -= stream.tell()
            except OutputError as error:
                say("checkpoint file left out", reason=error.reason)
        return files


def restore(store: Store, uid: str, folder: Path) -> int:
    """Put the last checkpoint back into `folder`; returns how many files. Whole or not at all: half of one is none.

    The store may be written by somebody else: only plain names come out, in `folder` itself, within the limits of `save`, and
    each file is verified. A checkpoint that is not such a one costs the work that it holds, and no attempt.
    """
    body = store.get_document(_path(uid))
    if body is None:
        return 0
    files = _listed(body)
    if not files:
        say("checkpoint left out", reason="its list of files is none")
        return 0
    folder.mkdir(exist_ok=True)
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IWGRP)  # the trainer may be another user, of the pod's group
    left = MOST_BYTES
    try:
        for name, digest in sorted(files.items()):
            left -= store.get_file(digest, folder / name, most=left).stat().st_size
    except Refused as error:  # altered, gone or too large; a store that does not answer is another matter
        shutil.rmtree(folder)
        say("checkpoint left out", reason=error.reason)
        return 0
    return len(files)


def _listed(body: bytes) -> dict[str, str]:
    """Name and digest of each file; empty where it is no list that `Saver` writes."""
    try:
        document = json.loads(body) if len(body) <= LIST_BYTES else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or len(document) > MOST_FILES:
        return {}
    files = {str(name): str(digest) for name, digest in document.items()}
    return files if all(_is_plain(name) and _DIGEST.fullmatch(digest) for name, digest in files.items()) else {}


def _is_plain(name: str) -> bool:
    """A file directly in a folder. `get_file` writes `<name>.partial` first, which has to be a name as well."""
    is_one = PurePosixPath(name).parts == (name,) and name not in ("..", "/")
    return is_one and "\0" not in name and len(os.fsencode(name)) + len(".partial") <= LONGEST_NAME


def _path(uid: str) -> str:
    return f"checkpoints/{uid}.json"
