"""`spec.approval`: whether a person has to say yes to a version before it is rolled out, and who did."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.api.base import UNATTESTED, Duration, SpecModel, StatusModel, Timestamp


class Approval(SpecModel):
    """A version that has passed its gates waits for `perennial.dev/approve=<N>`; {} with the default below."""

    expires_after: Duration = "72h"
    """A version that nobody has approved for so long is ended: its data has aged, and the next one waits behind it."""


class ApprovalStatus(StatusModel):
    """The newest version that had to be approved, and by whom it was."""

    version: int
    asked_at: Timestamp
    """When its gates had passed."""
    approved_at: Timestamp | None = None
    approved_by: Annotated[str, Field(max_length=256)] = UNATTESTED
    """User name of who approved it, as the API server checked it; unattested where that is not checked."""
