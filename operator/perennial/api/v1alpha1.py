"""perennial.dev/v1alpha1: ModelDeployment, the wish, and ModelVersion, one attempt to train, as pydantic models.

`perennial.api.crd` turns these into the CRDs under crds/; `perennial.core` reads the specs and returns the statuses.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Condition, Digest, Duration, Hostname, Name, SpecModel, StatusModel, Text, Timestamp, cel, rules
from perennial.api.pods import LocalReference, PodOptions
from perennial.api.weights import HOLD_BACK_REACHED, STEPS_REACHED

Metric = Literal["roc_auc", "average_precision", "accuracy"]
SlowerThan = Literal[
    "5ms", "10ms", "15ms", "20ms", "25ms", "30ms", "40ms", "50ms", "60ms", "75ms", "100ms", "125ms", "150ms", "200ms", "250ms",
    "300ms", "400ms", "500ms", "600ms", "750ms", "1000ms", "1500ms", "2000ms", "2500ms", "3000ms", "5000ms",
]  # fmt: skip

SOURCE_PATTERN = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*$"
COLUMN_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"
LIST_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
LIST_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
RESOURCE_PATTERN = "^[a-z0-9.-]+/[A-Za-z0-9._-]+$"
PATH_PATTERN = "^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$"


class Source(SpecModel):
    """Where the data is: every Parquet and CSV object under an S3 prefix, or one object."""

    uri: Annotated[
        str,
        Field(
            pattern=SOURCE_PATTERN,
            max_length=1024,
            examples=["s3://flights/2013/"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{SOURCE_PATTERN}')",
                    "data.source.uri must be s3://<bucket>/<prefix>/ or s3://<bucket>/<object>",
                    "'data.source.uri is %s: write s3://<bucket>/<prefix>/ or s3://<bucket>/<object>'.format([self])",
                )
            ),
        ),
    ]
    """A prefix (ends in /) or one object."""
    secret_ref: LocalReference | None = None
    """A Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and AWS_REGION; not given: the store's
    own is used."""


class DataColumn(SpecModel):
    """A column that is used, and what for; columns not named are ignored."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.role != 'feature' || self.name != 'score'",
                "a feature can't be named score, which is the model's output: rename the column in the data",
            )
        )
    )

    name: Annotated[
        str,
        Field(
            pattern=COLUMN_PATTERN,
            max_length=63,
            examples=["dep_hour"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{COLUMN_PATTERN}') && !self.startsWith('__')",
                    "a column's name has letters, digits and _, starts with no digit and not with __: rename it in the data",
                    "'column %s: use letters, digits and _, first no digit and not __; rename it in the data'.format([self])",
                )
            ),
        ),
    ]
    """As it stands in the data."""
    role: Literal["feature", "label", "id", "time"]
    """feature: input of the model; label: what it predicts (0/1 or bool); time: when the row became known, for the split;
    id: kept beside the row."""


class Holdout(SpecModel):
    """The part of the data that the trainer never sees: the newest `fraction` of the rows, by the time column."""

    fraction: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            json_schema_extra=rules(
                cel(
                    "self > 0.0 && self < 1.0",
                    "holdout.fraction must be more than 0 and less than 1, e.g. 0.2",
                    "'data.holdout.fraction is %s: it must be more than 0 and less than 1, e.g. 0.2'.format([self])",
                )
            ),
        ),
    ] = 0.2
    """Share of the rows."""
    by: Literal["time"] = "time"
    """How rows are chosen: by the column with role time."""


class Data(SpecModel):
    """The data of a model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.columns.exists_one(c, c.role == 'label')",
                "data.columns must name exactly one column with role: label",
                "'data.columns has %d columns with role: label; give that role to exactly one'"
                ".format([self.columns.filter(c, c.role == 'label').size()])",
            ),
            cel(
                "self.columns.exists(c, c.role == 'feature')",
                "data.columns has no column with role: feature; name at least one that the model may read",
            ),
            cel(
                "self.holdout.by != 'time' || self.columns.exists_one(c, c.role == 'time')",
                "data.columns must name exactly one column with role: time, because holdout.by is time",
                "'data.columns has %d columns with role: time; give that role to exactly one, because holdout.by is time'"
                ".format([self.columns.filter(c, c.role == 'time').size()])",
            ),
        )
    )

    source: Source
    columns: Annotated[list[DataColumn], Field(min_length=2, max_length=256, json_schema_extra=LIST_BY_NAME)]
    """Every column that is used; one label, one time, at least one feature."""
    holdout: Holdout = Holdout()
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    """Fewer rows after duplicates are removed: refused, because nothing honest can be said."""


class Recipe(SpecModel):
    """A built-in trainer."""

    task: Literal["classification"] = "classification"
    """What is predicted: a label of two classes."""
    algorithm: Literal["gradient-boosting", "logistic-regression"] = "gradient-boosting"
    """The trainer."""
    hyperparameters: Annotated[dict[str, float], Field(max_length=16)] = {}
    """Numbers for the trainer, e.g. learning_rate: 0.1."""


class Accelerator(SpecModel):
    """An extended resource for the train container, and for no other."""

    resource: Annotated[
        str,
        Field(
            pattern=RESOURCE_PATTERN,
            max_length=253,
            json_schema_extra=rules(
                cel(
                    f"self.matches('{RESOURCE_PATTERN}')",
                    "accelerator.resource must be <domain>/<name>, e.g. nvidia.com/gpu",
                    "'training.accelerator.resource is %s: write <domain>/<name>, e.g. nvidia.com/gpu'.format([self])",
                )
            ),
        ),
    ] = "nvidia.com/gpu"
    """Name under which nodes advertise it."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many."""


class Training(PodOptions):
    """How to train: a built-in recipe, or any image that keeps the file contract."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.recipe), has(self.image)].exists_one(given, given)",
                "training needs exactly one of recipe and image",
                "has(self.image) ? 'training has both recipe and image: keep one of them' "
                ": 'training has neither recipe nor image: add recipe: {} for the built-in trainer, or an image of yours'",
            ),
            cel(
                "!has(self.command) || size(self.command) == 0 || has(self.image)",
                "training.command needs training.image: a recipe has its own command; remove command",
            ),
            cel(
                "!has(self.accelerator) || !has(self.resources)"
                " || !(has(self.resources.limits) && self.accelerator.resource in self.resources.limits)"
                " && !(has(self.resources.requests) && self.accelerator.resource in self.resources.requests)",
                "training.resources names the accelerator's resource too: leave it to training.accelerator",
            ),
        )
    )

    recipe: Recipe | None = None
    """A built-in trainer; {} for its defaults."""
    image: Annotated[str, Field(min_length=1, max_length=512, examples=["registry/trainer@sha256:..."])] | None = None
    """A training image of yours: reads /perennial/data/train.parquet and /perennial/params.json, writes /perennial/out/model.onnx
    and parity.parquet. By digest, if it shall be the same for ever."""
    command: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []
    """Command of the training image, if not its own."""
    accelerator: Accelerator | None = None
    """An accelerator for the train container."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Given to the trainer, and used for every sample of ours."""
    timeout: Duration = "1h"
    """Longest run of one attempt, queueing not counted."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """More attempts after one that failed (disruptions are not counted)."""


class Gate(SpecModel):
    """What a model must prove on the holdout: `minimum`, or `notWorseThanServingBy`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.minimum), has(self.notWorseThanServingBy)].exists_one(given, given)",
                "a gate needs exactly one of minimum and notWorseThanServingBy",
                "'gate %s has %s minimum and notWorseThanServingBy: keep exactly one; write two gates for both'"
                ".format([self.metric, has(self.minimum) ? 'both' : 'neither'])",
            )
        )
    )

    metric: Metric
    """What is measured on the holdout."""
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    """The metric's one-sided 95 % lower bound must reach this."""
    not_worse_than_serving_by: Annotated[float, Field(ge=0, le=1)] | None = None
    """With 95 % confidence, not worse than the serving version by more than this; both judged on the same rows."""
    on_undecided: Literal["refuse", "pass"] = "refuse"
    """What happens when the holdout is too small to tell."""


class Parity(SpecModel):
    """How far the ONNX scores may be from the trainer's own."""

    max_abs_difference: Annotated[float, Field(ge=1e-9, le=1)] = 1e-4
    """Largest difference of a score."""


class Evaluation(SpecModel):
    """How a model is judged."""

    gates: Annotated[list[Gate], Field(max_length=5)] = []
    """All must pass; none: every model that works is rolled out."""
    parity: Parity = Parity()


class ParentReference(SpecModel):
    """A Gateway."""

    name: Name
    """The Gateway's name."""
    namespace: Name | None = None
    """Its namespace, if another; its listener must allow routes from here."""
    section_name: Name | None = None
    """One listener of it; not given: all."""


class Route(SpecModel):
    """An HTTPRoute of our own, named as the ModelDeployment: <path>/predict goes to the serving pods."""

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=4)]
    """The Gateways that carry the route."""
    hostnames: Annotated[list[Hostname], Field(max_length=16)] = []
    """Names it answers to; none: all of the listener's."""
    path: Annotated[
        str,
        Field(
            pattern=PATH_PATTERN,
            max_length=256,
            examples=["/delays"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{PATH_PATTERN}')",
                    "route.path starts with / and does not end in it, e.g. /delays",
                    "'serving.route.path is %s: it starts with / and does not end in it, e.g. /delays'.format([self])",
                )
            ),
        ),
    ]
    """Predictions are answered at <path>/predict."""


class Serving(PodOptions):
    """How the model is served."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods of each version that takes traffic."""
    route: Route | None = None
    """Not given: a Service with the ModelDeployment's name answers at /predict in the cluster, weights are shares of pods, and
    what falseRollbackRate promises is approximate."""
    progress_deadline: Duration = "5m"
    """A version whose pods are not ready by then has failed; what serves is untouched."""


class RolloutStep(SpecModel):
    """A share of the traffic, in per cent, and how long it lasts at least."""

    weight: Annotated[int, Field(ge=1, le=99)]
    """Per cent of the requests that the candidate answers."""
    hold: Duration
    """How long the step lasts at least."""


class ErrorsMetric(SpecModel):
    """Answers that are neither 2xx nor 429."""


class LatencyMetric(SpecModel):
    """Answers slower than a bound of the serving pods' latency buckets."""

    slower_than: SlowerThan
    """An answer is slow from here on."""


class Objective(SpecModel):
    """What is asked of a version by itself, whatever the other one does."""

    max_rate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            json_schema_extra=rules(
                cel(
                    "self > 0.0 && self < 1.0",
                    "objective.maxRate must be more than 0 and less than 1, e.g. 0.02",
                    "'objective.maxRate is %s: it must be more than 0 and less than 1, e.g. 0.02'.format([self])",
                )
            ),
        ),
    ]
    """Largest share of bad answers that is allowed."""


Expression = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            cel(
                "self.contains('$(version)')",
                "the expression must select one version by $(version), which stands for <name>-v<number>",
                "'%s does not select one version: use $(version), which stands for <name>-v<number>, "
                'e.g. sum(requests_total{service="$(version)"})\'.format([self])',
            ),
            cel(
                "!self.replace('$(version)', '').replace('$(name)', '').replace('$(namespace)', '').contains('$(')",
                "the expression has a placeholder that is unknown: $(version), $(name) and $(namespace) are known",
                "'%s has a placeholder that is unknown: $(version), $(name) and $(namespace) are known'.format([self])",
            ),
        ),
    ),
]
"""PromQL that gives one number, a counter that only grows; $(version), $(name) and $(namespace) are filled in."""


class PrometheusMetric(SpecModel):
    """Requests that were counted elsewhere, as two counters of each version at a Prometheus server."""

    source: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", max_length=32)]
    """Name of a source that the operator was installed with (the chart's metricSources); never an address."""
    good: Annotated[Expression, Field(examples=['sum(orders_total{service="$(version)",outcome!="failed"})'])]
    """All requests of one version that went well, ever: one number that only grows."""
    total: Annotated[Expression, Field(examples=['sum(orders_total{service="$(version)"})'])]
    """All requests of one version, ever, good ones among them."""
    scrape_interval: Duration = "30s"
    """How often the source reads these counters. So long after a change of weight nothing is counted: what it shows then may be
    from before."""


class PredictionShiftMetric(SpecModel):
    """Distance of the scores that both versions answered over the same time: the largest difference of cumulative shares."""

    max_distance: Annotated[float, Field(ge=0.01, le=1)] | None = None
    """While the distance is sure to be more than this, no step passes: a person promotes or aborts. Not given: only told."""


class RolloutMetric(SpecModel):
    """What the candidate is compared with stable on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.errors), has(self.latency), has(self.prometheus), has(self.predictionShift)].exists_one(given, given)",
                "a rollout metric needs exactly one of errors, latency, prometheus and predictionShift",
                "'metric %s has %s of errors, latency, prometheus and predictionShift: keep exactly one, e.g. errors: {}'"
                ".format([self.name, [has(self.errors), has(self.latency), has(self.prometheus), has(self.predictionShift)]"
                ".exists(given, given) ? 'more than one' : 'none'])",
            ),
            cel(
                "!has(self.predictionShift) || !(has(self.margin) || has(self.objective) || has(self.tolerance))",
                "a predictionShift has no tolerance, margin or objective: it compares scores, not bad answers",
                "'metric %s is a predictionShift, which compares scores and not bad answers: take tolerance, margin and "
                "objective out, or give maxDistance in predictionShift'.format([self.name])",
            ),
            cel(
                "!has(self.margin) || self.margin > (has(self.tolerance) ? self.tolerance : has(self.latency) ? 1.25 : 1.0)",
                "a metric's margin must be more than its tolerance (1.25 for latency and 1 for others when not given)",
                "'metric %s has margin %s: it must be more than the tolerance, which is 1.25 for latency and 1 for others when "
                "not given; raise margin or lower tolerance'.format([self.name, self.margin])",
            ),
        )
    )

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", max_length=32)]
    """How the metric is called in status and messages."""
    errors: ErrorsMetric | None = None
    """Count answers that are neither 2xx nor 429."""
    latency: LatencyMetric | None = None
    """Count slow answers."""
    prometheus: PrometheusMetric | None = None
    """Compare requests that were counted elsewhere."""
    prediction_shift: PredictionShiftMetric | None = None
    """Tell how far the candidate's scores are from stable's. It never takes a candidate back: every real retrain moves scores."""
    tolerance: Annotated[float, Field(ge=1, le=10)] | None = None
    """Tolerated odds ratio; 1.25 for latency and 1.0 for others when not given."""
    margin: (
        Annotated[
            float,
            Field(
                gt=1,
                le=10,
                json_schema_extra=rules(
                    cel(
                        "self > 1.0 && self <= 10.0",
                        "a metric's margin is an odds ratio of more than 1 and at most 10, e.g. 2",
                        "'margin is %s: it is an odds ratio of more than 1 and at most 10, e.g. 2'.format([self])",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A step passes only when the harm is shown, with 95 % confidence, to be under this odds ratio. That takes bad answers of
    both versions: the nearer to 1, the more."""
    objective: Objective | None = None
    """Largest share of bad answers of a version by itself. Missed by the candidate alone: a breach. Missed by both: somebody
    else's outage, and nothing is taken back. Not part of falseRollbackRate: a false alarm of its own is as rare again."""
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """This metric's share of falseRollbackRate."""


DEFAULT_STEPS = [
    RolloutStep(weight=5, hold="1m"),
    RolloutStep(weight=25, hold="2m"),
    RolloutStep(weight=50, hold="2m"),
]


class Watch(SpecModel):
    """After its promotion a version is still compared with the one before it, which keeps a small share of the requests."""

    for_: Duration
    """How long the promoted version is watched."""
    hold_back: Annotated[int, Field(ge=1, le=50)] = 10
    """Per cent of the requests that the version before it goes on to answer; less finds harm later."""


class Shadow(SpecModel):
    """Before its first step a candidate is sent copies of live requests; its answers are counted and thrown away."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Per cent of the live requests that are mirrored; less than 100 needs a gateway that knows shares (Gateway API 1.3)."""
    hold: Duration
    """How long the shadow lasts at least."""


class Rollout(SpecModel):
    """How a candidate takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.steps.map(step, step.weight).isSorted()"
                " && self.steps.all(a, self.steps.exists_one(b, b.weight == a.weight))",
                "rollout.steps must have rising weights",
                "'rollout.steps have the weights %s: each must be more than the one before it'"
                ".format([self.steps.map(step, step.weight)])",
            )
        )
    )

    shadow: Shadow | None = None
    """Not given: the first requests that a candidate answers are clients'."""
    steps: Annotated[list[RolloutStep], Field(min_length=1, max_length=16)] = DEFAULT_STEPS
    """From one to the next while nothing speaks against it; after the last comes 100 %."""
    false_rollback_rate: Annotated[float, Field(ge=0.0001, le=0.2)] = 0.01
    """How often at most a candidate as good as stable may be taken back by chance, over the whole rollout."""
    minimum_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    """Answers of the candidate that a step, and the shadow, needs before it passes."""
    deadline: Duration | None = None
    """Per step, and of the shadow; 4 x hold when not given."""
    watch: Watch | None = None
    """Not given: the version before gets no more requests once a candidate is promoted."""
    window: Annotated[int, Field(ge=0, le=100)] = 0
    """So many of the versions that served last are gone back to without steps and without training when the spec asks for their
    inputs again (a revert in Git). What serves is one of them: 2 covers the version before it. 0: a reverted spec is trained."""
    on_breach: Literal["rollback", "pause"] = "rollback"
    """pause: weights stay as they are, a condition and an event tell it, and a person promotes or aborts."""
    on_too_little_data: Literal["wait", "promote", "abort"] = "wait"
    """What happens at a step's deadline when the candidate has not answered minimumRequests. promote takes the step all the same;
    abort ends the rollout and quarantines nothing. A step that is in suspicion waits, whatever stands here."""
    dispersion_guard: bool = False
    """For answers that fail in bursts: every test believes its evidence less, by as much as stable's bad answers vary more than
    independent ones. Harm is found later."""
    metrics: Annotated[
        list[RolloutMetric],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=LIST_BY_NAME
            | rules(
                cel(
                    "self.exists(metric, !has(metric.predictionShift))",
                    "rollout.metrics needs one that can take a candidate back, e.g. {name: errors, errors: {}}: a "
                    "predictionShift cannot",
                )
            ),
        ),
    ] = [RolloutMetric(name="errors", errors=ErrorsMetric())]
    """What is compared."""


class ModelDeploymentSpec(SpecModel):
    """Where the data is, how to train, what a model must prove, how it is served and how it is rolled out."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            STEPS_REACHED,
            HOLD_BACK_REACHED,
            cel(
                "!has(self.rollout) || !has(self.rollout.shadow) || has(self.serving.route)",
                "rollout.shadow needs serving.route: requests are mirrored by the route; give a route or remove rollout.shadow",
            ),
        )
    )

    data: Data
    training: Training
    evaluation: Evaluation = Evaluation()
    serving: Serving
    rollout: Rollout = Rollout()
    history: Annotated[int, Field(ge=1, le=100)] = 10
    """Newest versions that are kept; one that serves or is wanted is kept anyway."""
    pin: Annotated[int, Field(ge=1)] | None = None
    """Serve this version and promote no other while it is set; training goes on."""
    paused: bool = False
    """Start nothing new and change no weight while true; what serves goes on."""


# ---- ModelVersion ----------------------------------------------------------------------------------------------------------


class Trigger(SpecModel):
    """Why a version was made."""

    reason: Literal["Created", "SpecChanged", "Requested"]
    """In a word."""
    message: Text = ""
    """In a sentence."""


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
    """Digest of data, training and evaluation."""
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
    key: Annotated[str, Field(max_length=128)] = ""
    """For evaluate: identity of the champion it compares with."""
    state: Literal["Running", "Succeeded", "Failed", "Refused"]
    reason: Annotated[str, Field(max_length=128)] = ""
    message: Annotated[str, Field(max_length=2048)] = ""
    result: Annotated[str, Field(max_length=2048)] = ""
    """The step's answer, JSON of the contract."""
    disrupted_pods: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=16)] = []
    """UIDs of its pods that were evicted or preempted; those are deleted, so they are noted when they are seen."""
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class GateVerdict(StatusModel):
    """A gate, judged."""

    metric: Annotated[str, Field(max_length=64)]
    kind: Annotated[str, Field(max_length=64)]
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


class MarginEvidence(StatusModel):
    """How far it is shown that the harm is small."""

    margin: float
    """The odds ratio that the harm must be shown to be under."""
    e: float = 1.0
    """Evidence for it; 1 is none."""
    threshold: float = 0.0
    """E from which on it is shown."""
    upper_bound: float | None = None
    """The harm is under this odds ratio with 95 % confidence, however often one looks; null until it is under the margin."""
    message: Annotated[str, Field(max_length=256)] = ""


class ObjectiveEvidence(StatusModel):
    """Both versions by themselves against the largest bad rate that is allowed, since their tests began (last)."""

    max_rate: float
    candidate_total: int = 0
    candidate_bad: int = 0
    candidate_e: float = 1.0
    """Evidence that the candidate's bad rate is over it; 1 is none."""
    stable_total: int = 0
    stable_bad: int = 0
    stable_e: float = 1.0
    threshold: float = 0.0
    """E from which on it is missed. Its false alarms are not part of falseRollbackRate, but as rare again."""
    message: Annotated[str, Field(max_length=256)] = ""


class MetricEvidence(StatusModel):
    """What a rollout's test knew when it ended (or knows now), for people to read."""

    name: Annotated[str, Field(max_length=64)]
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    odds_ratio: Annotated[str, Field(max_length=128)] = ""
    """Estimate with its interval, e.g. '9.8 (6.1 to 16.2)'."""
    e: float = 0.0
    """Evidence that it is worse than tolerated; 1 is none."""
    threshold: float = 0.0
    """E from which on it is rolled back: 1 / alpha."""
    alpha: float = 0.0
    """This metric's share of falseRollbackRate: over all steps and the watch, or over the shadow."""
    alpha_used: float = 0.0
    """E in parts of the threshold, at most 1."""
    guarantee: Literal["exact", "approximate", ""] = ""
    """exact: requests are given to versions one by one, so this metric rolls back at most alpha of the healthy versions;
    approximate: connections are (no route is given), and their requests succeed or fail together, or the requests are counted
    elsewhere and not of exactly the same time; alpha is the aim."""
    margin: MarginEvidence | None = None
    objective: ObjectiveEvidence | None = None
    distance: float | None = None
    """Of a predictionShift: how far the scores are apart, from 0 to 1."""
    variance_factor: float = 1.0
    """The dispersion guard's: by so much every test believes its evidence less."""
    message: Annotated[str, Field(max_length=1024)] = ""


class ModelVersionStatus(StatusModel):
    """Evidence and verdicts of a version."""

    state: VersionState = "Pending"
    message: Annotated[str, Field(max_length=2048)] = ""
    steps: Annotated[list[StepRecord], Field(max_length=64)] = []
    identity: Digest | None = None
    bento: Digest | None = None
    gates: Annotated[list[GateVerdict], Field(max_length=8)] = []
    evidence: Annotated[list[MetricEvidence], Field(max_length=8)] = []
    """Of the steps and the watch."""
    shadow_evidence: Annotated[list[MetricEvidence], Field(max_length=8)] = []
    """Of the shadow before them, by mirrored requests."""
    rows: int | None = None
    holdout_rows: int | None = None
    cutoff: Timestamp | None = None
    score: Annotated[str, Field(max_length=128)] = ""
    """The first gate's metric with its interval, for the printed column."""
    deployed_at: Timestamp | None = None
    """When the serving Deployment was asked for: the progress deadline runs from here."""
    served_at: Timestamp | None = None
    """When it first got all requests: only such a version can be returned to."""
    finished_at: Timestamp | None = None


# ---- ModelDeployment status --------------------------------------------------------------------------------------------------


class RouteWeight(StatusModel):
    """Share of the traffic of one version."""

    version: int
    weight: int
    """Per cent that is asked for."""
    achieved: float | None = None
    """Without a route: per cent of the ready pods that are this version's, which is what it really gets. None with a route, which
    carries every weight out."""


class MarginState(StatusModel):
    """The test of a margin: the comparison with its arms swapped."""

    margin: float
    log_s: Annotated[list[float], Field(max_length=64)] = []


class RateState(StatusModel):
    """The test of one version's own bad rate."""

    since: Timestamp
    """When it began: its clock."""
    log_s: Annotated[list[float], Field(max_length=64)] = []
    epochs: int = 0
    spent_epochs: int = 0
    total: int = 0
    bad: int = 0


class ObjectiveState(StatusModel):
    """Where the objective of a metric stands."""

    max_rate: float
    alpha: float
    candidate: RateState
    stable: RateState
    confirming: Annotated[list[float], Field(max_length=64)] = []
    """log S of the comparison that began when the candidate's objective came into suspicion; empty while it is not."""
    missed_at: Timestamp | None = None
    """When the candidate missed it; stable is being asked since."""
    outage_since: Timestamp | None = None
    """Both missed it: somebody else's outage."""
    loud_at: Timestamp | None = None
    """In an outage: when stable's test was last in suspicion."""


class MetricState(StatusModel):
    """The e-process of one metric, enough to go on after a restart."""

    name: Annotated[str, Field(max_length=64)]
    alpha: float
    tolerance: float
    log_s: Annotated[list[float], Field(max_length=64)] = []
    spent_epochs: int = 0
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    strata: Annotated[list[float], Field(max_length=5)] = []
    """Mantel-Haenszel sums, for the odds ratio that is shown."""
    margin: MarginState | None = None
    objective: ObjectiveState | None = None
    dispersion: Annotated[list[float], Field(max_length=8)] = []
    """Sums of the dispersion guard over stable's batches; empty without the guard."""


class ShiftState(StatusModel):
    """Scores that both versions answered while they were compared, by bin."""

    name: Annotated[str, Field(max_length=64)]
    candidate: Annotated[list[int], Field(max_length=64)] = []
    stable: Annotated[list[int], Field(max_length=64)] = []


class PodReading(StatusModel):
    """Cumulative counters of one pod at the last block that counted."""

    uid: Annotated[str, Field(max_length=64)]
    version: int
    total: int = 0
    bad: int = 0
    timed: int = 0
    buckets: Annotated[list[int], Field(max_length=64)] = []
    scores: Annotated[list[int], Field(max_length=64)] = []
    in_flight: int = 0
    restarts: int = 0


class ProvidedCounts(StatusModel):
    """Counters of both arms as a provider last told them, and what became of its last answer; one for each such metric."""

    name: Annotated[str, Field(max_length=64)]
    query: Digest = ""
    """Of what was asked: counters of another question are not compared with these."""
    at: Timestamp | None = None
    """The time that they are of; null: nothing to compare with yet."""
    candidate_good: int = 0
    candidate_total: int = 0
    stable_good: int = 0
    stable_total: int = 0
    since: Timestamp | None = None
    """When counting began at this weight."""
    latest: Annotated[list[int], Field(max_length=4)] = []
    """The four counters as last seen; those above are from when a block last closed."""
    candidate_requests: int = 0
    """Requests of the candidate that were counted since then."""
    fell_at: Timestamp | None = None
    """When the counters last fell, or did not fit together."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why the last answer could not be used; empty: it could."""
    problem: Annotated[str, Field(max_length=1024)] = ""
    """The same in words."""


MOST_PODS = 512
"""Pods that are followed in a rollout: two arms of 100 replicas, and what an update or an eviction brings beside them."""


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
    unsaved: bool = False
    """Measurements moved since then; never true in what is written."""
    phase: Literal["Shadow", "Steps", "Watch"] = "Steps"
    """Shadow: the candidate gets copies of live requests and no others; Steps: it is on its way;
    Watch: it serves, and the version before it keeps a share to be compared with."""
    breach: Annotated[str, Field(max_length=1024)] = ""
    """A breach that was found, and left to a person by onBreach: pause."""
    watch_started_at: Timestamp | None = None
    stable_away: bool = False
    """In the watch: the version before has no ready pod and gets no requests until it has one."""
    settled: bool = False
    """The route has this weight and one reading was taken since: from here on blocks count."""
    settled_at: Timestamp | None = None
    """When that was seen."""
    withheld: bool = False
    """The candidate's weight is 0 until it has a ready pod and every pod of both arms was read: so it begins."""
    not_ready_since: Timestamp | None = None
    flaps: int = 0
    """Times that the candidate lost all its ready pods."""
    step_started_at: Timestamp | None = None
    """Null until the route is accepted for this weight and requests were seen."""
    step_entered_at: Timestamp | None = None
    step_candidate_requests: int = 0
    shadowed: bool = False
    """It had a shadow, which spent its share of falseRollbackRate; the rest is for steps and watch."""
    mirror_refused: Annotated[str, Field(max_length=1024)] = ""
    """In the shadow: the gateway's words when it refused the route because of the mirror, which is left out since."""
    planned_seconds: float = 0.0
    metrics: Annotated[list[MetricState], Field(max_length=8)] = []
    shifts: Annotated[list[ShiftState], Field(max_length=8)] = []
    """Of each predictionShift."""
    pods: Annotated[list[PodReading], Field(max_length=MOST_PODS)] = []
    measured: bool = False
    """Whether `pods` holds a first reading of this rollout."""
    provided: Annotated[list[ProvidedCounts], Field(max_length=8)] = []
    """Of metrics whose requests are counted elsewhere than in the pods."""
    restarts: Annotated[dict[str, int], Field(max_length=MOST_PODS)] = {}
    """Restarts of the arms' servers as last seen, by UID of the pod."""
    crashes_candidate: int = 0
    crashes_stable: int = 0


class Quarantine(StatusModel):
    """A model that may not be shipped again."""

    version: int
    identity: Digest
    inputs_digest: Digest
    reason: Annotated[str, Field(max_length=1024)]
    since: Timestamp


class RequestRecord(StatusModel):
    """A request annotation, carried out once: the last one of its verb, or one with an id, which is not forgotten so soon."""

    verb: Literal["rollback-to", "retrain", "promote", "abort", "resume", "lift"]
    argument: Annotated[str, Field(max_length=256)]
    id: Annotated[str, Field(max_length=128)] = ""
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
    ended: int = 0
    """The newest version that a person or a policy ended: it is not taken up again."""
    held: bool = False
    """After rollback-to: nothing is promoted until data, training or evaluation change, or a person types resume."""
    held_digest: Digest = ""
    """Inputs digest of the spec at that time."""
    quarantined: Annotated[list[Quarantine], Field(max_length=100)] = []
    requests: Annotated[list[RequestRecord], Field(max_length=32)] = []
    conditions: Annotated[list[Condition], Field(max_length=16, json_schema_extra=LIST_BY_TYPE)] = []
