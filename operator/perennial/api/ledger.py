"""`status.ledger`: what was decided, in order, each entry bound to the one before it by a digest.

`perennial.core.ledger` writes and verifies it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.api.base import Digest, StatusModel, Timestamp

MOST_ENTRIES = 64
"""Newest entries that an object keeps."""


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


class Ledger(StatusModel):
    """The decisions of a ModelDeployment: how many there were, and the newest of them."""

    length: int = 0
    begins: int = 1
    """Number of the first entry that this ledger knows of: more than 1 when those before it were lost with the status."""
    entries: Annotated[list[LedgerEntry], Field(max_length=MOST_ENTRIES)] = []
