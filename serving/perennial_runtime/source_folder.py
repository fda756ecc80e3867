"""Data files in a folder of this pod: a claim that is mounted read-only. They are read where they lie.

A link may not lead out of the claim. Whoever can write to it could otherwise make prepare read what only prepare may read, the
store's keys first of all, and hand it to a trainer as data. It is asked of the opened file, so a link that is changed in the
meantime gains nothing. Links to folders are not followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import SOURCE_PATH
from perennial_runtime.source_files import DATA_SOURCE, SourceFile, partition, single


class Folder:
    """All files below a folder, or one of them."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        folder, self._single = single(urlsplit(uri).path)
        self._folder = Path(folder)
        self._claim = Path(SOURCE_PATH) if self._folder.is_relative_to(SOURCE_PATH) else self._folder

    def files(self) -> Iterator[SourceFile]:
        """Every file below the folder."""
        try:
            if not self._folder.is_dir():
                raise Refused("ObjectNotFound", f"{DATA_SOURCE} {self._uri}: there is no such folder: correct data.source")
            yield from map(self._described, [self._folder / self._single] if self._single else self._all())
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            raise Refused("ObjectNotFound", f"{DATA_SOURCE} {self._uri}: {name} is not there: upload it or correct it") from None
        except PermissionError as error:
            raise self._unreadable(Path(str(error.filename)).name) from None
        except OSError as error:
            raise self._away(Path(str(error.filename)).name, error) from None

    @contextmanager
    def opened(self, file: SourceFile, room: Path) -> Iterator[Path]:
        """The file itself, by its descriptor."""
        try:
            descriptor = os.open(self._folder / file.key, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError:
            raise self._unreadable(file.name) from None
        except OSError as error:
            if (self._folder / file.key).is_symlink():
                fix = "put the file itself there, or remove the link"
                raise Refused(
                    "LinkBroken", f"{DATA_SOURCE} {self._uri}: {file.name} is a link that leads nowhere: {fix}"
                ) from None
            raise self._away(file.name, error) from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # reading a pipe would wait for whoever may write to it
                fix = "put a file there, or name the folder with a / at its end"
                raise Refused("FileWrongType", f"{DATA_SOURCE} {self._uri}: {file.name} is no regular file: {fix}")
            path = Path(f"/proc/self/fd/{descriptor}")
            if not path.resolve().is_relative_to(self._claim.resolve()):
                fix = "put the file itself there"
                raise Refused("LinkLeadsOut", f"{DATA_SOURCE} {self._uri}: {file.name} is a link that leads out of it: {fix}")
            yield path
        finally:
            os.close(descriptor)

    def _all(self) -> Iterator[Path]:
        def failed(error: OSError) -> None:
            raise error

        for where, _, names in os.walk(self._folder, onerror=failed):
            yield from (Path(where) / name for name in names)

    def _described(self, path: Path) -> SourceFile:
        facts = path.stat() if path.exists() else path.lstat()
        key = str(path.relative_to(self._folder))
        time = str(facts.st_mtime_ns)  # no inode in the mark: some file systems give others to each pod that mounts them
        return SourceFile(key, key, facts.st_size, f"{facts.st_size}-{time}-{facts.st_ino}", time, partition(key))

    def _away(self, name: str, error: OSError) -> Unavailable:
        return Unavailable("StoreUnavailable", f"{DATA_SOURCE} {self._uri}: {name}: {error.strerror}")

    def _unreadable(self, name: str) -> Refused:
        fix = "let the group 65532 or everybody read it"
        return Refused("PermissionDenied", f"{DATA_SOURCE} {self._uri}: {name} may not be read by this pod: {fix}")
