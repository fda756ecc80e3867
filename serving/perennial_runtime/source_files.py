"""What a place of data files is: the interface between `source` and the kinds of places, and the rules for names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

DATA_SOURCE = "data source"
"""In messages, beside "store"."""
SUFFIXES = (".parquet", ".csv", ".csv.gz")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""In a folder's name: the value is missing."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file: its name in messages, its key in its place, and what tells it from another one of that name."""

    name: str
    key: str
    size: int
    stamp: str = ""
    """Changes with everything that is known of it: another one, and it was touched while it was read."""
    mark: str = ""
    """Changes with its content, and not by being looked at from another pod: an ETag, a version, or a time."""
    partition: dict[str, str | None] = field(default_factory=dict, compare=False)
    """Columns that its folders name."""


class Place(Protocol):
    """Where files lie."""

    def files(self) -> Iterable[SourceFile]:
        """All of them, as they are now, data or not, one after the other: there may be millions."""
        ...

    def opened(self, file: SourceFile, room: Path) -> AbstractContextManager[Path]:
        """One as a local file; what has to be fetched is put into the folder `room`."""
        ...


def counts(key: str) -> bool:
    """Whether it is a data file."""
    return key.endswith(SUFFIXES) and not any(part.startswith(("_", ".")) for part in key.split("/"))


def partition(key: str) -> dict[str, str | None]:
    """year=2013/month=1/a.parquet -> {year: 2013, month: 1}."""
    named = (part.partition("=") for part in key.split("/")[:-1])
    return {unquote(name): _value(value) for name, sign, value in named if sign and name}


def _value(text: str) -> str | None:
    value = unquote(text)
    return None if value in ("", NO_VALUE) else value


def single(uri: str) -> tuple[str, str | None]:
    """A folder, and the one file in it that the URI names; None: all of the folder."""
    head, _, last = uri.rstrip("/").rpartition("/")
    return (head, last) if not uri.endswith("/") and last.endswith(SUFFIXES) else (uri, None)
