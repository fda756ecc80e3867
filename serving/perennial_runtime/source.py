"""Where the data comes from: the objects of `data.source`, fetched one at a time into the work folder.

`prepare` asks for the objects, fetches each and hands the local file to `tabular`; `poll` only asks for them. Only names that
end in .parquet, .csv or .csv.gz count; names that start with a dot or an underscore (_SUCCESS) are the bookkeeping of whoever
wrote the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore

from perennial_runtime.answers import Refused
from perennial_runtime.store import CHUNK, Bucket, mapped, open_bucket

if TYPE_CHECKING:
    from obstore import ObjectMeta

SUFFIXES = (".parquet", ".csv", ".csv.gz")
MOST_FILES = 10_000
_WHAT = "data source"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One object: its name in messages, its key in the bucket."""

    name: str
    key: str
    size: int
    mark: str = ""
    """The object's ETag, or its version: changes with its content."""


class Source:
    """The objects under one URI, or the one object that it names."""

    def __init__(self, uri: str, secret_path: Path) -> None:
        self._uri = uri
        head, _, last = uri.rstrip("/").rpartition("/")
        single = not uri.endswith("/") and last.endswith(SUFFIXES)
        self._single = last if single else None
        self._bucket: Bucket = open_bucket(head if single else uri, secret_path if secret_path.is_dir() else None, _WHAT)

    def files(self) -> list[SourceFile]:
        """The data files in the order of their keys. Refused when there is none."""
        with mapped(self._uri, _WHAT):
            if self._single:
                only = obstore.head(self._bucket, self._single)
                return [SourceFile(self._single, self._single, only["size"], _mark(only))]
            found = [(str(item["path"]), item["size"], _mark(item)) for page in obstore.list(self._bucket) for item in page]
        named = sorted(item for item in found if _counts(item[0]))
        if not named:
            raise self._nothing(len(found))
        if len(named) > MOST_FILES:
            raise Refused("TooManyFiles", f"data source {self._uri} holds {len(named)} files: join them to at most {MOST_FILES}")
        return [SourceFile(key, key, size, mark) for key, size, mark in named]

    def fetch(self, file: SourceFile, folder: Path) -> Path:
        """Download one object in chunks."""
        target = folder / ("source" + next(suffix for suffix in reversed(SUFFIXES) if file.name.endswith(suffix)))
        with mapped(f"{self._uri} ({file.name})", _WHAT):
            stream = obstore.get(self._bucket, file.key).stream(min_chunk_size=CHUNK)
            with target.open("wb") as local:
                for chunk in stream:
                    local.write(chunk)
        return target

    def _nothing(self, others: int) -> Refused:
        if others:
            return Refused(
                "NoDataFiles",
                f"data source {self._uri} holds {others} objects, none named {', '.join(SUFFIXES)}: add such a file",
            )
        return Refused("ObjectNotFound", f"data source {self._uri}: nothing lies under it: upload the data or correct the URI")


def listing_digest(files: Iterable[SourceFile]) -> str:
    """Digest of names, sizes and ETags: another one is other data, whatever the timestamps say."""
    lines = sorted([file.name, file.size, file.mark] for file in files)
    return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()


def _mark(found: ObjectMeta) -> str:
    return found["e_tag"] or found["version"] or ""


def _counts(key: str) -> bool:
    return key.endswith(SUFFIXES) and not any(part.startswith(("_", ".")) for part in key.split("/"))
