"""perennial.dev/v1alpha1: ModelDeployment, the wish, and ModelVersion, one attempt to train, as pydantic models.

`perennial.api.crd` turns these into the CRDs under crds/; `perennial.core` reads the specs and returns the statuses. Their parts
stand in a module for each group of fields: `data`, `training`, `evaluation`, `serving`, `rollout` and `metrics` of the wish,
`rollout_status` and `evidence` of what the operator found, `version` of one attempt.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.approval import Approval, ApprovalStatus
from perennial.api.base import (
    LIST_BY_TYPE,
    UNATTESTED,
    Condition,
    Digest,
    Name,
    SpecModel,
    StatusModel,
    Timestamp,
    cel,
    rules,
)
from perennial.api.data import Data
from perennial.api.evaluation import AGE_NEEDS_TIME, SLICES_ARE_COLUMNS, Evaluation
from perennial.api.evidence import MetricEvidence
from perennial.api.ledger import MOST_ENTRIES, Ledger, LedgerEntry
from perennial.api.lineage import MOST_REPORTS, Lineage, Reproducing, Reproduction
from perennial.api.model import NOTHING_RETRAINS, ONE_MAKER, ExistingModel, Signing
from perennial.api.own_metrics import OWN_METRICS_HAVE_AN_IMAGE, OWN_METRICS_READ_COLUMNS
from perennial.api.rollout import Rollout
from perennial.api.rollout_status import RolloutStatus
from perennial.api.serving import Serving
from perennial.api.smoke import Smoke
from perennial.api.task import GATES_FIT, NAMES_FIT, OWN_COLUMNS_FIT, SHIFTS_FIT, SLICES_FIT, TOLD_ONCE
from perennial.api.training import Training
from perennial.api.triggers import Limits, Triggers, TriggersStatus
from perennial.api.version import (
    GateVerdict,
    RuntimePin,
    SplitFound,
    StepRecord,
    StorePin,
    TrainProgress,
    Trigger,
    VersionParent,
    VersionState,
)
from perennial.api.weights import HOLD_BACK_REACHED, STEPS_REACHED


class ModelDeploymentSpec(SpecModel):
    """Where the data is, how to train, what a model must prove, how it is served and how it is rolled out."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            STEPS_REACHED,
            HOLD_BACK_REACHED,
            SLICES_ARE_COLUMNS,
            AGE_NEEDS_TIME,
            OWN_METRICS_HAVE_AN_IMAGE,
            OWN_METRICS_READ_COLUMNS,
            ONE_MAKER,
            NOTHING_RETRAINS,
            TOLD_ONCE,
            GATES_FIT,
            SLICES_FIT,
            SHIFTS_FIT,
            NAMES_FIT,
            OWN_COLUMNS_FIT,
            cel(
                "!has(self.rollout) || !has(self.rollout.shadow) || has(self.serving.route)",
                "rollout.shadow needs serving.route: requests are mirrored by the route; give a route or remove rollout.shadow",
            ),
            cel(
                "!has(self.smoke) || !(has(self.serving.route) || has(self.approval) || has(self.pin))",
                "a smoke run is never served: remove serving.route, approval and pin, or remove smoke",
                "'this is a smoke run, which is never served: remove %s, or remove smoke'.format([has(self.serving.route)"
                " ? 'serving.route' : (has(self.approval) ? 'approval' : 'pin')])",
            ),
            cel(
                "!has(self.smoke) || !has(self.triggers)",
                "a smoke run is judged once and never retrained: remove triggers, or remove smoke",
            ),
            cel(
                "has(self.smoke) == has(oldSelf.smoke)",
                "smoke can be neither added nor removed: a smoke run is an object of its own, see kubectl perennial smoke",
            ),
        )
    )

    data: Data
    training: Training = Training()
    model: ExistingModel | None = None
    """Serve this model without a training; not given: training says how to make one."""
    triggers: Triggers = Triggers()
    limits: Limits = Limits()
    evaluation: Evaluation = Evaluation()
    signing: Signing | None = None
    """Sign what is made from now on, and verify it before it is served. Changing it makes no new version."""
    approval: Approval | None = None
    """Roll a version out only when a person has approved it."""
    serving: Serving
    rollout: Rollout = Rollout()
    history: Annotated[int, Field(ge=1, le=100)] = 10
    """Newest versions that are kept; one that serves or is wanted is kept anyway."""
    pin: Annotated[int, Field(ge=1)] | None = None
    """Serve this version and promote no other while it is set; training goes on."""
    paused: bool = False
    """Start nothing new and change no weight while true; what serves goes on."""
    smoke: Smoke | None = None
    """Given: this is a smoke run, which trains and judges a version and serves none."""


class RouteWeight(StatusModel):
    """Share of the traffic of one version."""

    version: int
    weight: int
    """Per cent that is asked for."""
    achieved: float | None = None
    """Without a route: per cent of the ready pods that are this version's, which is what it really gets. None with a route, which
    carries every weight out."""


class Quarantine(StatusModel):
    """A model that may not be shipped again."""

    version: int
    identity: Digest
    inputs_digest: Digest
    reason: Annotated[str, Field(max_length=1024)]
    since: Timestamp


class RequestRecord(StatusModel):
    """A request annotation, carried out once: the last one of its verb, or one with an id, which is not forgotten so soon."""

    verb: Literal["rollback-to", "retrain", "retry", "promote", "abort", "approve", "pause", "resume", "lift", "reproduce"]
    argument: Annotated[str, Field(max_length=256)]
    id: Annotated[str, Field(max_length=128)] = ""
    requested_by: Annotated[str, Field(max_length=256)] = UNATTESTED
    """User name of who asked, as the API server checked it; unattested where the operator was installed without attestation."""
    resource_version: Annotated[str, Field(max_length=64)] = ""
    outcome: Annotated[str, Field(max_length=512)] = ""
    handled_at: Timestamp
    pending: bool = True
    """The annotation was still there when last looked: to be removed, not to be carried out again."""
    repeats: int = 0
    """Times that it came again (the same id, or from a manifest that is applied again) and was left alone."""


class ReturnStatus(StatusModel):
    """A switch to an older version that is being carried out: by pin, by request or by a breach."""

    version: int
    reason: Literal["Pinned", "Requested", "Breach", "Reverted"]
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
    approval: ApprovalStatus | None = None
    """Where spec.approval asks for it."""
    reproducing: Reproducing | None = None
    """The version that is being trained again, to compare."""
    triggers: TriggersStatus | None = None
    """Where spec.triggers has any."""
    ended: int = 0
    """The newest version that a person or a policy ended: it is not taken up again."""
    held: bool = False
    """After rollback-to: nothing is promoted until data, training or evaluation change, or a person types resume."""
    held_digest: Digest = ""
    """Inputs digest of the spec at that time."""
    paused: bool = False
    """A person typed pause: as spec.paused, until resume."""
    quarantined: Annotated[list[Quarantine], Field(max_length=100)] = []
    requests: Annotated[list[RequestRecord], Field(max_length=32)] = []
    ledger: Ledger = Ledger()
    """What was decided, each entry bound to the one before it."""
    conditions: Annotated[list[Condition], Field(max_length=32, json_schema_extra=LIST_BY_TYPE)] = []


class ModelVersionSpec(SpecModel):
    """Inputs of one attempt to train; immutable."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self == oldSelf", "a ModelVersion's spec never changes: change the ModelDeployment, and a new version is made")
        )
    )

    model_deployment: Name
    """Whose version it is."""
    number: Annotated[int, Field(ge=1)]
    """Counts up from 1; never used twice."""
    trigger: Trigger
    inputs_digest: Digest
    """Digest of data, training or model, and evaluation."""
    parent: VersionParent | None = None
    data: Data
    training: Training = Training()
    model: ExistingModel | None = None
    """Given: it was not trained, but brought."""
    evaluation: Evaluation
    runtime: RuntimePin
    store: StorePin
    signing: Signing | None = None
    """Given: its Bento is signed, and not served where its signature does not hold."""
    smoke: bool = False
    """Made with the hyperparameters of training.smoke, to be judged and never served."""


class ModelVersionStatus(StatusModel):
    """Evidence and verdicts of a version."""

    state: VersionState = "Pending"
    message: Annotated[str, Field(max_length=2048)] = ""
    steps: Annotated[list[StepRecord], Field(max_length=64)] = []
    identity: Digest | None = None
    bento: Digest | None = None
    card: Digest | None = None
    """Of its model card, in the store."""
    lineage: Lineage | None = None
    """What it was made of, as its steps found it."""
    reproduced: Annotated[list[Reproduction], Field(max_length=MOST_REPORTS)] = []
    """What came of training it again, the newest last."""
    measurements: Digest | None = None
    """Blob of the store with every number that it was judged by, those of all slices too, and the digest of its SBOM."""
    gates: Annotated[list[GateVerdict], Field(max_length=8)] = []
    evidence: Annotated[list[MetricEvidence], Field(max_length=8)] = []
    """Of the steps and the watch."""
    shadow_evidence: Annotated[list[MetricEvidence], Field(max_length=8)] = []
    """Of the shadow before them, by mirrored requests."""
    device: Annotated[str, Field(max_length=253)] = ""
    """What it was trained on: the accelerator's resource, or cpu."""
    progress: TrainProgress | None = None
    """While it trains."""
    rows: int | None = None
    holdout_rows: int | None = None
    cutoff: Timestamp | None = None
    """Of a holdout by time: where its newest window begins."""
    split: SplitFound | None = None
    """What came of a holdout that is not by time, or of synthetic rows."""
    score: Annotated[str, Field(max_length=128)] = ""
    """The first gate's metric with its interval, for the printed column; where gates only compare, by how much the first of them
    found it better or worse than the version that served."""
    deployed_at: Timestamp | None = None
    """When the serving Deployment was asked for: the progress deadline runs from here."""
    served_at: Timestamp | None = None
    """When it last began to get all requests: only a version that did can be returned to."""
    first_served_at: Timestamp | None = None
    """When it first got them, if it was returned to since."""
    finished_at: Timestamp | None = None
    ledger: Annotated[list[LedgerEntry], Field(max_length=MOST_ENTRIES)] = []
    """Decisions on this version, from the ledger of its ModelDeployment."""
