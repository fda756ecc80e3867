"""The ledger as it lies in the store, and how a chain of its entries is verified. Standard library only.

An object holds entries that follow each other, a line each: the entry as JSON with both digests, without what is empty, its keys
sorted, no blanks, in UTF-8, and a newline. No entry has two such lines, so every changed byte is seen. An object is named after
its first entry. The operator (`perennial.core.ledger`) makes the entries, `perennial_runtime.ledger` stores them, and
`kubectl perennial history --verify` reads them back: all three by this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FOLDER = "ledger/"
"""Of the store, under the namespace and the ModelDeployment's UID."""
SUFFIX = ".jsonl"
_NOT_DIGESTED = frozenset({"previous", "digest"})


class Broken(ValueError):
    """The chain does not hold; the message says where."""


@dataclass(frozen=True, slots=True)
class Link:
    """One entry as the chain sees it."""

    number: int
    what: str
    previous: str
    digest: str
    line: str
    """The whole entry, without the newline."""


def object_name(first: int) -> str:
    """Where the object whose first entry is this one lies, relative to the store; names sort as their numbers do."""
    return f"{FOLDER}{first:010d}{SUFFIX}"


def line_of(entry: Mapping[str, Any]) -> str:
    """The one line that stands for an entry."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(entry: Mapping[str, Any]) -> str:
    """What `digest` must be: sha256 (hex) of `previous`, a newline, and the entry's line without both digests."""
    told = {name: value for name, value in entry.items() if name not in _NOT_DIGESTED}
    return hashlib.sha256(f"{entry.get('previous', '')}\n{line_of(told)}".encode()).hexdigest()


def link(line: str) -> Link:
    """An entry from its line. Raises Broken where that is not exactly the line of an entry with this digest."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise Broken("it is no JSON") from None
    if not isinstance(entry, dict):
        raise Broken("it is no entry")
    number, what = entry.get("number"), entry.get("what")
    previous, digest = entry.get("previous", ""), entry.get("digest")
    if type(number) is not int or not all(isinstance(one, str) for one in (what, previous, digest)):
        raise Broken("it is no entry")
    if line_of(entry) != line:
        raise Broken(f"entry {number} is written in another way than it was")
    if digest_of(entry) != digest:
        raise Broken(f"entry {number} ({what}) was changed: its digest is not that of what it says")
    return Link(number, str(what), str(previous), str(digest), line)


def follow(links: Iterable[Link], before: Link | None = None) -> None:
    """Raises Broken unless each entry follows the one before it, without a gap."""
    for one in links:
        if one.number < 1 or (one.number == 1 and one.previous):
            raise Broken(f"entry {one.number} names a wrong entry before it")
        if before is not None and one.number > before.number + 1:
            raise Broken(f"entry {before.number + 1} is missing")
        if before is not None and one.number <= before.number:
            raise Broken(f"entry {one.number} stands behind entry {before.number}")
        if before is not None and one.previous != before.digest:
            raise Broken(f"entry {one.number} does not follow entry {before.number}: one of them was put in another's place")
        before = one


def body_of(links: Sequence[Link]) -> bytes:
    """An object's bytes."""
    return "".join(f"{one.line}\n" for one in links).encode()


def parsed(name: str, body: bytes) -> list[Link]:
    """The entries of the object `name` (its path in the store, or a file's name). Raises Broken, whichever byte was changed."""
    short = name.rpartition("/")[2]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Broken(f"{short} is no text") from None
    *lines, rest = text.split("\n")
    if rest or not lines:
        raise Broken(f"{short} does not end with a line's end")
    links = []
    for index, line in enumerate(lines, 1):
        try:
            links.append(link(line))
        except Broken as error:
            raise Broken(f"{short}, line {index}: {error}") from None
    if object_name(links[0].number) != f"{FOLDER}{short}":
        raise Broken(f"{short} begins with entry {links[0].number}: it was put in another's place")
    try:
        follow(links)
    except Broken as error:
        raise Broken(f"{short}: {error}") from None
    return links


def chained(objects: Mapping[str, bytes], begins: int = 1) -> list[Link]:
    """All entries of the objects, in order. Raises Broken: a gap is one from entry `begins` on, for what is before it was lost
    with a status, or was never stored; what there is of it is still in order."""
    links: list[Link] = []
    for name in sorted(objects):
        found = parsed(name, objects[name])
        before = links[-1] if links else None
        is_lost = before is not None and found[0].number <= begins and found[0].number > before.number + 1
        follow(found, None if is_lost else before)
        links.extend(found)
    if links and links[0].number > begins:
        raise Broken(f"entry {begins} is missing")
    return links
