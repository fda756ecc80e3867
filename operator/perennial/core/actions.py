"""What `perennial.core.plan` asks for: a closed union of writes with fixed names, applied in order by the reconciler.

Every action is idempotent: applied twice, or after a crash, it leaves the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perennial.api.metrics import JobMetric
from perennial.api.v1alpha1 import ModelDeploymentStatus, ModelVersionSpec, ModelVersionStatus
from perennial.core.observed import Mirror
from perennial.core.tape import Recording
from perennial_runtime.contract import CompareSpec, EvaluateSpec, LedgerSpec, PollSpec, PrepareSpec, ServeSpec, TrainSpec


@dataclass(frozen=True, slots=True)
class CreateVersion:
    """A ModelVersion <name>-v<number>, owned by the ModelDeployment. Already there with our owner: nothing to do."""

    spec: ModelVersionSpec


@dataclass(frozen=True, slots=True)
class CreateJob:
    """The Job <version>-<step>-<attempt>, owned by the ModelVersion. Exists: adopted, never re-applied."""

    version: int
    step: Literal["prepare", "train", "evaluate"]
    attempt: int
    input: PrepareSpec | TrainSpec | EvaluateSpec
    on_cpu: bool = False
    """Without the accelerator that the version asks for: it was busy for too long."""


@dataclass(frozen=True, slots=True)
class CreateMetricJob:
    """The Job <version>-metric-<run> of a metric, owned by the ModelVersion. Exists: adopted, never re-applied."""

    version: int
    metric: str
    run: int
    job: JobMetric
    environment: tuple[tuple[str, str], ...]
    """What it is told, as (variable, value)."""


@dataclass(frozen=True, slots=True)
class CreateReproduceJob:
    """The Job <version>-reproduce-<attempt>, owned by the ModelVersion: the train Job's pod, whose outputs are compared, not
    uploaded. Exists: adopted, never re-applied."""

    version: int
    attempt: int
    train: TrainSpec
    compare: CompareSpec
    image: str
    """Of the train container."""
    compares: str
    """Image of the container that compares."""
    on_cpu: bool = False
    """It was trained without the accelerator that its spec asks for."""


@dataclass(frozen=True, slots=True)
class CreateLedgerJob:
    """The Job <name>-ledger-<last>, owned by the ModelDeployment, that stores the ledger up to this entry. Exists: adopted."""

    last: int
    input: LedgerSpec
    secret: str
    """Name of the Secret with the store's keys."""
    image: str


@dataclass(frozen=True, slots=True)
class CreatePollJob:
    """The Job <name>-poll-<number>, owned by the ModelDeployment, that looks at the data source. Exists: adopted."""

    number: int
    input: PollSpec
    secret: str | None
    """Name of the Secret with the source's keys, if it is read with any."""
    image: str


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Remove a Job and its pods (background propagation)."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ApplyServing:
    """Deployment and Service of a version with this many replicas, by server-side apply.

    Desired state, asked for in every pass: the reconciler leaves out what the cached object has already
    (perennial.dev/rendered, a digest of the manifest, and the replicas).
    """

    version: int
    replicas: int
    serve: ServeSpec


@dataclass(frozen=True, slots=True)
class ApplyRoute:
    """The HTTPRoute of the ModelDeployment with these weights (version, weight) and this mirror, by server-side apply.

    Desired state, as ApplyServing: an unchanged route is not written.
    """

    weights: tuple[tuple[int, int], ...]
    mirror: Mirror | None = None
    reminder: int = 0
    """Number of the reminder to a Gateway's controller that has not told whether it carries the route out; 0: none is due."""


@dataclass(frozen=True, slots=True)
class BorrowRule:
    """Our claim on a rule of somebody else's HTTPRoute, and these weights (version, weight) and this mirror in it.

    Desired state, as ApplyRoute. Without weights there is only the claim. Written by a JSON patch that tests what was read.
    """

    route: str
    rule: str
    weights: tuple[tuple[int, int], ...]
    mirror: Mirror | None = None
    stale: tuple[str, ...] = ()
    """UIDs of ModelDeployments that are gone, whose claims are given back in the same write: those on it, and one on other rules
    of the route that stands under our own name."""


@dataclass(frozen=True, slots=True)
class ReturnRule:
    """Give a rule back as it was found: our backends, mirror and claim go, what they took the place of comes back."""

    route: str
    rule: str


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """The ModelDeployment stays, when it is deleted, until what it borrows is given back. Before anything is borrowed."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Nothing is borrowed any more."""


@dataclass(frozen=True, slots=True)
class ApplyService:
    """The one Service of a ModelDeployment without a route, over the pods of all its versions. Desired state, as ApplyRoute."""


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Remove the HTTPRoute of a ModelDeployment that has given up `serving.route`."""


@dataclass(frozen=True, slots=True)
class DeleteService:
    """Remove the Service of a ModelDeployment that is served by a route now."""


@dataclass(frozen=True, slots=True)
class DeleteVersion:
    """Remove a ModelVersion past `history`; its children go with it by owner reference."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteModel:
    """Remove the ModelDeployment itself, a smoke run whose time is over; everything goes with it by owner reference."""


@dataclass(frozen=True, slots=True)
class RemoveAnnotation:
    """Remove a request annotation after it was recorded in status: a JSON patch that tests its value."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class WriteVersionStatus:
    """Status of a ModelVersion, written with the resourceVersion that was read."""

    version: int
    status: ModelVersionStatus


@dataclass(frozen=True, slots=True)
class KeepRecording:
    """The ConfigMap <version>-recording, owned by the ModelVersion, once its rollout is over. Exists: nothing to do.

    It is never changed, and nothing waits for it or rests on it: it comes last.
    """

    version: int
    data: bytes
    """The file, gzip'd."""


Action = (
    CreateVersion
    | CreateJob
    | CreateMetricJob
    | CreateReproduceJob
    | CreateLedgerJob
    | CreatePollJob
    | DeleteJob
    | ApplyServing
    | ApplyRoute
    | ApplyService
    | BorrowRule
    | ReturnRule
    | AddFinalizer
    | RemoveFinalizer
    | DeleteRoute
    | DeleteService
    | DeleteVersion
    | DeleteModel
    | RemoveAnnotation
    | WriteVersionStatus
    | KeepRecording
)
MOVES_REQUESTS = (ApplyRoute, ApplyService, ApplyServing, BorrowRule)
"""Writes that nothing else has to wait for, once the status is written."""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event on the ModelDeployment, sent after the status write succeeded."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One pass decided: `before` is applied, then status is written (if changed), then `after`, then events.

    Order matters for crashes: the e-state is in `status`, written before a change of weight, so ApplyRoute and BorrowRule
    stand in `after` (and ApplyServing, where numbers of pods are the weights);
    a Job is recorded after it was created, so CreateJob stands in `before` (its fixed name makes a repeat harmless).
    """

    status: ModelDeploymentStatus
    before: tuple[Action, ...] = ()
    after: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    persist: bool = True
    """False: only measurements moved since the last write less than 10 s ago. The reconciler keeps `status` in memory, hands it
    to the next pass as observed.status, and writes nothing. After a restart the next block is the difference to what was
    written."""
    recordings: tuple[Recording, ...] = ()
    """What the reconciler keeps in memory and hands to the next pass as observed.recordings; one that was kept by a KeepRecording
    is dropped."""
    wake_after: float | None = None
    """Seconds until the next look even if nothing happens; None: only when woken."""
