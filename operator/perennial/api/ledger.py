"""`status.ledger`: what was decided, in order, each entry bound to the one before it by a digest.

`perennial.core.ledger` writes and verifies it, `perennial.core.storing` has it stored.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.api.base import Digest, StatusModel, Text, Timestamp

MOST_ENTRIES = 64
"""Newest entries that an object keeps."""
MOST_UNSTORED = 256
"""Entries that a ModelDeployment keeps at most while they cannot be stored."""


class LedgerEntry(StatusModel):
    """One decision. It never changes."""

    number: int
    """Counts up from 1, over all versions of a ModelDeployment."""
    at: Timestamp
    what: Annotated[str, Field(max_length=64)]
    """In a word, as the event of it: VersionCreated, StepEnded, Gate, CanaryStep, Promoted, RolledBack, Request ..."""
    version: int | None = None
    """Whose decision it is; null: of no version."""
    message: Annotated[str, Field(max_length=512)] = ""
    """The cause, in words."""
    facts: Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=16)] = {}
    """Digests of what went in and came out, and the statistics that it rests on."""
    previous: Digest = ""
    """Digest of the entry before it; empty for the first."""
    digest: Digest
    """sha256 of `previous`, a newline and this entry as JSON: without both digests and what is empty, keys sorted, no blanks."""


class Stored(StatusModel):
    """Where the ledger ends in the store, as the last Job that stored entries answered."""

    number: int
    """Of the newest entry there."""
    digest: Digest
    """Of that entry."""
    first: int
    """Number of the first entry of the object that holds it: ledger/<ten digits>.jsonl."""
    uri: Text
    """The store in which it lies, with namespace and UID; it stays there when the namespace gets another one."""


class Unstored(StatusModel):
    """Entries could not be stored, and are tried again."""

    since: Timestamp
    """When that began."""
    at: Timestamp
    """When it was last tried."""
    tries: int = 1
    """Jobs that have failed since."""
    job: Annotated[str, Field(max_length=64)] = ""
    """UID of the last one."""
    reason: Annotated[str, Field(max_length=128)]
    """Why, in a word."""
    message: Text = ""
    """Why, in its own words."""
    dropped: int = 0
    """Entries that were dropped since, for there were too many."""


class Ledger(StatusModel):
    """The decisions of a ModelDeployment: how many there were, the newest of them, and those that are not stored yet."""

    length: int = 0
    begins: int = 1
    """Number of the first entry from which on this ledger is whole: more than 1 when those before it were lost with the status,
    or had to be dropped before they could be stored."""
    entries: Annotated[list[LedgerEntry], Field(max_length=MOST_UNSTORED)] = []
    stored: Stored | None = None
    """Where it ends in the store; null: nothing is stored yet."""
    unstored: Unstored | None = None
    """Why entries cannot be stored; null: they can, or nobody has tried."""
