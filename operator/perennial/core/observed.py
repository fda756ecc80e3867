"""What a pass of the loop saw, as plain values: the only input of `perennial.core.plan`.

`perennial.adapters` gathers these from its cache of the API server's objects and from the serving pods' management ports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionSpec, ModelVersionStatus
from perennial.core.tape import Recording


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The store of a namespace: the chart's value, or what the namespace's ConfigMap says instead."""

    uri: str
    secret_name: str
    serving_secret_name: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator was installed with; new versions are pinned to it."""

    serving_image: str
    training_image: str
    manifest_revision: int
    store: StoreSettings
    metric_sources: tuple[str, ...] = ()
    """Names of the sources that a metric may be read from."""
    attested: bool = False
    """The API server lets nobody ask in another's name: the chart's ValidatingAdmissionPolicy is on."""
    recordings: bool = False
    """Each rollout is recorded, and the recording kept in a ConfigMap when it is over."""
    dropped: tuple[str, ...] = ()
    """Fields that this operator writes and the CRDs in the cluster do not have."""


@dataclass(frozen=True, slots=True)
class Meta:
    """Identity of an object of ours."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    finalizer: bool = False
    """It stays, when it is deleted, until a rule that it borrowed is given back."""
    created_at: datetime | None = None
    declared: frozenset[str] = frozenset()
    """Keys of our annotations that stand in an applied manifest (kubectl apply, GitOps), not typed by a person."""


@dataclass(frozen=True, slots=True)
class Version:
    """A ModelVersion that belongs to the ModelDeployment by owner reference."""

    meta: Meta
    spec: ModelVersionSpec
    status: ModelVersionStatus

    @property
    def number(self) -> int:
        """The N of <name>-v<N>."""
        return self.spec.number

    @property
    def signed_for(self) -> str:
        """The UID that the signature of its Bento must name; empty: it is made unsigned."""
        return self.meta.uid if self.spec.signing is not None else ""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container of a pod: both its state now and its last one (a deadline in back-off hides the real end there)."""

    name: str
    state: Literal["waiting", "running", "terminated"]
    reason: str = ""
    """waiting.reason (ErrImagePull, CreateContainerConfigError, ...) or terminated.reason (OOMKilled, Error, Completed)."""
    message: str = ""
    """waiting.message, or the termination message."""
    exit_code: int | None = None
    restarts: int = 0
    memory_limit: str = ""
    last_reason: str = ""
    last_exit_code: int | None = None
    last_message: str = ""
    image_id: str = ""
    """The image as the kubelet resolved it, mostly <repository>@sha256:<hex>."""
    started_at: datetime | None = None
    """When its process began, the last time."""
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobPod:
    """A pod of one of our Jobs."""

    name: str
    uid: str
    phase: str
    created_at: datetime
    reason: str = ""
    """status.reason, e.g. DeadlineExceeded, Evicted."""
    message: str = ""
    disrupted: bool = False
    """Condition DisruptionTarget is True."""
    deleting: bool = False
    index: int | None = None
    """Which worker of a Job of several it is; None: of a Job of one pod."""
    ip: str = ""
    unschedulable: str = ""
    """The scheduler's own words, when it can't place the pod."""
    scheduled_at: datetime | None = None
    """When it got its node: from then on images are pulled."""
    running_since: datetime | None = None
    ended_at: datetime | None = None
    """When the first of its main containers ended."""
    containers: tuple[ContainerState, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A Job of a version, named <name>-v<N>-<step>-<attempt>, adopted by the UID of its owner."""

    name: str
    uid: str
    version: int
    step: str
    attempt: int
    created_at: datetime
    complete: bool = False
    failed: bool = False
    failure_reason: str = ""
    failure_message: str = ""
    pods: tuple[JobPod, ...] = ()
    warning: str = ""
    """Newest FailedCreate event on the Job (a quota's or LimitRange's words), when it has no pod."""
    suspended: bool = False
    """spec.suspend: it has no pods until somebody, commonly a queue, resumes it."""
    queue: str = ""
    """Kueue's queue that it waits in, by its label."""


@dataclass(frozen=True, slots=True)
class ServingPod:
    """A pod of a version's Deployment."""

    name: str
    uid: str
    ip: str
    created_at: datetime
    ready: bool
    ready_since: datetime | None
    deleting: bool
    containers: tuple[ContainerState, ...] = ()
    unschedulable: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """The serving Deployment (and Service) of a version."""

    version: int
    replicas: int
    """Asked for now."""
    updated: bool
    """The Deployment controller has seen the newest generation and every replica runs it."""
    pods: tuple[ServingPod, ...] = ()
    warning: str = ""
    """The Deployment's own words when it can't create pods (ReplicaFailure)."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A version that gets copies of live requests, and nobody its answers."""

    version: int
    percent: int
    """Of the live requests."""


@dataclass(frozen=True, slots=True)
class RouteState:
    """Our HTTPRoute as the API server has it."""

    weights: tuple[tuple[int, int], ...]
    """(version, weight) of its backends, in order; weight 0 included."""
    accepted: bool
    """Accepted and ResolvedRefs are True for the current generation, by every parent."""
    message: str = ""
    """What is wrong, in the Gateway controller's words (or that no controller answered)."""
    unseen: bool = False
    """All that is missing is the controller's look at the newest generation, a moment after each change of weight."""
    mirror: Mirror | None = None
    """Whom the live route mirrors requests to."""
    unseen_seconds: float = 0.0
    """For how long `unseen` has been so for these weights and this mirror, as far as this process knows."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A rule of somebody else's HTTPRoute: the one that the spec names, or one that is held still."""

    route: str
    """Name of the HTTPRoute."""
    rule: str
    """Name of the rule."""
    held: bool = False
    """The route has our claim on it."""
    state: RouteState | None = None
    """Our backends in it; None: there is no such rule."""
    address: str = ""
    """URL that leads to /predict by it, as far as the rule tells."""
    refused: tuple[str, str] | None = None
    """(reason, message): why it is not borrowed, and what to do."""
    stale: tuple[str, ...] = ()
    """UIDs of ModelDeployments that are gone and left a claim on it, or one on other rules under our own name."""

    @property
    def words(self) -> str:
        """What it is called in messages."""
        return f"rule {self.rule} of HTTPRoute {self.route}"


@dataclass(frozen=True, slots=True)
class MirrorCounters:
    """Cumulative counters of the mirrored requests of one serving pod; the fields are those of PodCounters."""

    total: int = 0
    bad: int = 0
    timed: int = 0
    buckets: tuple[int, ...] = ()
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class PodCounters:
    """Cumulative counters of one serving pod, read from its management port. Live first attempts; mirrored ones are apart."""

    uid: str
    version: int
    total: int
    bad: int
    timed: int
    """Requests whose duration counts (none in the first 5 s after ready)."""
    buckets: tuple[int, ...]
    """Cumulative count of timed requests at or under each of contract.LATENCY_BOUNDS_MS."""
    in_flight: int = 0
    restarts: int = 0
    """Container restarts, from the pod's status; a restart sets the counters back to zero."""
    mirror: MirrorCounters = MirrorCounters()
    scores: tuple[int, ...] = ()
    """Scores answered, by bin of contract.SCORE_BINS; empty where the runtime does not tell them."""


LONGEST_QUOTE = 256


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """What a provider is asked for one metric: four numbers, of the same time."""

    metric: str
    source: str
    candidate_good: str
    candidate_total: str
    stable_good: str
    stable_total: str

    def about(self, *expressions: str) -> str:
        """Metric, source and query, as a message about it begins; a long query is cut, what to do comes behind it."""
        quoted = " and ".join(one if len(one) <= LONGEST_QUOTE else f"{one[:LONGEST_QUOTE]}..." for one in expressions)
        return f"metric {self.metric}, source {self.source}, query {quoted}"


@dataclass(frozen=True, slots=True)
class MetricReading:
    """What a provider answered: cumulative counters of both arms, as they stood at a time."""

    at: datetime
    candidate_good: int
    candidate_total: int
    stable_good: int
    stable_total: int


@dataclass(frozen=True, slots=True)
class MetricProblem:
    """Why a provider gave no reading. It says nothing about the candidate."""

    reason: str
    """A word for a condition."""
    message: str
    """What was asked, what was found, what to do; the same words for the same problem."""


@dataclass(frozen=True, slots=True)
class TrainReading:
    """How far a trainer is, as the reporter beside it answered."""

    percent: float
    loss: float | None = None
    left: float | None = None
    """Seconds that it still takes, by what it has taken so far."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a pass knows."""

    now: datetime
    meta: Meta
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus
    defaults: Defaults
    versions: tuple[Version, ...] = ()
    """By number, ascending."""
    jobs: tuple[Job, ...] = ()
    """Of its versions."""
    ledger_jobs: tuple[Job, ...] = ()
    """Its own, which store its ledger; `attempt` is the last entry."""
    poll_jobs: tuple[Job, ...] = ()
    """Its own, which look at the data source; `attempt` counts them."""
    workloads: tuple[Workload, ...] = ()
    route: RouteState | None = None
    """Our HTTPRoute, also one that is left of a spec that had a route."""
    path_taken: str = ""
    """Which other model answers at the path that the spec asks for, and what to do; empty: none does."""
    borrowed: tuple[Borrowed, ...] = ()
    """The rule that the spec names, if it names one, first; then others that are held still."""
    service: bool = False
    """The Service over the pods of all versions is there; the spec may have got a route since."""
    gateway_address: str = ""
    """Address of the parent Gateway as its status tells, for the address in status."""
    counters: tuple[PodCounters, ...] | None = None
    """Of every ready pod of both arms, read in this pass; None when any could not be read (then no block closes)."""
    unreachable: str = ""
    """Which pod could not be read, and why."""
    mirror_problem: str = ""
    """Why the Gateways cannot mirror requests as `rollout.shadow` asks for; empty when they can, or nobody asks."""
    readings: Mapping[str, MetricReading | MetricProblem] = field(default_factory=dict)
    """By name of the metric, the last answer of its provider; none while it was not asked yet."""
    trained: Mapping[str, TrainReading] = field(default_factory=dict)
    """By UID of a train pod, what its reporter last answered; none while it has not."""
    errors: tuple[tuple[str, str], ...] = ()
    """(action name, API server's words) of writes that were refused in the last pass: quota, missing namespace, webhook."""
    invalid: str = ""
    """What could not be read, the spec or a version (CRDs that do not fit the operator), else empty."""
    remembered: bool = False
    """`invalid`, but `spec` is the last one that could be read: a rollout is measured by it, and nothing is started."""
    recordings: tuple[Recording, ...] = ()
    """Of the rollout under way, and of those that are over and not kept yet; in memory only."""
