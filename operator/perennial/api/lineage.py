"""Where a version came from: what is said of its data, what was found of its inputs, and whether it could be made again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import UNATTESTED, Digest, SpecModel, StatusModel, Timestamp, cel, rules

MOST_REPORTS = 8
"""Newest reproductions whose reports a version keeps."""


class Provenance(SpecModel):
    """Where the data comes from and who may use it, in the words of its owner. Changing it trains nothing: the words stand in the
    next version."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.owner), has(self.licence), has(self.collectedBy), has(self.description)].exists(given, given)",
                "data.provenance is empty: give owner, licence, collectedBy or description, or remove it",
            )
        )
    )

    owner: Annotated[str, Field(min_length=1, max_length=256, examples=["ops@example.com"])] | None = None
    """Whom to ask about the data."""
    licence: Annotated[str, Field(min_length=1, max_length=128, examples=["CC0-1.0"])] | None = None
    """Under which it may be used."""
    collected_by: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Who collected it, and how."""
    description: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What it holds, and what it must not be used for."""


class Lineage(StatusModel):
    """What a version was made of, as its steps found it; what is not told stays empty. Seed, parameters, trigger, parent and
    provenance stand in spec."""

    data: Digest = ""
    """Of the rows, whatever file they came in."""
    split: Digest = ""
    """Of the record of which rows are held out, in the store."""
    model: Digest = ""
    """Of model.onnx, in the store."""
    image: Annotated[str, Field(max_length=512)] = ""
    """Image of the train container, as the kubelet resolved it."""
    environment: Digest = ""
    """Of the list of packages and versions that training ran with, in the store."""
    revision: Annotated[str, Field(max_length=128)] = ""
    """Of the training code, as the trainer told it."""


class Reproducing(StatusModel):
    """A version that is being trained again from its record."""

    version: int
    attempt: int
    since: Timestamp
    requested_by: Annotated[str, Field(max_length=256)] = UNATTESTED
    waits: Annotated[str, Field(max_length=1024)] = ""
    """Why it has not begun."""


class Reproduction(StatusModel):
    """What came of training a version again from its record."""

    attempt: int
    at: Timestamp
    outcome: Literal["Equal", "Different", "Failed"]
    """Equal: the same model.onnx to the last bit. Failed: nothing could be compared."""
    message: Annotated[str, Field(max_length=1024)]
    """What differs, or why there is nothing to compare."""
