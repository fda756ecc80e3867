"""Files that a trainer wrote, opened without trusting it: regular files only, no links, no pipes, no more than so many bytes.

Any image may have written /perennial/out; a link there could make `reporter`, which has credentials, read its own secrets.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


class OutputError(Exception):
    """A CamelCase reason (OutputMissing, OutputNotRegularFile, OutputTooLarge) and a message that names the file."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@contextmanager
def opened(folder: Path, name: str, limit: int) -> Iterator[BufferedReader]:
    """The file `name` directly in `folder`. Raises OutputError."""
    shown = f"{folder.name}/{name}"
    try:
        where = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        raise OutputError("OutputMissing", f"the trainer's folder {folder.name} is missing or a link") from None
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=where)
    except FileNotFoundError:
        raise OutputError("OutputMissing", f"the trainer ended without writing {shown}: see docs/file-contract.md") from None
    except PermissionError:
        message = f"{shown} may not be read by the reporter: give it the mode 0644"
        raise OutputError("OutputNotReadable", message) from None
    except OSError:
        raise OutputError("OutputNotRegularFile", f"{shown} is a link or no file: write a regular file") from None
    finally:
        os.close(where)
    facts = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(facts.st_mode):
        problem = OutputError("OutputNotRegularFile", f"{shown} is no regular file: write one")
    elif facts.st_size > limit:
        problem = OutputError("OutputTooLarge", f"{shown} has {facts.st_size} bytes, at most {limit} are taken: make it smaller")
    if problem:
        os.close(descriptor)
        raise problem
    with open(descriptor, "rb") as stream:  # the descriptor was opened without following links; a path would be followed
        yield stream


def tail(folder: Path, name: str, most: int) -> bytes:
    """The last `most` bytes of a file, none where it cannot be had."""
    try:
        with opened(folder, name, limit=1 << 40) as stream:
            stream.seek(-min(most, stream.seek(0, os.SEEK_END)), os.SEEK_END)
            return stream.read(most)
    except OutputError:
        return b""


def head(folder: Path, name: str, most: int) -> bytes:
    """The first `most` bytes of a file, none where it cannot be had."""
    try:
        with opened(folder, name, limit=1 << 40) as stream:
            return stream.read(most)
    except OutputError:
        return b""


def names(folder: Path, most: int) -> list[str]:
    """The regular files directly in `folder`, at most `most`, in order; none where it is a link or missing."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        there = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
        return heapq.nsmallest(most, there)  # a trainer may have written millions
