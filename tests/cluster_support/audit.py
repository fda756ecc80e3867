"""What the API server itself wrote down about writes: the audit log of the embedded cluster, what was rotated out of it included.

The log is read from its end backwards, as far as a question goes and no further: it grows to 50 MB before it is rotated, and
questions are mostly about the last seconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from cluster.api import Cluster
from cluster.controlplane import AUDIT_LOG
from perennial.adapters.cluster import FIELD_MANAGER

AGENTS = (FIELD_MANAGER, "kopf")
"""Starts of the user agents that an operator has: our client's, and the door's."""
SLACK = timedelta(seconds=5)
"""Lines are written when their requests end, in this order but for milliseconds."""
BLOCK = 1 << 18
"""Bytes that are read at a time."""

Event = dict[str, Any]


def writes(cluster: Cluster, since: datetime, namespace: str | None = None) -> list[str]:
    """Every write of an operator since then: 'verb resource/subresource namespace/name code', in order."""
    return [_line(event) for event in events(cluster, since, namespace) if is_operator(event)]


def events(cluster: Cluster, since: datetime, namespace: str | None = None) -> list[Event]:
    """Everybody's writes since then, by the time at which they arrived; Kubernetes' own parts are not in the log.

    Raises AssertionError when the log does not reach back to `since`: then something may have been rotated away.
    """
    if cluster.netns is None:
        raise AssertionError("the audit log is only known of the embedded cluster: unset PERENNIAL_KUBECONFIG for this test")
    found = [event for event in _ended_since(cluster.settings.state, since) if _fits(event, since, namespace)]
    return sorted(found, key=lambda event: str(event["requestReceivedTimestamp"]))


def is_operator(event: Event) -> bool:
    """Whether an operator made this request."""
    return str(event.get("userAgent", "")).lower().startswith(AGENTS)


def now() -> datetime:
    """The time as the audit log has it."""
    return datetime.now(UTC)


def from_the_end(file: BinaryIO, block: int = BLOCK) -> Iterator[bytes]:
    """The lines of a file, the last one first; one whose end is not written yet is left out."""
    position, rest, ended = file.seek(0, os.SEEK_END), b"", False
    while position:
        start = max(0, position - block)
        file.seek(start)
        rest, *lines = (file.read(position - start) + rest).split(b"\n")
        position = start
        if lines and not ended:
            lines.pop()
            ended = True
        yield from reversed(lines)
    if ended:
        yield rest


def _ended_since(folder: Path, since: datetime) -> list[Event]:
    """Every event that ended since then, and a few older ones."""
    found: list[Event] = []
    reaches_back = False
    for line in _newest_first(folder):
        event = json.loads(line)
        ended = datetime.fromisoformat(event["stageTimestamp"])
        reaches_back |= ended < since
        if ended < since - SLACK:
            break
        found.append(event)
    if not reaches_back:
        raise AssertionError(
            f"the oldest of {len(found)} lines in {folder / AUDIT_LOG} and what was rotated out of it is not older than {since}: "
            "writes may be lost; ask sooner, or let the API server keep more (--audit-log-maxbackup)"
        )
    return found


def _newest_first(folder: Path) -> Iterator[bytes]:
    for file in _files(folder):
        yield from from_the_end(file)


def _files(folder: Path) -> Iterator[BinaryIO]:
    """The log that is being written, then those that were rotated out of it, the newest first.

    Rotated ones are looked for after the log is open. So when it is rotated meanwhile it is met again, and known by its inode; a
    file that is removed meanwhile is missed by whoever has to read back so far.
    """
    name, ending = os.path.splitext(AUDIT_LOG)
    with (folder / AUDIT_LOG).open("rb") as current:
        yield current
        met = os.fstat(current.fileno()).st_ino
        for path in sorted(folder.glob(f"{name}-*{ending}"), reverse=True):
            with suppress(FileNotFoundError), path.open("rb") as rotated:
                if os.fstat(rotated.fileno()).st_ino != met:
                    yield rotated


def _fits(event: Event, since: datetime, namespace: str | None) -> bool:
    place = event.get("objectRef", {}).get("namespace")
    return namespace in (None, place) and datetime.fromisoformat(event["requestReceivedTimestamp"]) >= since


def _line(event: Event) -> str:
    about = event.get("objectRef", {})
    resource = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
    code = event.get("responseStatus", {}).get("code", 0)
    return f"{event['verb']} {resource} {about.get('namespace', '')}/{about.get('name', '')} {code}"
