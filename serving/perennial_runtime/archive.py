"""A directory as a deterministic tar, and back without trusting the tar.

`perennial_runtime.bento` packs with it; `fetch_bento` and `evaluate` (for the champion) unpack with it. Debian's Python 3.11.2
has no tarfile filters, and a store may be written by someone else: only regular files and directories with plain relative
names come out, within limits, and nothing is written outside the target.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
LONGEST_NAME = 512
LONGEST_PART = 255
"""Bytes of a file's name on Linux's file systems."""


MOST_BYTES = 1024 * 1024 * 1024
MOST_MEMBERS = 4096
MOST_PACKED = MOST_BYTES + 4 * 1024 * MOST_MEMBERS
"""Bytes of an archive with so much in it: each member has a header of its own and fills its last block."""


class UnsafeArchive(ValueError):
    """The tar is not one that `pack` makes: broken, hostile or too large. The message names the member and what is wrong."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold at most."""

    members: int = MOST_MEMBERS
    total_bytes: int = MOST_BYTES


def pack(directory: Path, archive: Path) -> int:
    """Write the files under `directory` as an uncompressed tar, the same bytes for the same contents; returns its size.

    Raises UnsafeArchive for a symbolic link or a special file: those could not be unpacked again.
    """
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(directory.rglob("*"), key=lambda found: found.relative_to(directory).as_posix()):
            _add(tar, path, path.relative_to(directory).as_posix())
    return archive.stat().st_size


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise UnsafeArchive(f"{name} is neither a regular file nor a directory")
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, DIRECTORY_MODE
        tar.addfile(member)
        return
    member.mode, member.size = FILE_MODE, path.stat().st_size
    with path.open("rb") as content:
        tar.addfile(member, content)


def unpack(archive: Path, directory: Path, limits: Limits | None = None) -> None:
    """Unpack into `directory`, which must be empty or not exist. Raises UnsafeArchive before the first bad member is written."""
    limits = limits or Limits()
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise UnsafeArchive(f"the target {directory} is not empty")
    try:
        with tarfile.open(archive, "r:") as tar:
            _extract(tar, directory, limits)
    except UnsafeArchive:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        # tarfile reads numbers of GNU.sparse headers as they come, and follows headers that describe headers by recursion
        raise UnsafeArchive(f"not a readable tar: {type(error).__name__}: {str(error)[:200]}") from error


def _extract(tar: tarfile.TarFile, directory: Path, limits: Limits) -> None:
    seen: set[str] = set()
    total = 0
    while (member := tar.next()) is not None:
        name = _safe_name(member)
        if name in seen:
            raise UnsafeArchive(f"member {name!r} is there twice")
        seen.add(name)
        if member.size < 0:
            raise UnsafeArchive(f"member {name!r} has a negative size")
        total += member.size
        if len(seen) > limits.members:
            raise UnsafeArchive(f"it has more than {limits.members} members")
        if total > limits.total_bytes:
            raise UnsafeArchive(f"its files are larger than {limits.total_bytes} bytes together")
        _write(tar, member, directory / name)
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header it read: memory that grows with the archive
    if not seen:
        raise UnsafeArchive("it is empty")


def _safe_name(member: tarfile.TarInfo) -> str:
    shown = member.name[:80]
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise UnsafeArchive(f"member {shown!r} is neither a regular file nor a directory")
    path = PurePosixPath(member.name)
    if member.name != path.as_posix() or path.is_absolute() or not path.parts or ".." in path.parts:
        raise UnsafeArchive(f"member {shown!r} is not a plain relative name")
    too_long = len(member.name) > LONGEST_NAME or any(len(os.fsencode(part)) > LONGEST_PART for part in path.parts)
    if too_long or not member.name.isprintable() or "\\" in member.name:
        raise UnsafeArchive(f"member {shown!r} has a name that is too long or holds odd characters")
    return path.as_posix()


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    try:
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        if source is None:
            raise UnsafeArchive(f"member {member.name!r} has no content")
        # exclusive, and never through a link: nothing in an empty directory that only we write to can be one
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        with source, os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(source, out, 1024 * 1024)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UnsafeArchive(f"member {member.name!r} collides with another member") from error
    if target.stat().st_size != member.size:
        raise UnsafeArchive(f"member {member.name!r} is cut short")
