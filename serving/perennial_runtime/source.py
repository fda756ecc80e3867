"""Where the data comes from: the files of `data.source`, one at a time, wherever they lie.

    s3://, gs://, abfss://   objects of a bucket, by obstore (`source_bucket`)
    https://                 one object of a web server (`source_https`)
    file://                  files of a claim that is mounted into the pod (`source_folder`), read where they lie

`prepare` asks for the files, opens each and hands the local path to `tabular`; `poll` only asks for them. Only names that end in
.parquet, .csv or .csv.gz count; names that start with a dot or an underscore (_SUCCESS) are the bookkeeping of whoever wrote the
data. A folder named `year=2013` says that the column year is 2013 in all that lies below. A source that changes meanwhile is
noticed at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from perennial_runtime.answers import Refused, Unavailable, say
from perennial_runtime.source_bucket import Bucketful
from perennial_runtime.source_files import DATA_SOURCE, SUFFIXES, Place, SourceFile, counts
from perennial_runtime.source_folder import Folder
from perennial_runtime.source_https import WebObject

MOST_FILES = 10_000


class Source:
    """The files under one URI, or the one file that it names. `secret_path` is where its Secret is mounted, if it has one."""

    def __init__(self, uri: str, secret_path: Path) -> None:
        self._uri = uri
        self._place = _place(uri, secret_path if secret_path.is_dir() else None)

    def files(self) -> list[SourceFile]:
        """The data files in the order of their keys. Refused when there is none."""
        named: list[SourceFile] = []
        others = 0
        for file in self._place.files():
            if not counts(file.key):
                others += 1
            elif len(named) < MOST_FILES:
                named.append(file)
            else:
                raise Refused("TooManyFiles", f"data source {self._uri} holds more than {MOST_FILES} files: join them")
        if not named:
            raise self._nothing(others)
        return sorted(named, key=lambda file: file.key)

    def opened(self, file: SourceFile, room: Path) -> AbstractContextManager[Path]:
        """The file as a local one; what has to be fetched is put into the folder `room`, which is the caller's to empty."""
        return self._place.opened(file, room)

    def check_unchanged(self, before: Sequence[SourceFile]) -> None:
        """Raises Unavailable when a file that was read is another one now, or gone: half of what was read may be of each."""
        now = {file.key: file.stamp for file in self._place.files() if counts(file.key)}
        changed = [file for file in before if now.get(file.key) != file.stamp]
        if changed:
            what = "was changed" if changed[0].key in now else "is gone"
            more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
            raise Unavailable(
                "SourceChanged",
                f"data source {self._uri}: {changed[0].name}{more} {what} while it was read, so the rows may be of two states; "
                "it is read again. Write new data under new names, and replace files when nothing reads them",
            )
        added = len(now) - len(before)
        if added > 0:
            say("files came while the source was read; they are for the next version", files=added)

    def _nothing(self, others: int) -> Refused:
        if others:
            return Refused(
                "NoDataFiles",
                f"data source {self._uri} holds {others} objects, none named {', '.join(SUFFIXES)}: add such a file",
            )
        return Refused("ObjectNotFound", f"data source {self._uri}: nothing lies under it: upload the data or correct the URI")


def listing_digest(files: Iterable[SourceFile]) -> str:
    """Digest of names, sizes and marks: another one is other data."""
    lines = sorted([file.name, file.size, file.mark] for file in files)
    return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()


def _place(uri: str, secret_path: Path | None) -> Place:
    match urlsplit(uri).scheme:
        case "https":
            return WebObject(uri, secret_path)
        case "file":
            return Folder(uri)
        case "s3" | "gs" | "abfss":
            return Bucketful(uri, secret_path)
        case _:
            known = "s3://, gs://, abfss:// or https://"
            raise Refused("UriNotSupported", f"{DATA_SOURCE} {uri!r}: use {known}")
