"""What the operator and everything inside its pods agree on. Standard library only.

The operator (`perennial`) renders Jobs and Deployments that run `python -m perennial_runtime <command>`; those commands answer
by a termination message of at most 1 KiB and leave the evidence in the store. This module holds the names, the paths, the exit
codes, the inputs (`*Spec`, one JSON in one environment variable) and the answers (`*Result`, `Refusal`) of that conversation.
Neither side may change a field alone: both import it from here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

GROUP = "perennial.dev"
API_VERSION = f"{GROUP}/v1alpha1"

EXIT_REFUSED = 64
"""The input is wrong and trying again would not help (EX_USAGE's number); the Job fails at once."""
EXIT_TRANSIENT = 75
"""Something outside did not answer (EX_TEMPFAIL's number); another attempt may succeed."""
NOT_COMPARABLE = "ChampionNotComparable"
"""Reason of prepare and evaluate to refuse a version that cannot be compared with the one that serves."""

MESSAGE_LIMIT = 1024
"""Bytes of one termination message; the kubelet keeps 4 KiB a container and 12 KiB a pod, injected containers included."""

MODEL_BYTES_LIMIT = 512 * 1024 * 1024
"""Largest model.onnx that is uploaded, checked and served."""

STEP_VARIABLE = "PERENNIAL_STEP"
"""Environment variable that carries the `*Spec` of a command as JSON."""

REQUIRED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""What a Secret of a store must have."""
OPTIONAL_KEYS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ALLOW_HTTP")
ENDPOINT = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[A-Za-z0-9._~/-]*)?")
"""What AWS_ENDPOINT_URL must match as a whole; obstore panics on other things, which is no Exception."""

SERVING_PORT = 3000
MIRROR_PORT = 3001
"""Serves as SERVING_PORT does, and counts what comes as mirrored: gateways do not mark mirrored requests (Envoy Gateway leaves
even their host as it is), and what is no mirror is not routed here."""
MIRROR_SERVICE_PORT = 81
"""Of a version's Service; a route mirrors to it."""
MANAGEMENT_PORT = 9090
"""Port of /livez, /readyz and /metrics in a serving pod; never routed."""
PROGRESS_PORT = 9091
"""Port on which the reporter answers GET /progress during training."""

RENDEZVOUS_PORT = 29500
"""Where the first of several workers listens for the others (MASTER_PORT)."""
MACHINES_PORT = 12400
"""Where each worker listens, in the list that LightGBM takes (PERENNIAL_MACHINES)."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Which worker a pod is, set by the Job controller in each container where there are several; the first is 0."""

STORE_SECRET_PATH = "/perennial/secrets/store"
SOURCE_SECRET_PATH = "/perennial/secrets/source"
MODEL_SECRET_PATH = "/perennial/secrets/model"
"""Where the Secrets are mounted: one file for each key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, ...)."""
SIGNING_SECRET_PATH = "/perennial/secrets/signing"
PRIVATE_KEY = "private.pem"
PUBLIC_KEY = "public.pem"
"""Keys of the signing Secret; of them serving pods get the second alone."""
SOURCE_PATH = "/perennial/source"
"""Where prepare and poll find the claim that holds the data, read-only."""

WORK_PATH = "/perennial/work"
"""Scratch space of prepare and evaluate (an emptyDir)."""
ROWS_PATH = "/perennial/rows"
"""Where `score` leaves the holdout for the program that measures metrics of the user's own; for that program read-only."""
VALUES_PATH = "/perennial/values"
"""Where that program leaves one number for each row; for evaluate read-only."""
CHALLENGER_FILE = "challenger.parquet"
CHAMPION_FILE = "champion.parquet"
"""In both: the model that is judged, and the one that serves where a gate compares with it."""
VALUES_LOG_NAME = "metrics.log"
"""What the program wrote, by itself, beside its numbers: its end is kept in the store."""
BENTO_PATH = "/perennial/bento"
"""Where a serving pod finds the unpacked Bento, read-only for the server."""

USER = 65532
"""User and group of every pod of ours, and of a trainer's image that is given no other: root is never run."""

# The file contract with any training image. One emptyDir is mounted at /perennial/data and one at /perennial/out.
TRAIN_FILE = "/perennial/data/train.parquet"
PARAMS_FILE = "/perennial/data/params.json"
PARAMS_LINK = "/perennial/params.json"
"""The documented path; the same file, mounted there by subPath."""
OUT_PATH = "/perennial/out"
MODEL_NAME = "model.onnx"
PARITY_NAME = "parity.parquet"
METRICS_NAME = "metrics.json"
PROGRESS_NAME = "progress.jsonl"
CHECKPOINT_NAME = "checkpoint"
ENVIRONMENT_NAME = "environment.txt"
"""Packages and versions that training ran with."""
LOG_NAME = "train.log"
"""What the trainer wrote, by itself: its end is kept in the store."""

CLASSIFICATION, MULTICLASS, REGRESSION = "classification", "multiclass", "regression"
"""What is predicted (`task`): a label of two classes, one of FEWEST_CLASSES to MOST_CLASSES classes, or a number."""
FEWEST_CLASSES, MOST_CLASSES = 3, 50
BALANCED = "balanced"
"""Stands for the classes in `TrainSpec.class_weights`."""
SCORE_OUTPUT = "score"
"""Name of the ONNX output that holds the probability of the positive class, shape [N] or [N, 1]."""
PREDICTION_OUTPUT = "prediction"
"""Of a regression: the predicted number, shape [N] or [N, 1]."""
PROBABILITIES_OUTPUT = "probabilities"
"""Of a model of several classes: the probability of each, shape [N, classes], in the order of schema.json's `classes`."""
PROBABILITY = "probability_"
"""Before a class's place: its column in parity.parquet, and in the rows that a program of the user's measures."""
PARITY_ROWS = 512
"""The trainer scores the first PARITY_ROWS rows of train.parquet (all, when there are fewer)."""


@dataclass(frozen=True, slots=True)
class Range:
    """Default and bounds (inclusive) of one hyperparameter."""

    default: float
    least: float
    most: float
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.least:.10g} to {self.most:.10g}{', whole' if self.whole else ''}"


GRADIENT_BOOSTING, LOGISTIC_REGRESSION = "gradient-boosting", "logistic-regression"
HYPERPARAMETERS: dict[str, dict[str, Range]] = {
    GRADIENT_BOOSTING: {
        "learning_rate": Range(0.1, 0.001, 1.0),
        "max_iter": Range(100, 1, 5000, whole=True),
        "max_leaf_nodes": Range(31, 2, 1024, whole=True),
        "min_samples_leaf": Range(20, 1, 1_000_000, whole=True),
        "l2_regularization": Range(0.0, 0.0, 1e6),
        "max_categories": Range(200, 1, 200, whole=True),
    },
    LOGISTIC_REGRESSION: {
        "C": Range(1.0, 1e-6, 1e6),
        "max_iter": Range(200, 1, 10_000, whole=True),
        "max_categories": Range(200, 1, 200, whole=True),
    },
}
"""What each recipe takes and nothing else: the recipes go by it, and rules of the API server are made from it."""

ALLOWED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Of the operators in model.onnx."""

LATENCY_BOUNDS_MS = (
    1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500,
    600, 750, 1000, 1500, 2000, 2500, 3000, 5000,
)  # fmt: skip
"""Upper bounds of the serving pods' latency buckets; `slowerThan` is one of them, so that a changed spec restarts no pod."""

# Series on the management port of a serving pod (Prometheus text). Labels: version, kind (live | golden).
REQUESTS_SERIES = "perennial_requests_total"
"""Labels version, kind, outcome (good | bad): each answered first attempt once."""
DURATION_SERIES = "perennial_request_duration_seconds"
"""Histogram over LATENCY_BOUNDS_MS, labels version, kind; starts WARM_SECONDS after the pod turned ready."""
IN_FLIGHT_SERIES = "perennial_requests_in_flight"
SCORES_SERIES = "perennial_scores"
"""Histogram of the scores that were answered: labels version, kind."""
SCORE_BINS = 20
"""Equal bins of a score from 0 to 1; the bound of bin i is (i + 1) / SCORE_BINS, and belongs to it."""
WARM_SECONDS = 5.0

SLICE_LEVEL = 0.05
"""False discovery rate of slices that are said to be under their minimum."""
MOST_SLICES = 20
"""Values of a column that are looked at as slices: those with the most holdout rows."""


def output_of(task: str) -> str:
    """Name of the ONNX output of a model for this task."""
    return {REGRESSION: PREDICTION_OUTPUT, MULTICLASS: PROBABILITIES_OUTPUT}.get(task, SCORE_OUTPUT)


class Step(StrEnum):
    """One Job of a version's life."""

    PREPARE = "prepare"
    TRAIN = "train"
    EVALUATE = "evaluate"


class Container(StrEnum):
    """Containers of ours, by name; only their termination messages are read."""

    PREPARE = "prepare"
    FETCH = "fetch"
    REPORTER = "reporter"
    TRAIN = "train"
    SCORE = "score"
    METRICS = "metrics"
    """The user's program, where metrics of their own are measured; it speaks for nobody."""
    EVALUATE = "evaluate"
    COMPARE = "compare"
    FETCH_BENTO = "fetch-bento"
    SERVER = "server"
    LEDGER = "ledger"
    POLL = "poll"


class Command(StrEnum):
    """Arguments of `python -m perennial_runtime`."""

    PREPARE = "prepare"
    FETCH = "fetch"
    REPORTER = "reporter"
    RECIPE = "recipe"
    SCORE = "score"
    EVALUATE = "evaluate"
    COMPARE = "compare"
    FETCH_BENTO = "fetch-bento"
    SERVE = "serve"
    LEDGER = "ledger"
    POLL = "poll"


class Mounted(StrEnum):
    """Secrets that steps get, by what messages call them; a pod knows the keys of one, and not its name."""

    STORE = "store"
    SOURCE = "data source"
    MODEL = "model"
    SIGNING = "signing keys"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the data and what it is for: feature, label, id, time, slice, group, synthetic, sensitive or weight."""

    name: str
    role: str
    may_leak: bool = False
    """It may tell the label, or the rows, by itself: a reason was given."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that is there already."""

    uri: str
    digest: str
    """sha256 (hex) that its object must have."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The version that serves while a challenger is judged: whose Bento is fetched and scored on the same holdout."""

    version: str
    identity: str
    bento: str
    signed_for: str = ""
    """UID of the ModelVersion that its signature must be for; empty: it was made unsigned."""
    uid: str = ""
    """Of its ModelVersion, under which its results lie in the store; empty: not told."""


@dataclass(frozen=True, slots=True)
class PrepareSpec:
    """Input of prepare. `store` already ends in the namespace and the ModelDeployment's UID."""

    version: str
    uid: str
    store: str
    source: str
    columns: tuple[Column, ...]
    holdout_fraction: float
    minimum_rows: int
    parent_uid: str | None = None
    """ModelVersion whose split this one continues: rows keep the side that they had there."""
    attempt: int = 1
    slices: tuple[str, ...] = ()
    """Columns by which the holdout will be judged in parts."""
    model: ModelSource | None = None
    """Given: nothing will be trained, this model will be judged."""
    duplicates_by: str = "source"
    """Which columns tell rows apart: source, all in the files; columns, the declared ones, and no others are read."""
    task: str = CLASSIFICATION
    holdout_by: str = "time"
    """How rows are held out: time, hash or group."""
    salt: str = ""
    """UID of the ModelDeployment, where it is by hash or group: no two hold out the same rows."""
    champion: Champion | None = None
    """The version that serves, where a gate will compare with it: what cannot be compared is refused before it is trained."""


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """What prepare found and wrote; every digest is the sha256 (hex) of a blob in the store, but `data`, which is of the rows."""

    data: str
    train: str
    holdout: str
    schema: str
    split: str
    rows: int
    train_rows: int
    holdout_rows: int
    duplicates: int
    cutoff: str
    """Time (RFC 3339) from which the newest rows are held out; empty: they are not held out by time."""
    positive_rate: float | None = None
    """Share of the positive class in the training rows; 0 of a regression, and none of several classes."""
    listing: str = ""
    """Digest of the names, sizes and ETags of the files that were read; empty: made before this was told."""
    model: str = ""
    """Digest of the model that was fetched, where one was there already."""
    key: str = ""
    """Column whose hash decides what is held out; empty: the whole row's does, or the time."""
    groups: int = 0
    """Groups that there are, where they are held out whole."""
    held_out_groups: int = 0
    synthetic: int = 0
    """Rows that were made, without repeats."""
    left_out: int = 0
    """Of those, the ones on the holdout's side: in neither file."""
    classes: tuple[str, ...] = ()
    """Of several classes their labels in order, texts in quotes: as many as there is room for, and the schema has all."""
    class_count: int = 0


@dataclass(frozen=True, slots=True)
class TrainSpec:
    """Input of fetch, reporter and recipe (the train Job)."""

    version: str
    uid: str
    attempt: int
    store: str
    train: str
    schema: str
    seed: int
    task: str = CLASSIFICATION
    algorithm: str | None = None
    hyperparameters: dict[str, float] = field(default_factory=dict)
    class_weights: dict[str, float] = field(default_factory=dict)
    """Of a recipe: by class; {BALANCED: 1} for the reverse of their shares."""
    scratch: bool = False
    """Nothing of it is kept in the store: it is only compared."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What the reporter uploaded when the trainer had ended. `problem` tells what keeps it from being judged."""

    model: str | None
    parity: str | None
    model_bytes: int = 0
    problem: str | None = None
    """CamelCase reason: OutputMissing, OutputTooLarge; None when everything is there."""
    message: str = ""
    claims: dict[str, float] = field(default_factory=dict)
    """The trainer's own metrics (at most 8): shown, never judged."""
    environment: str | None = None
    """Digest of the list of packages that it ran with, where it told one."""
    revision: str = ""
    """Of its code, where it told one."""


@dataclass(frozen=True, slots=True)
class CompareSpec:
    """Input of compare, the sidecar of a reproduction: what came of the version's training."""

    version: str
    store: str
    model: str
    train: str
    schema: str
    environment: str | None = None
    allowed_domains: tuple[str, ...] = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


@dataclass(frozen=True, slots=True)
class ReproduceResult:
    """What came of training a version again, beside what it became."""

    equal: bool
    """The same model.onnx to the last bit."""
    model: str
    """Digest of the one that was made now; it is not kept."""
    message: str
    """What differs."""


@dataclass(frozen=True, slots=True)
class GateSpec:
    """One gate: exactly one of the bounds."""

    metric: str
    minimum: float | None = None
    not_worse_than_serving_by: float | None = None
    maximum: float | None = None
    minimum_per_slice: float | None = None

    @property
    def kind(self) -> str:
        """Its bound, by the name that it has in the API."""
        given = (
            ("minimum", self.minimum),
            ("maximum", self.maximum),
            ("minimumPerSlice", self.minimum_per_slice),
        )
        return next((name for name, bound in given if bound is not None), "notWorseThanServingBy")

    @property
    def limit(self) -> float:
        """What a measurement is held against: the bound, or minus the margin."""
        bounds = (self.minimum, self.maximum, self.minimum_per_slice)
        return next((bound for bound in bounds if bound is not None), 0.0 - (self.not_worse_than_serving_by or 0.0))


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """A column whose values part the holdout."""

    column: str
    minimum_rows: int
    """Values with fewer holdout rows are not judged."""


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A metric of the user's own: the mean of the column of this name over the holdout rows."""

    name: str
    less_is_better: bool


@dataclass(frozen=True, slots=True)
class OwnMetrics:
    """What the user's program measures, and the columns that it gets beside label and score."""

    values: tuple[OwnMetric, ...]
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of its metrics."""
        return tuple(one.name for one in self.values)


@dataclass(frozen=True, slots=True)
class EvaluateSpec:
    """Input of evaluate."""

    version: str
    uid: str
    store: str
    model: str
    parity: str
    """Empty: the model was there already, and no trainer told its scores."""
    train: str
    holdout: str
    schema: str
    max_abs_difference: float
    gates: tuple[GateSpec, ...]
    seed: int
    champion: Champion | None = None
    allowed_domains: tuple[str, ...] = ALLOWED_DOMAINS
    attempt: int = 1
    record: tuple[tuple[str, str], ...] = ()
    """What the model card tells of where the version comes from, as (what, value)."""
    parent_uid: str | None = None
    """ModelVersion beside whose training data the card shows this one's."""
    slices: tuple[SliceSpec, ...] = ()
    signed: bool = False
    """The Bento is signed, and the champion's signature verified."""
    environment: str | None = None
    """Digest of the list of packages that training ran with."""
    image: str = ""
    """That trained, as the kubelet resolved it."""
    own: OwnMetrics | None = None
    """Given: a program of the user's has measured these metrics, between `score` and evaluate."""

    @property
    def own_compared(self) -> bool:
        """Whether that program measures the model that serves, too."""
        names = self.own.names if self.own else ()
        return self.champion is not None and any(
            gate.metric in names and gate.not_worse_than_serving_by is not None for gate in self.gates
        )


@dataclass(frozen=True, slots=True)
class SliceFound:
    """One slice as a gate found it."""

    name: str
    """<column>=<value>, cut short where it is long."""
    rows: int
    estimate: float
    upper: float
    p: float
    """Adjusted for all slices that are judged (Benjamini-Hochberg): of no slice under its minimum, so many would look like it."""


@dataclass(frozen=True, slots=True)
class SlicesFound:
    """What a gate `minimumPerSlice` found: how many, and the worst of them by name. All of them are in the store."""

    judged: int
    not_judged: int
    """Slices with too few rows."""
    under: int
    """Slices whose adjusted p is at most SLICE_LEVEL."""
    told: tuple[SliceFound, ...] = ()
    """The worst that were judged, by their p."""
    thin: str = ""
    """The largest of those that were not judged, with its rows."""
    rest: int = 0
    """Values beyond MOST_SLICES of a column, which were not looked at."""


@dataclass(frozen=True, slots=True)
class SmallestClass:
    """Of several classes the one with the fewest holdout rows that count for a gate."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class GateMeasurement:
    """A gate's estimate with its one-sided 95 % bounds, as measured; the operator's core turns it into a verdict.

    For `notWorseThanServingBy` the estimate is challenger minus champion (of an error: champion minus challenger, so that more
    is better) and the limit is minus the margin. For `minimumPerSlice` the numbers are those of the worst slice.
    """

    metric: str
    kind: str
    """minimum | maximum | notWorseThanServingBy | minimumPerSlice"""
    limit: float
    estimate: float
    lower: float
    upper: float
    needed_rows: int
    """About how many holdout rows (for a latency: requests) would decide it; 0 when it is decided."""
    slices: SlicesFound | None = None
    smallest: SmallestClass | None = None
    """Of roc_auc of several classes, whose bounds are as wide as this class makes them; sent only where it is undecided."""


@dataclass(frozen=True, slots=True)
class PackedGate:
    """A GateMeasurement without what the gate itself says."""

    gate: int
    """Its place in EvaluateSpec.gates."""
    at: tuple[float, ...]
    """Estimate, lower, upper, needed rows unless 0; one number for all of an exact one."""
    slices: SlicesFound | None = None
    smallest: SmallestClass | None = None


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What evaluate measured and packaged."""

    identity: str
    """Digest of model.onnx + preprocessing + schema: what quarantine remembers."""
    bento: str
    """Blob digest of the packed Bento."""
    bento_bytes: int
    parity: float | None
    """None: there were no trainer's scores to compare with."""
    holdout_rows: int
    dropped_rows: int
    """Holdout rows that either version was trained on: left out of the comparison."""
    gates: tuple[GateMeasurement, ...]
    champion: str | None = None
    """Identity of the champion it was compared with."""
    card: str | None = None
    """Blob digest of the model card."""
    packed: tuple[PackedGate, ...] = ()
    """The gates where they would be too long as they are: `packed` and `unpacked`."""
    evidence: str | None = None
    """Digest of the blob that holds every number, those of all slices too (docs/evaluation.md)."""


@dataclass(frozen=True, slots=True)
class ServeSpec:
    """Input of fetch-bento and serve."""

    version: str
    store: str
    bento: str
    identity: str
    signed_for: str = ""
    """UID of the ModelVersion that its signature must be for, or it is not served; empty: it was made unsigned."""


@dataclass(frozen=True, slots=True)
class LedgerEnd:
    """Where a ledger ends in the store."""

    number: int
    """Of the newest entry there."""
    digest: str
    """Of that entry."""
    first: int
    """Number of the first entry of the object that holds it, by which that is named."""


@dataclass(frozen=True, slots=True)
class LedgerSpec:
    """Input of ledger: entries to be stored, as `chain` writes them, in order."""

    model: str
    store: str
    entries: tuple[str, ...]
    begins: int = 1
    """The entries before this one are lost: where nothing is stored yet, the first one given is this."""
    after: LedgerEnd | None = None
    """Where the ledger ended in the store when it was last heard of."""


@dataclass(frozen=True, slots=True)
class LedgerResult:
    """Where the ledger ends now: LedgerEnd's fields, and the store in which it lies."""

    number: int
    digest: str
    first: int
    store: str


@dataclass(frozen=True, slots=True)
class PollSpec:
    """Input of poll: which source to look at, for which ModelDeployment."""

    model: str
    source: str
    claim: str = ""
    """Name of the claim that is mounted there, where the source is one."""

    @property
    def digest(self) -> str:
        """What the answer names the source by."""
        return hashlib.sha256((f"{self.claim} {self.source}" if self.claim else self.source).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PollResult:
    """What lies behind a source now, by names, sizes and ETags; nothing was read."""

    source: str
    """`PollSpec.digest` of what was looked at."""
    listing: str
    """As `PrepareResult.listing`."""
    objects: int
    """Files."""
    bytes: int
    """Their size together."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The input is wrong: a CamelCase reason and one message that names what was found and what to do."""

    reason: str
    message: str
    secret: str = ""
    """Which Secret is to be mended, as Mounted has it; empty: none."""
    data: str = ""
    """Digest of the rows that were read and are not what is wrong; empty: not told."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something outside failed and may work later (exit 75), or broke unexpectedly (any other code)."""

    reason: str
    message: str


Result = PrepareResult | TrainResult | EvaluateResult | LedgerResult | ReproduceResult | PollResult
Answer = Result | Refusal | Fault

_ANSWERS: dict[str, type[Any]] = {
    "prepare": PrepareResult,
    "train": TrainResult,
    "evaluate": EvaluateResult,
    "ledger": LedgerResult,
    "reproduce": ReproduceResult,
    "poll": PollResult,
    "refused": Refusal,
    "fault": Fault,
}

T = TypeVar("T")


def log_path(uid: str, step: str, attempt: int, container: str, worker: int = 0) -> str:
    """Where the end of what a container of a version's step wrote lies, relative to the store."""
    return f"logs/{uid}/{step}-{attempt}-{container}{f'-{worker}' if worker else ''}.log"


def worker_of(environment: Mapping[str, str]) -> int:
    """Which worker of a train Job this is; 0 where there is one only."""
    found = environment.get(INDEX_VARIABLE, "")
    return int(found) if found.isdecimal() else 0


class ContractError(ValueError):
    """A spec or an answer is not what this version of the contract says."""


def encode(value: Any) -> str:
    """A dataclass of this module as compact JSON; fields at their defaults are left out."""
    return json.dumps(_plain(value), separators=(",", ":"), sort_keys=True, allow_nan=False)


def as_variable(text: str) -> str:
    """JSON as it stands in a container's environment, where the kubelet would put a variable in the place of a $(NAME)."""
    return text.replace("$", "\\u0024")


def decode(kind: type[T], text: str) -> T:
    """The dataclass `kind` from `encode`'s JSON. Raises ContractError on anything else; unknown fields are ignored."""
    try:
        return typing.cast(T, _build(kind, json.loads(text)))
    except (ValueError, TypeError, RecursionError) as error:
        raise ContractError(f"not a {kind.__name__}: {error}") from error


def packed(result: EvaluateResult, gates: Sequence[GateSpec]) -> EvaluateResult:
    """The same in fewer bytes, for a termination message: gates by their places among those that were asked for."""
    places = {(gate.metric, gate.kind, gate.limit): place for place, gate in enumerate(gates)}
    found = tuple(
        PackedGate(places[one.metric, one.kind, one.limit], _numbers(one), one.slices, one.smallest) for one in result.gates
    )
    return dataclasses.replace(result, gates=(), packed=found)


def _numbers(gate: GateMeasurement) -> tuple[float, ...]:
    """Floats all of them, as they come out of the store again: 1234 is two bytes shorter than 1234.0."""
    if gate.lower == gate.estimate == gate.upper:
        return (float(gate.estimate),)
    return (*map(float, (gate.estimate, gate.lower, gate.upper)), *((float(gate.needed_rows),) if gate.needed_rows else ()))


def unpacked(result: EvaluateResult, gates: Sequence[GateSpec]) -> EvaluateResult:
    """What `packed` was given, with the same gates. Raises ContractError where they are others."""
    if not result.packed:
        return result
    if any(not 0 <= one.gate < len(gates) or len(one.at) not in (1, 3, 4) for one in result.packed):
        raise ContractError(f"the measurements of {len(result.packed)} gates are not of the {len(gates)} that were asked for")
    found = []
    for one in result.packed:
        gate = gates[one.gate]
        estimate, lower, upper, *needed = one.at if len(one.at) > 1 else one.at * 3
        rows = int(needed[0]) if needed else 0
        measured = GateMeasurement(gate.metric, gate.kind, gate.limit, estimate, lower, upper, rows, one.slices, one.smallest)
        found.append(measured)
    return dataclasses.replace(result, gates=tuple(found), packed=())


def encode_answer(answer: Answer) -> str:
    """A termination message: {"<word>": {...}}. A long message text is shortened to keep the 1 KiB limit."""
    word = next(word for word, kind in _ANSWERS.items() if isinstance(answer, kind))
    text = json.dumps({word: _plain(answer)}, separators=(",", ":"), sort_keys=True, allow_nan=False)
    over = len(text.encode()) - MESSAGE_LIMIT
    if over <= 0:
        return text
    if isinstance(answer, (Refusal, Fault, ReproduceResult)) and len(answer.message) > 4:
        keep = max(0, len(answer.message) - over - 4)
        return encode_answer(dataclasses.replace(answer, message=answer.message[:keep] + "..."))
    raise ContractError(f"the answer of {word} is {over} bytes over the limit of {MESSAGE_LIMIT}")


def decode_answer(text: str) -> Answer:
    """The answer in a termination message. Raises ContractError when there is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or len(document) != 1:
        raise ContractError("an answer is an object with one key")
    word, body = next(iter(document.items()))
    if word not in _ANSWERS:
        raise ContractError(f"unknown answer {word!r}")
    return typing.cast(Answer, decode(_ANSWERS[word], json.dumps(body)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if getattr(value, item.name) != item.default
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


_SHAPES: dict[Any, type] = {tuple: list, dict: dict}


def _build(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        return None if value is None else _build(next(a for a in typing.get_args(kind) if a is not type(None)), value)
    expected = _SHAPES.get(origin) or (dict if dataclasses.is_dataclass(kind) else None)
    if expected is not None and not isinstance(value, expected):
        raise TypeError(f"expected {expected.__name__}, found {type(value).__name__}")
    if origin is tuple:
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    if origin is dict:
        return {str(key): _build(typing.get_args(kind)[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {item.name for item in dataclasses.fields(kind)}
        return typing.cast(Any, kind)(**{name: _build(hints[name], item) for name, item in value.items() if name in known})
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value
