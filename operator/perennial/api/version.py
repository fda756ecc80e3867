"""Parts of a ModelVersion: why it was made, what it runs with for ever, and how its steps and gates ended."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.api.base import Digest, Name, SpecModel, StatusModel, Text, Timestamp
from perennial.api.training import MOST_WORKERS

MOST_DISRUPTED = 6 * MOST_WORKERS
"""Pods of an attempt that were evicted or preempted: what is too many of the most workers (`perennial.core.accelerator`)."""


class Trigger(SpecModel):
    """Why a version was made."""

    reason: Literal["Created", "SpecChanged", "Requested", "Schedule", "NewData"]
    """In a word."""
    message: Text = ""
    """In a sentence."""
    due: Timestamp | None = None
    """Of a schedule: the time that it was due at."""
    listing: Digest | None = None
    """Of new data: the digest of names, sizes and ETags that was seen."""


class RuntimePin(SpecModel):
    """What a version runs with for ever, so that an upgrade of the operator restarts no served pod."""

    serving_image: Annotated[str, Field(max_length=512)]
    """Image of its serving pods, and of our containers in its train Job."""
    training_image: Annotated[str, Field(max_length=512)]
    """Image of its prepare and evaluate Jobs, and of recipes."""
    manifest_revision: int
    """Which generation of manifests it is rendered with."""


class VersionParent(SpecModel):
    """The version whose data split this one continues."""

    name: Name
    """Its name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its UID, under which its split lies in the store."""


class StorePin(SpecModel):
    """Where this version's evidence lies: base URI with namespace and UID, and the names of the Secrets that pods mount."""

    uri: Text
    """Base URI with namespace and UID of the ModelDeployment."""
    secret_name: Name
    """Secret that its Jobs mount."""
    serving_secret_name: Name
    """Secret, good for reading only, that its serving pods mount."""


class StepRecord(StatusModel):
    """One step of a version as far as it is known: which Job carries it and how it ended."""

    step: Literal["prepare", "train", "evaluate"]
    attempt: int
    key: Annotated[str, Field(max_length=128)] = ""
    """For evaluate, and for prepare where a gate compares: identity of the champion that it is about."""
    state: Literal["Running", "Succeeded", "Failed", "Refused"]
    reason: Annotated[str, Field(max_length=128)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    result: Annotated[str, Field(max_length=2048)] = ""
    """The step's answer, JSON of the contract."""
    disrupted_pods: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=MOST_DISRUPTED)] = []
    """UIDs of its pods that were evicted or preempted; those are deleted, so they are noted when they are seen."""
    forgiven: bool = False
    """It is no failed attempt (any more): a person asked for another try since, or it was not the trainer that failed."""
    device: Annotated[str, Field(max_length=253)] = ""
    """For train: the accelerator's resource that its pods ask for, or cpu."""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class TrainProgress(StatusModel):
    """How far the trainer is, by its own words in progress.jsonl. Written when it has come 5 % further, and decides nothing."""

    attempt: int
    percent: int
    """Done, in steps of 5."""
    loss: float | None = None
    """Its newest loss when that was written."""
    ends_at: Timestamp | None = None
    """When it will have ended if it goes on as it did until then."""


class SplitFound(StatusModel):
    """What came of the split: `data.holdout.fraction` holds in expectation where rows are held out by hash or group."""

    by: Annotated[str, Field(max_length=16)]
    """time | hash | group"""
    column: Annotated[str, Field(max_length=63)] = ""
    """Whose values decide; empty: whole rows do, or the time."""
    share: float
    """Held out of the rows that are not synthetic."""
    groups: int = 0
    """By group: how many there are."""
    held_out_groups: int = 0
    synthetic_rows: int = 0
    """Rows that were made, without repeats."""
    left_out_rows: int = 0
    """Of those, the ones on the holdout's side: neither trained on nor judged by."""


class SliceVerdict(StatusModel):
    """One slice of the holdout."""

    name: Annotated[str, Field(max_length=64)]
    """<column>=<value>."""
    rows: int
    estimate: float
    upper: float
    p: float
    """Adjusted for all judged slices (Benjamini, Hochberg)."""


class SliceVerdicts(StatusModel):
    """What a gate found in the slices; all of them are in the blob `status.measurements` of the store."""

    judged: int
    not_judged: int
    """Too few rows."""
    under: int
    """Shown to be under the minimum."""
    worst: Annotated[list[SliceVerdict], Field(max_length=8)] = []
    """As many by name as fit, the worst first."""


class GateVerdict(StatusModel):
    """A gate, judged."""

    metric: Annotated[str, Field(max_length=64)]
    kind: Annotated[str, Field(max_length=64)]
    limit: float
    estimate: float
    lower: float
    upper: float
    verdict: Literal["Passed", "Failed", "Undecided", "NotJudged"]
    message: Annotated[str, Field(max_length=512)]
    slices: SliceVerdicts | None = None
    """Of a gate with minimumPerSlice; the numbers above are then those of the worst slice."""


VersionState = Literal[
    "Pending", "Preparing", "Training", "Evaluating", "Accepted", "Deploying", "Canary", "Serving", "Retired",
    "Failed", "Rejected", "RolledBack", "Superseded", "Passed",
]  # fmt: skip
