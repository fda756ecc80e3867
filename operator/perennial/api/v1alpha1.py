"""perennial.dev/v1alpha1: ModelDeployment, the wish, and ModelVersion, one attempt to train, as pydantic models.

`perennial.api.crd` turns these into the CRDs under crds/; `perennial.core` reads the specs and returns the statuses.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.api.base import Condition, Digest, Duration, Name, SpecModel, StatusModel, Text, Timestamp
from perennial.api.pods import LocalReference, PodOptions

Metric = Literal["roc_auc", "average_precision", "accuracy"]
SlowerThan = Literal[
    "5ms", "10ms", "15ms", "20ms", "25ms", "30ms", "40ms", "50ms", "60ms", "75ms", "100ms", "125ms", "150ms", "200ms", "250ms",
    "300ms", "400ms", "500ms", "600ms", "750ms", "1000ms", "1500ms", "2000ms", "2500ms", "3000ms", "5000ms",
]  # fmt: skip


class Source(SpecModel):
    """Where the data is: every Parquet and CSV object under an S3 prefix, or one object."""

    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*$", max_length=1024)]
    secret_ref: LocalReference | None = None


class DataColumn(SpecModel):
    """A column that is used, and what for; columns not named are ignored."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", max_length=63)]
    role: Literal["feature", "label", "id", "time"]


class Holdout(SpecModel):
    """The part of the data that the trainer never sees: the newest `fraction` of the rows, by the time column."""

    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    by: Literal["time"] = "time"


class Data(SpecModel):
    """The data of a model."""

    source: Source
    columns: Annotated[list[DataColumn], Field(min_length=2, max_length=256)]
    holdout: Holdout = Holdout()
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000


class Recipe(SpecModel):
    """A built-in trainer."""

    task: Literal["classification"] = "classification"
    algorithm: Literal["gradient-boosting", "logistic-regression"] = "gradient-boosting"
    hyperparameters: Annotated[dict[str, float], Field(max_length=16)] = {}


class Accelerator(SpecModel):
    """An extended resource for the train container, and for no other."""

    resource: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$", max_length=253)] = "nvidia.com/gpu"
    count: Annotated[int, Field(ge=1, le=64)] = 1


class Training(PodOptions):
    """How to train: a built-in recipe, or any image that keeps the file contract."""

    recipe: Recipe | None = None
    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    command: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []
    accelerator: Accelerator | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    timeout: Duration = "1h"
    retries: Annotated[int, Field(ge=0, le=10)] = 1


class Gate(SpecModel):
    """What a model must prove on the holdout: `minimum`, or `notWorseThanServingBy`."""

    metric: Metric
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    not_worse_than_serving_by: Annotated[float, Field(ge=0, le=1)] | None = None
    on_undecided: Literal["refuse", "pass"] = "refuse"


class Parity(SpecModel):
    """How far the ONNX scores may be from the trainer's own."""

    max_abs_difference: Annotated[float, Field(gt=0, le=1)] = 1e-4


class Evaluation(SpecModel):
    """How a model is judged."""

    gates: Annotated[list[Gate], Field(max_length=5)] = []
    parity: Parity = Parity()


class ParentReference(SpecModel):
    """A Gateway."""

    name: Name
    namespace: Name | None = None
    section_name: Name | None = None


class Route(SpecModel):
    """An HTTPRoute of our own, named as the ModelDeployment: <path>/predict goes to the serving pods."""

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=4)]
    hostnames: Annotated[list[Name], Field(max_length=16)] = []
    path: Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$", max_length=256)]


class Serving(PodOptions):
    """How the model is served."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    route: Route
    progress_deadline: Duration = "5m"


class RolloutStep(SpecModel):
    """A share of the traffic, in per cent, and how long it lasts at least."""

    weight: Annotated[int, Field(ge=1, le=99)]
    hold: Duration


class ErrorsMetric(SpecModel):
    """Answers that are neither 2xx nor 429."""


class LatencyMetric(SpecModel):
    """Answers slower than a bound of the serving pods' latency buckets."""

    slower_than: SlowerThan


class RolloutMetric(SpecModel):
    """What the candidate is compared with stable on."""

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", max_length=32)]
    errors: ErrorsMetric | None = None
    latency: LatencyMetric | None = None
    tolerance: Annotated[float, Field(ge=1, le=10)] | None = None
    """Tolerated odds ratio; 1.0 for errors and 1.25 for latency when not given."""
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """This metric's share of falseRollbackRate."""


DEFAULT_STEPS = [
    RolloutStep(weight=5, hold="1m"),
    RolloutStep(weight=25, hold="2m"),
    RolloutStep(weight=50, hold="2m"),
]


class Rollout(SpecModel):
    """How a candidate takes over."""

    steps: Annotated[list[RolloutStep], Field(min_length=1, max_length=16)] = DEFAULT_STEPS
    false_rollback_rate: Annotated[float, Field(ge=0.0001, le=0.2)] = 0.01
    minimum_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    deadline: Duration | None = None
    """Per step; 4 x hold when not given."""
    metrics: Annotated[list[RolloutMetric], Field(min_length=1, max_length=8)] = [
        RolloutMetric(name="errors", errors=ErrorsMetric())
    ]


class ModelDeploymentSpec(SpecModel):
    """The wish."""

    data: Data
    training: Training
    evaluation: Evaluation = Evaluation()
    serving: Serving
    rollout: Rollout = Rollout()
    history: Annotated[int, Field(ge=1, le=100)] = 10
    pin: Annotated[int, Field(ge=1)] | None = None
    paused: bool = False


# ---- ModelVersion ----------------------------------------------------------------------------------------------------------


class Trigger(SpecModel):
    """Why a version was made."""

    reason: Literal["Created", "SpecChanged", "Requested"]
    message: Text = ""


class RuntimePin(SpecModel):
    """What a version runs with for ever, so that an upgrade of the operator restarts no served pod."""

    serving_image: Annotated[str, Field(max_length=512)]
    training_image: Annotated[str, Field(max_length=512)]
    manifest_revision: int


class VersionParent(SpecModel):
    """The version whose data split this one continues."""

    name: Name
    uid: Annotated[str, Field(max_length=64)]


class StorePin(SpecModel):
    """Where this version's evidence lies: base URI with namespace and UID, and the names of the Secrets that pods mount."""

    uri: Text
    secret_name: Name
    serving_secret_name: Name


class ModelVersionSpec(SpecModel):
    """Inputs of one attempt to train; immutable."""

    model_deployment: Name
    number: Annotated[int, Field(ge=1)]
    trigger: Trigger
    inputs_digest: Digest
    parent: VersionParent | None = None
    data: Data
    training: Training
    evaluation: Evaluation
    runtime: RuntimePin
    store: StorePin


class StepRecord(StatusModel):
    """One step of a version as far as it is known: which Job carries it and how it ended."""

    step: Literal["prepare", "train", "evaluate"]
    attempt: int
    key: str = ""
    """For evaluate: identity of the champion it compares with."""
    state: Literal["Running", "Succeeded", "Failed", "Refused"]
    reason: Annotated[str, Field(max_length=128)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    result: Annotated[str, Field(max_length=2048)] = ""
    """The step's answer, JSON of the contract."""
    disruptions: int = 0
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class GateVerdict(StatusModel):
    """A gate, judged."""

    metric: str
    kind: str
    limit: float
    estimate: float
    lower: float
    upper: float
    verdict: Literal["Passed", "Failed", "Undecided"]
    message: Annotated[str, Field(max_length=512)]


VersionState = Literal[
    "Pending", "Preparing", "Training", "Evaluating", "Accepted", "Deploying", "Canary", "Serving", "Retired",
    "Failed", "Rejected", "RolledBack", "Superseded",
]  # fmt: skip


class MetricEvidence(StatusModel):
    """What a rollout's test knew when it ended (or knows now), for people to read."""

    name: str
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    odds_ratio: str = ""
    """Estimate with its interval, e.g. '9.8 (6.1 to 16.2)'."""
    e: float = 0.0
    threshold: float = 0.0
    message: Annotated[str, Field(max_length=512)] = ""


class ModelVersionStatus(StatusModel):
    """Evidence and verdicts of a version."""

    observed_generation: int = 0
    state: VersionState = "Pending"
    message: Annotated[str, Field(max_length=2048)] = ""
    steps: Annotated[list[StepRecord], Field(max_length=64)] = []
    identity: Digest | None = None
    bento: Digest | None = None
    gates: Annotated[list[GateVerdict], Field(max_length=8)] = []
    evidence: Annotated[list[MetricEvidence], Field(max_length=8)] = []
    rows: int | None = None
    holdout_rows: int | None = None
    cutoff: Timestamp | None = None
    score: str = ""
    """The first gate's metric with its interval, for the printed column."""
    deployed_at: Timestamp | None = None
    """When the serving Deployment was asked for: the progress deadline runs from here."""
    finished_at: Timestamp | None = None
    conditions: Annotated[list[Condition], Field(max_length=16)] = []


# ---- ModelDeployment status --------------------------------------------------------------------------------------------------


class RouteWeight(StatusModel):
    """Share of the traffic of one version."""

    version: int
    weight: int


class MetricState(StatusModel):
    """The e-process of one metric, enough to go on after a restart."""

    name: str
    alpha: float
    tolerance: float
    log_s: Annotated[list[float], Field(max_length=64)] = []
    spent_epochs: int = 0
    elapsed: float = 0.0
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    strata: Annotated[list[float], Field(max_length=5)] = []
    """Mantel-Haenszel sums, for the odds ratio that is shown."""


class PodReading(StatusModel):
    """Cumulative counters of one pod at the last block that counted."""

    uid: str
    version: int
    total: int = 0
    bad: int = 0
    timed: int = 0
    buckets: Annotated[list[int], Field(max_length=64)] = []
    in_flight: int = 0
    restarts: int = 0


class RolloutStatus(StatusModel):
    """A rollout under way; one status write holds the e-state and the counters together."""

    candidate: int
    stable: int
    step: int = 0
    weight: int = 0
    started_at: Timestamp
    """When the first step was entered: the clock of the e-process."""
    saved_at: Timestamp
    """When this was last written to the API server."""
    settled: bool = False
    """The route has this weight and one reading was taken since: from here on blocks count."""
    withheld: bool = False
    """The candidate has no ready pod: its weight is 0 until it has one again."""
    not_ready_since: Timestamp | None = None
    step_started_at: Timestamp | None = None
    """Null until the route is accepted for this weight and requests were seen."""
    step_entered_at: Timestamp | None = None
    step_candidate_requests: int = 0
    planned_seconds: float = 0.0
    metrics: Annotated[list[MetricState], Field(max_length=8)] = []
    pods: Annotated[list[PodReading], Field(max_length=200)] = []
    measured: bool = False
    """Whether `pods` holds a first reading of this rollout."""
    restarts_before_candidate: int = 0
    restarts_before_stable: int = 0
    """Restarts that the arms' servers had when the rollout began."""
    crashes_candidate: int = 0
    crashes_stable: int = 0


class Quarantine(StatusModel):
    """A model that may not be shipped again."""

    version: int
    identity: Digest
    inputs_digest: Digest
    reason: str
    since: Timestamp


class RequestRecord(StatusModel):
    """The last request annotation of a verb: carried out once."""

    verb: Literal["rollback-to", "retrain", "promote", "abort"]
    argument: Annotated[str, Field(max_length=256)]
    id: Annotated[str, Field(max_length=128)] = ""
    resource_version: Annotated[str, Field(max_length=64)] = ""
    outcome: Annotated[str, Field(max_length=512)] = ""
    handled_at: Timestamp
    pending: bool = True
    """The annotation was still there when last looked: to be removed, not to be carried out again."""


class ReturnStatus(StatusModel):
    """A switch to an older version that is being carried out: by pin, by request or by a breach."""

    version: int
    reason: Literal["Pinned", "Requested", "Breach"]
    since: Timestamp


class ModelDeploymentStatus(StatusModel):
    """What is, as the operator last saw it."""

    observed_generation: int = 0
    summary: Annotated[str, Field(max_length=64)] = ""
    """A word for the printed column: Training, Canary 25 %, Serving, RolledBack ..."""
    stable: int | None = None
    candidate: int | None = None
    latest: int = 0
    address: Annotated[str, Field(max_length=512)] = ""
    """Where to send predictions to, with an example in the Ready condition's message."""
    inputs_digest: Digest = ""
    """Inputs of the newest version: another digest in the spec asks for a new one."""
    weights: Annotated[list[RouteWeight], Field(max_length=8)] = []
    rollout: RolloutStatus | None = None
    returning: ReturnStatus | None = None
    held: bool = False
    """After rollback-to: nothing is promoted until data, training or evaluation change."""
    held_digest: Digest = ""
    """Inputs digest of the spec at that time."""
    quarantined: Annotated[list[Quarantine], Field(max_length=100)] = []
    requests: Annotated[list[RequestRecord], Field(max_length=8)] = []
    conditions: Annotated[list[Condition], Field(max_length=16)] = []
