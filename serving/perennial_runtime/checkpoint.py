"""A trainer's checkpoint folder, kept in the store while it trains and put back before another attempt.

`reporter` saves /perennial/out/checkpoint when it has changed; `fetch` restores it, so that a trainer that looks there goes on
instead of starting again. Regular files directly in the folder, within the limits below.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from perennial_runtime.answers import say
from perennial_runtime.outputs import OutputError, names, opened
from perennial_runtime.store import DigestMismatch, Store

MOST_FILES = 64
MOST_BYTES = 1024 * 1024 * 1024
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


def save(store: Store, uid: str, folder: Path) -> int:
    """Upload the folder's files; returns how many. A file that is no regular one or too large is left out."""
    files: dict[str, str] = {}
    left = MOST_BYTES
    for name in names(folder, MOST_FILES):
        try:
            with opened(folder, name, left) as stream:
                files[name] = store.put_file(stream)
                left -= stream.tell()
        except OutputError as error:
            say("checkpoint file left out", reason=error.reason)
    if files:
        store.put_document(_path(uid), json.dumps(files, sort_keys=True).encode())
    return len(files)


def restore(store: Store, uid: str, folder: Path) -> int:
    """Put the last checkpoint back into `folder`; returns how many files."""
    body = store.get_document(_path(uid))
    if body is None:
        return 0
    files = {str(name): str(digest) for name, digest in json.loads(body).items() if PurePosixPath(name).name == name}
    folder.mkdir(exist_ok=True)
    for name, digest in files.items():
        try:
            store.get_file(digest, folder / name)
        except DigestMismatch:
            say("checkpoint altered in the store, left out")
    return len(files)


def _path(uid: str) -> str:
    return f"checkpoints/{uid}.json"
