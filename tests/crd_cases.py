"""Every rule that the CRDs carry, with an object that it accepts and one that it refuses.

`tests/cluster/test_crd_rules.py` puts them to a real API server; `tests/unit/api` checks offline that no rule lacks a case.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perennial_runtime.contract import HYPERPARAMETERS

Manifest = dict[str, Any]
REMOVED = object()
"""As an edit's value: takes the field away."""


@dataclass(frozen=True, slots=True)
class Case:
    """`rule` is the rule's message in the CRD, by which it is found. Edits are by dotted path; a number is a list's index.

    `update`: the accepted object is created first, and the refused one is a change of it.
    """

    reason: str
    rule: str
    refused: Mapping[str, Any]
    words: tuple[str, ...]
    """What the API server's refusal must say: the field, what was found, what to do."""
    accepted: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "ModelDeployment"
    update: bool = False


def deployment() -> Manifest:
    """A small ModelDeployment that every rule accepts."""
    return {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "delays"},
        "spec": {
            "data": {
                "source": {"uri": "s3://flights/2013/"},
                "columns": [
                    {"name": "dep_hour", "role": "feature"},
                    {"name": "time_hour", "role": "time"},
                    {"name": "arr_late", "role": "label"},
                ],
            },
            "training": {"recipe": {}},
            "serving": {"route": {"parentRefs": [{"name": "gw"}], "path": "/delays"}},
        },
    }


def version() -> Manifest:
    """A ModelVersion that every rule accepts."""
    spec = deployment()["spec"]
    return {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "delays-v3"},
        "spec": {
            "modelDeployment": "delays",
            "number": 3,
            "trigger": {"reason": "Created"},
            "inputsDigest": "abc",
            "data": spec["data"],
            "training": spec["training"],
            "evaluation": {},
            "runtime": {"servingImage": "r/runtime", "trainingImage": "r/training", "manifestRevision": 1},
            "store": {"uri": "s3://models/ns/uid", "secretName": "store", "servingSecretName": "store-read"},
        },
    }


def edited(manifest: Manifest, edits: Mapping[str, Any]) -> Manifest:
    """A copy of `manifest` with the edits."""
    found = copy.deepcopy(manifest)
    for path, value in edits.items():
        *parents, last = path.split(".")
        node: Any = found
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        if value is REMOVED:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
    return found


def base(kind: str) -> Manifest:
    """The object that a case of this kind edits."""
    return version() if kind == "ModelVersion" else deployment()


STEPS = "spec.rollout.steps"
COLUMNS = "spec.data.columns"
DELAYS = deployment()["spec"]["data"]["columns"]
HOUSEHOLD, MADE = {"name": "household", "role": "group"}, {"name": "made", "role": "synthetic"}
BY_GROUP = "data.columns must name exactly one column with role: group where holdout.by is group, and none elsewhere"
GATES = "spec.evaluation.gates"
OWN = "spec.evaluation.metrics"
PROGRAM: dict[str, Any] = {"command": ["cost"], "values": [{"name": "cost", "better": "less"}]}
COSTS = {**PROGRAM, "image": "r/cost@sha256:1"}
GAINS = {**COSTS, "values": [{"name": "gain", "better": "more"}]}
OURS = {**COSTS, "values": [{"name": "our_accuracy", "better": "more"}]}
SCORED = [
    *deployment()["spec"]["data"]["columns"],
    {"name": "score", "role": "id"},
    {"name": "scores", "role": "id"},
]
LESS_IS_BETTER = (
    "of calibration_error, log_loss, rmse, mae, model_bytes, latency_p99_ms and data_age_hours less is better: give maximum"
)
UNFIT = (
    "a gate's metric does not fit the task: a regression has rmse, mae and r2, a classification roc_auc, average_precision, "
    "accuracy, calibration_error and log_loss, several classes roc_auc, accuracy and log_loss"
)
SHIFTS = (
    "a predictionShift compares scores, one for each row and from 0 to 1: a regression and several classes have none; remove it"
)
OUTPUT_NAMES = (
    "a feature of a regression can't be named prediction, and one of several classes not probabilities, which is the model's "
    "output: rename the column in the data"
)
SEVERAL = [
    {"metric": "accuracy", "minimum": 0.5},
    {"metric": "log_loss", "maximum": 1.1},
    {"metric": "roc_auc", "notWorseThanServingBy": 0.01},
]
PROBABLE = [*deployment()["spec"]["data"]["columns"], {"name": "probability_0", "role": "id"}]
AT_MOST = {"metric": "cost", "maximum": 3.5}
PER_SLICE = {"metric": "roc_auc", "minimumPerSlice": 0.6}
METRICS = "spec.rollout.metrics"
TASK = "spec.training.recipe.task"
CLASS_WEIGHTS = "spec.training.recipe.classWeights"
HYPER, FAST = "spec.training.recipe.hyperparameters", "spec.training.smoke.hyperparameters"
LOGISTIC = {"spec.training.recipe.algorithm": "logistic-regression"}
TAKES = {
    algorithm: f"{algorithm} takes {', '.join(f'{name} ({limits})' for name, limits in known.items())}"
    for algorithm, known in HYPERPARAMETERS.items()
}
PLAIN_COLUMNS = deployment()["spec"]["data"]["columns"]
ROUTE = "spec.serving.route"
ROUTE_FORMS = "route needs either httpRoute, a rule of an HTTPRoute of yours, or parentRefs and path, for one that is made"
SMOKE = "a smoke run is never served: remove serving.route, approval and pin, or remove smoke"
MODEL = {"uri": "s3://models/delays/model.onnx", "digest": f"sha256:{'5f70bf18a086007016e948b04aed3b82' * 2}"}
SOURCE_FORMS = (
    "data.source.uri must be s3://<bucket>/<prefix>/, gs://<bucket>/<prefix>/, "
    "abfss://<container>@<account>.dfs.core.windows.net/<prefix>/ or https://<host>/<object>"
)
ERRORS = {"name": "errors", "errors": {}}
UNMADE_STEPS = (
    "rollout.steps has a weight that pods cannot make: without serving.route weights are shares of pods; give a route, or more "
    "serving.replicas"
)
ORDERS = {
    "source": "shop",
    "good": 'sum(orders_total{v="$(version)",outcome="good"})',
    "total": 'sum(orders_total{v="$(version)"})',
}

CASES = (
    Case(
        "a schedule of six fields",
        "triggers.schedule.cron needs five fields: minute hour day-of-month month day-of-week, e.g. 0 3 * * *",
        {"spec.triggers": {"schedule": {"cron": "0 0 3 * * *"}}},
        ('triggers.schedule.cron is "0 0 3 * * *"', "it needs five fields"),
        accepted={"spec.triggers": {"schedule": {"cron": "*/10 3-5 L * MON#1"}}},
    ),
    Case(
        "a schedule by a nickname",
        "triggers.schedule.cron needs five fields: minute hour day-of-month month day-of-week, e.g. 0 3 * * *",
        {"spec.triggers": {"schedule": {"cron": "@daily"}}},
        ('triggers.schedule.cron is "@daily"', "it needs five fields"),
        accepted={"spec.triggers": {"schedule": {"cron": "0 0 * * *", "timeZone": "America/Argentina/Buenos_Aires"}}},
    ),
    Case(
        "a time zone that is a file",
        "triggers.schedule.timeZone must be the name of a time zone, e.g. UTC or Europe/Berlin",
        {"spec.triggers": {"schedule": {"cron": "0 3 * * *", "timeZone": "../etc/localtime"}}},
        ('triggers.schedule.timeZone is "../etc/localtime"', "it must be the name of a time zone"),
        accepted={"spec.triggers": {"schedule": {"cron": "0 3 * * *", "timeZone": "Etc/GMT+12"}}},
    ),
    Case(
        "a look at the data every few seconds",
        "triggers.newData.interval must be at least 10s",
        {"spec.triggers": {"newData": {"interval": "9s"}}},
        ("triggers.newData.interval is 9s", "take at least 10s"),
        accepted={"spec.triggers": {"newData": {"interval": "10s"}}},
    ),
    Case(
        "several runs in a day and a day between two",
        "limits contradict each other: a cooldown of a day or more and several runsPerDay; remove one or lower the first",
        {"spec.limits": {"cooldown": "24h", "runsPerDay": 2}},
        ("limits.cooldown 24h lets at most one retrain begin in a day", "limits.runsPerDay asks for up to 2", "remove one"),
        accepted={"spec.limits": {"cooldown": "72h", "runsPerDay": 1}},
    ),
    Case(
        "a name that leaves no room for the names of Jobs",
        "metadata.name must have at most 36 of a-z, 0-9 and -, first a letter, last no -",
        {"metadata.name": "a" * 37},
        ("metadata.name " + "a" * 37, "37 characters", "at most 36"),
        accepted={"metadata.name": "a" * 36},
    ),
    Case(
        "a name that looks like a version's",
        "metadata.name must not end in -v<number>, which names a version; choose another name",
        {"metadata.name": "delays-v2"},
        ("metadata.name delays-v2", "choose another name"),
        accepted={"metadata.name": "delays-vx2"},
    ),
    Case(
        "a source of a kind that nothing reads",
        SOURCE_FORMS,
        {"spec.data.source.uri": "ftp://flights/2013/"},
        ("data.source.uri is ftp://flights/2013/", "write s3://"),
        accepted={"spec.data.source.uri": "s3://flights/2013/january.parquet"},
    ),
    Case(
        "a web server without TLS",
        SOURCE_FORMS,
        {"spec.data.source.uri": "http://files.example/flights.csv"},
        ("data.source.uri is http://files.example/flights.csv", "https://<host>/<path>"),
        accepted={"spec.data.source.uri": "https://files.example:8443/2013/flights.csv.gz"},
    ),
    Case(
        "a URL that carries a credential",
        SOURCE_FORMS,
        {"spec.data.source.uri": "https://files.example/flights.csv?sig=abc"},
        ("flights.csv?sig=abc", "without a query"),
        accepted={"spec.data.source.uri": "gs://flights/2013/"},
    ),
    Case(
        "an Azure URI without its account",
        SOURCE_FORMS,
        {"spec.data.source.uri": "abfss://flights/2013/"},
        ("data.source.uri is abfss://flights/2013/", "abfss://<container>@<account>"),
        accepted={"spec.data.source.uri": "abfss://flights@acme.dfs.core.windows.net/2013/"},
    ),
    Case(
        "a source in two places",
        "data.source needs exactly one of uri and pvc",
        {"spec.data.source.pvc": {"claimName": "flights"}},
        ("data.source has both uri and pvc", "keep one"),
        accepted={"spec.data.source": {"pvc": {"claimName": "flights", "path": "2013/"}}},
    ),
    Case(
        "a source in no place",
        "data.source needs exactly one of uri and pvc",
        {"spec.data.source": {}},
        ("data.source has neither uri nor pvc", "give one"),
        accepted={"spec.data.source": {"pvc": {"claimName": "flights"}}},
    ),
    Case(
        "keys for a claim",
        "data.source.secretRef is of no use with pvc, which is mounted without keys: leave it out",
        {"spec.data.source": {"pvc": {"claimName": "flights"}, "secretRef": {"name": "keys"}}},
        ("data.source.secretRef", "leave it out"),
        accepted={"spec.data.source": {"uri": "https://files.example/flights.csv", "secretRef": {"name": "keys"}}},
    ),
    Case(
        "a path that leaves its claim",
        "data.source.pvc.path must be a path from the root of the claim, without .. and without a / at its beginning",
        {"spec.data.source": {"pvc": {"claimName": "flights", "path": "2013/../../etc/"}}},
        ("data.source.pvc.path is 2013/../../etc/", "without .."),
        accepted={"spec.data.source": {"pvc": {"claimName": "flights", "path": "a..b/year=2013/january.parquet"}}},
    ),
    Case(
        "no label",
        "data.columns must name exactly one column with role: label",
        {f"{COLUMNS}.2.role": "id"},
        ("data.columns has 0 columns with role: label", "exactly one"),
    ),
    Case(
        "no feature",
        "data.columns has no column with role: feature; name at least one that the model may read",
        {f"{COLUMNS}.0.role": "id"},
        ("no column with role: feature",),
    ),
    Case(
        "two time columns",
        "data.columns must name exactly one column with role: time, because holdout.by is time",
        {f"{COLUMNS}.0.role": "time"},
        ("data.columns has 2 columns with role: time", "without a time takes holdout: {by: hash}"),
    ),
    Case(
        "two time columns beside a split by hash",
        "data.columns must name at most one column with role: time",
        {"spec.data.holdout": {"by": "hash"}, COLUMNS: [*DELAYS, {"name": "booked", "role": "time"}]},
        ("data.columns has 2 columns with role: time", "one at most"),
        accepted={"spec.data.holdout": {"by": "hash"}, f"{COLUMNS}.1.role": "id"},
    ),
    Case(
        "a split by group without a group",
        BY_GROUP,
        {"spec.data.holdout": {"by": "group"}},
        ("data.columns has 0 columns with role: group; give that role to exactly one",),
        accepted={"spec.data.holdout": {"by": "group"}, f"{COLUMNS}.1.role": "group"},
    ),
    Case(
        "a group beside a split by time",
        BY_GROUP,
        {COLUMNS: [*DELAYS, HOUSEHOLD]},
        ("a column with role: group, and holdout.by is time", "write holdout: {by: group}"),
        accepted={
            "spec.data.holdout": {"by": "group", "fraction": 0.3},
            COLUMNS: [*DELAYS, HOUSEHOLD],
        },
    ),
    Case(
        "two groups",
        BY_GROUP,
        {"spec.data.holdout": {"by": "group"}, COLUMNS: [*DELAYS, HOUSEHOLD, {"name": "street", "role": "group"}]},
        ("data.columns has 2 columns with role: group",),
        accepted={"spec.data.holdout": {"by": "group"}, COLUMNS: [*DELAYS, HOUSEHOLD]},
    ),
    Case(
        "two columns that tell which rows were made",
        "data.columns must name at most one column with role: synthetic",
        {COLUMNS: [*DELAYS, MADE, {"name": "made_too", "role": "synthetic"}]},
        ("data.columns has 2 columns with role: synthetic", "one at most"),
        accepted={COLUMNS: [*DELAYS, MADE]},
    ),
    Case(
        "another way to split the rows of a model that has versions",
        "data.holdout.by can't be changed, for rows would change sides: make a new ModelDeployment for another split",
        {"spec.data.holdout.by": "hash"},
        ("data.holdout.by was time and is hash", "set it back", "new ModelDeployment"),
        accepted={"spec.data.holdout.fraction": 0.3},
        update=True,
    ),
    Case(
        "another share of a split by hash",
        "data.holdout.fraction can't be changed with by: hash or group, for rows would change sides: make a new "
        "ModelDeployment for another split",
        {"spec.data.holdout": {"by": "hash", "fraction": 0.3}},
        ("data.holdout.fraction was 0.2 and is 0.3", "by hash", "set it back", "new ModelDeployment"),
        accepted={"spec.data.holdout": {"by": "hash", "fraction": 0.2}},
        update=True,
    ),
    Case(
        "an age of the data without a time",
        "a gate on data_age_hours needs a column of data.columns with role: time: give that role, or drop the gate",
        {"spec.data.holdout": {"by": "hash"}, f"{COLUMNS}.1.role": "id", GATES: [{"metric": "data_age_hours", "maximum": 48}]},
        ("data_age_hours needs a column", "role: time"),
        accepted={"spec.data.holdout": {"by": "hash"}, GATES: [{"metric": "data_age_hours", "maximum": 48}]},
    ),
    Case(
        "a feature with the name of the model's output",
        "a feature can't be named score, which is the model's output: rename the column in the data",
        {f"{COLUMNS}.0.name": "score"},
        ("can't be named score", "rename"),
        accepted={f"{COLUMNS}.2.name": "score"},
    ),
    Case(
        "a column's name that is no identifier",
        "a column's name has letters, digits and _, starts with no digit and not with __: rename it in the data",
        {f"{COLUMNS}.0.name": "dep hour"},
        ("column dep hour", "letters, digits and _"),
        accepted={f"{COLUMNS}.0.name": "_Dep2"},
    ),
    Case(
        "nothing held out",
        "holdout.fraction must be more than 0 and less than 1, e.g. 0.2",
        {"spec.data.holdout.fraction": 0},
        ("data.holdout.fraction is 0", "more than 0 and less than 1"),
        accepted={"spec.data.holdout.fraction": 0.5},
    ),
    Case(
        "a provenance that says nothing",
        "data.provenance is empty: give owner, licence, collectedBy or description, or remove it",
        {"spec.data.provenance": {}},
        ("data.provenance is empty", "give owner, licence, collectedBy or description"),
        accepted={"spec.data.provenance": {"owner": "flights@example.com"}},
    ),
    Case(
        "two ways to train",
        "training has both recipe and image: keep one of them",
        {"spec.training.image": "r/trainer"},
        ("both recipe and image", "keep one"),
        accepted={"spec.training": {"image": "r/trainer"}},
    ),
    Case(
        "a model that is there already, and one that is trained",
        "a ModelDeployment needs exactly one of training.recipe, training.image and model",
        {"spec.model": MODEL},
        ("both model and training.recipe", "keep one of them"),
        accepted={"spec.training": REMOVED, "spec.model": MODEL},
    ),
    Case(
        "a trigger that would retrain what is not trained",
        "triggers retrain, and a model that is there already is not trained: remove triggers, or train instead of giving model",
        {"spec.training": REMOVED, "spec.model": MODEL, "spec.triggers": {"newData": {}}},
        ("triggers retrain", "remove triggers"),
        accepted={"spec.training": {"seed": 7}, "spec.model": MODEL, "spec.triggers": {}},
    ),
    Case(
        "a model that is a prefix",
        "model.uri must be s3://<bucket>/<object>",
        {"spec.training": REMOVED, "spec.model": {**MODEL, "uri": "s3://models/delays/"}},
        ("model.uri is s3://models/delays/", "write s3://<bucket>/<object>"),
        accepted={"spec.training": REMOVED, "spec.model": {**MODEL, "secretRef": {"name": "models-read"}}},
    ),
    Case(
        "a digest that is cut short",
        "model.digest must be the sha256 of the object, 64 hexadecimal digits",
        {"spec.training": REMOVED, "spec.model": {**MODEL, "digest": "sha256:5f70bf18a086"}},
        ("model.digest is sha256:5f70bf18a086", "64 hexadecimal digits"),
        accepted={"spec.training": REMOVED, "spec.model": {**MODEL, "digest": "0" * 64}},
    ),
    Case(
        "a command without an image",
        "training.command needs training.image: a recipe has its own command; remove command",
        {"spec.training.command": ["train"]},
        ("training.command needs training.image", "remove command"),
        accepted={"spec.training": {"image": "r/trainer", "command": ["train"]}},
    ),
    Case(
        "a user for a recipe",
        "training.runAsUser needs training.image: a recipe has its own user; remove runAsUser",
        {"spec.training.runAsUser": 1000},
        ("training.runAsUser needs training.image", "remove runAsUser"),
        accepted={"spec.training": {"image": "r/trainer", "runAsUser": 1000}},
    ),
    Case(
        "a trainer that wants root",
        "training.runAsUser must be from 1 to 2147483647: root (0) is never run; give the image's files to another user",
        {"spec.training": {"image": "r/trainer", "runAsUser": 0}},
        ("training.runAsUser is 0", "root (0) is never run", "another user"),
        accepted={"spec.training": {"image": "r/trainer", "runAsUser": 2147483647}},
    ),
    Case(
        "a user past the last one",
        "training.runAsUser must be from 1 to 2147483647: root (0) is never run; give the image's files to another user",
        {"spec.training": {"image": "r/trainer", "runAsUser": 2147483648}},
        ("training.runAsUser is 2147483648", "from 1 to 2147483647"),
        accepted={"spec.training": {"image": "r/trainer", "runAsUser": 1}},
    ),
    Case(
        "an accelerator asked for twice",
        "training.resources names the accelerator's resource too: leave it to training.accelerator",
        {"spec.training.accelerator": {}, "spec.training.resources.limits": {"nvidia.com/gpu": 1}},
        ("leave it to training.accelerator",),
        accepted={"spec.training.accelerator": {"count": 2}, "spec.training.resources.limits": {"memory": "1Gi"}},
    ),
    Case(
        "an accelerator asked for on a CPU",
        "accelerator.fallbackToCPU.resources names the accelerator's resource: on a CPU there is none; remove it",
        {"spec.training.accelerator.fallbackToCPU.resources.limits": {"nvidia.com/gpu": 1}},
        ("spec.training.accelerator", "on a CPU there is none", "remove it"),
        accepted={
            "spec.training.accelerator.fallbackToCPU": {"after": "90s", "resources": {"limits": {"cpu": 4}}, "nodeSelector": {}}
        },
    ),
    Case(
        "workers of a recipe",
        "training.workers needs training.image: a recipe trains in one pod; remove workers",
        {"spec.training.workers": 2},
        ("spec.training", "training.workers is 2", "give an image of yours, or remove workers"),
        accepted={"spec.training": {"image": "r/trainer", "workers": 2, "jobLabels": {"kueue.x-k8s.io/queue-name": "team-a"}}},
    ),
    Case(
        "an accelerator without a domain",
        "accelerator.resource must be <domain>/<name>, e.g. nvidia.com/gpu",
        {"spec.training.accelerator.resource": "gpu"},
        ("training.accelerator.resource is gpu", "e.g. nvidia.com/gpu"),
        accepted={"spec.training.accelerator.resource": "amd.com/gpu"},
    ),
    Case(
        "a time-out without a unit",
        "not a duration of at least one second: write 90s, 30m or 1h30m",
        {"spec.training.timeout": "90"},
        ("spec.training.timeout", "90 is not a duration", "write 90s"),
        accepted={"spec.training.timeout": "1h30m"},
    ),
    Case(
        "a hold of no time",
        "not a duration of at least one second: write 90s, 30m or 1h30m",
        {STEPS: [{"weight": 5, "hold": "0s"}]},
        ("spec.rollout.steps[0].hold", "at least one second"),
        accepted={STEPS: [{"weight": 5, "hold": "1s"}]},
    ),
    Case(
        "a gate without a limit",
        "a gate needs exactly one of minimum, maximum, notWorseThanServingBy and minimumPerSlice",
        {GATES: [{"metric": "roc_auc"}]},
        ("gate roc_auc has 0 of minimum", "keep exactly one"),
        accepted={GATES: [{"metric": "roc_auc", "minimum": 0.7}, {"metric": "roc_auc", "notWorseThanServingBy": 0.01}]},
    ),
    Case(
        "a minimum of what should be small",
        LESS_IS_BETTER,
        {GATES: [{"metric": "calibration_error", "minimum": 0.1}]},
        ("gate calibration_error", "less is better", "give maximum"),
        accepted={GATES: [{"metric": "calibration_error", "maximum": 0.1}]},
    ),
    Case(
        "a maximum of what should be large",
        "of roc_auc, average_precision, accuracy and r2 more is better: give minimum",
        {GATES: [{"metric": "accuracy", "maximum": 0.9}]},
        ("gate accuracy", "more is better", "give minimum"),
        accepted={GATES: [{"metric": name, "maximum": 20} for name in ("model_bytes", "latency_p99_ms", "data_age_hours")]},
    ),
    Case(
        "an age beside that of the serving version",
        "model_bytes, latency_p99_ms and data_age_hours are not compared with the serving version: give maximum",
        {GATES: [{"metric": "data_age_hours", "notWorseThanServingBy": 1}]},
        ("gate data_age_hours", "not compared with the serving version", "give maximum"),
        accepted={GATES: [{"metric": "calibration_error", "notWorseThanServingBy": 0.01}]},
    ),
    Case(
        "a margin of more than all of a share",
        "roc_auc, average_precision, accuracy, calibration_error and r2 are shares: minimum and notWorseThanServingBy are from 0 "
        "to 1",
        {GATES: [{"metric": "roc_auc", "notWorseThanServingBy": 1.5}]},
        ("gate roc_auc", "notWorseThanServingBy from 0 to 1"),
        accepted={TASK: "regression", GATES: [{"metric": "rmse", "notWorseThanServingBy": 1.5}]},
    ),
    Case(
        "a class of no weight",
        "a weight of recipe.classWeights.weights must be more than 0: leave rows of a class out of the data instead",
        {CLASS_WEIGHTS: {"weights": {"0": 0, "1": 1}}},
        (CLASS_WEIGHTS, "must be more than 0"),
        accepted={CLASS_WEIGHTS: {"weights": {"0": 0.25, "1": 1}}},
    ),
    Case(
        "scores that may not differ at all",
        "evaluation.parity.maxAbsDifference must be more than 0, e.g. 0.0001",
        {"spec.evaluation.parity": {"maxAbsDifference": 0}},
        ("spec.evaluation.parity.maxAbsDifference", "must be more than 0"),
        accepted={"spec.evaluation.parity": {"maxAbsDifference": 1e-9}},
    ),
    Case(
        "a slice by the spread of its own labels",
        "minimumPerSlice is for roc_auc, average_precision and accuracy: give minimum or maximum",
        {
            TASK: "regression",
            GATES: [{"metric": "r2", "minimumPerSlice": 0.5}],
            "spec.evaluation.slices": [{"column": "dep_hour"}],
        },
        ("gate r2", "minimumPerSlice is for roc_auc"),
        accepted={TASK: "regression", GATES: [{"metric": "r2", "minimum": 0.5}]},
    ),
    Case(
        "slices of a regression",
        "a regression is not judged by slices: give its gates minimum or maximum in place of minimumPerSlice, and remove "
        "evaluation.slices",
        {TASK: "regression", GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour"}]},
        ("a regression is not judged by slices", "in place of minimumPerSlice, and remove evaluation.slices"),
        accepted={TASK: "regression", GATES: [{"metric": "rmse", "maximum": 20}]},
    ),
    Case(
        "slices of a regression by an image",
        "a regression is not judged by slices: give its gates minimum or maximum in place of minimumPerSlice, and remove "
        "evaluation.slices",
        {
            "spec.data.task": "regression",
            "spec.training": {"image": "r/x"},
            GATES: [{"metric": "r2", "minimumPerSlice": 0.5}],
            "spec.evaluation.slices": [{"column": "dep_hour"}],
        },
        ("a regression is not judged by slices", "gate r2"),
        accepted={"spec.training": {"image": "r/x"}, GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour"}]},
    ),
    Case(
        "a metric of classes for a regression",
        UNFIT,
        {TASK: "regression", GATES: [{"metric": "calibration_error", "maximum": 0.1}]},
        (
            "the task is regression, and calibration_error of a gate does not fit it",
            "take rmse, mae or r2, or another task by training.recipe.task",
        ),
        accepted={TASK: "regression", GATES: [{"metric": "mae", "maximum": 20}, {"metric": "model_bytes", "maximum": 1e6}]},
    ),
    Case(
        "a metric of numbers for a classification",
        UNFIT,
        {"spec.training": {"image": "r/x"}, GATES: [{"metric": "rmse", "maximum": 20}]},
        (
            "the task is classification, and rmse of a gate does not fit it: take roc_auc, average_precision",
            "or another task by data.task",
        ),
        accepted={"spec.training": {"image": "r/x"}, "spec.data.task": "regression", GATES: [{"metric": "rmse", "maximum": 20}]},
    ),
    Case(
        "a task that is told twice",
        "data.task is for training.image and model: a recipe is told by training.recipe.task; remove data.task",
        {"spec.data.task": "classification"},
        ("data.task is for training.image and model", "remove data.task"),
        accepted={"spec.data.task": "regression", "spec.training": REMOVED, "spec.model": MODEL},
    ),
    Case(
        "a regression by a classifier",
        "logistic-regression predicts classes: for a regression take algorithm: gradient-boosting",
        {TASK: "regression", "spec.training.recipe.algorithm": "logistic-regression"},
        ("logistic-regression predicts classes", "algorithm: gradient-boosting"),
        accepted={TASK: "multiclass", "spec.training.recipe.algorithm": "logistic-regression", GATES: SEVERAL},
    ),
    Case(
        "a metric of two classes for several",
        UNFIT,
        {TASK: "multiclass", GATES: [*SEVERAL, {"metric": "average_precision", "minimum": 0.5}]},
        ("the task is multiclass, and average_precision of a gate does not fit it", "take roc_auc, accuracy or log_loss"),
        accepted={"spec.training": {"image": "r/x"}, "spec.data.task": "multiclass", GATES: SEVERAL},
    ),
    Case(
        "a loss that should be large",
        LESS_IS_BETTER,
        {GATES: [{"metric": "log_loss", "minimum": 0.5}]},
        ("gate log_loss", "less is better", "give maximum"),
        accepted={GATES: [{"metric": "log_loss", "maximum": 0.5}, {"metric": "log_loss", "notWorseThanServingBy": 0.01}]},
    ),
    Case(
        "weights by name of several classes",
        "recipe.classWeights.weights is for two classes: for several take balanced: {}, or a column with role: weight",
        {TASK: "multiclass", GATES: SEVERAL, CLASS_WEIGHTS: {"weights": {"gold": 2, "silver": 1, "bronze": 1}}},
        ("recipe.classWeights.weights is for two classes", "take balanced: {}", "role: weight"),
        accepted={TASK: "multiclass", GATES: SEVERAL, CLASS_WEIGHTS: {"balanced": {}}},
    ),
    Case(
        "a distance of scores of several classes",
        SHIFTS,
        {TASK: "multiclass", GATES: SEVERAL, METRICS: [ERRORS, {"name": "shift", "predictionShift": {}}]},
        ("a regression and several classes have none", "remove it"),
        accepted={TASK: "multiclass", GATES: SEVERAL, METRICS: [ERRORS]},
    ),
    Case(
        "a feature with the name of the output of several classes",
        OUTPUT_NAMES,
        {TASK: "multiclass", GATES: SEVERAL, f"{COLUMNS}.0.name": "probabilities"},
        ("not probabilities, which is the model's output", "rename the column"),
        accepted={f"{COLUMNS}.0.name": "probabilities"},
    ),
    Case(
        "a column for a program that hides a probability",
        "probability_0, probability_1 and so on are there anyway where there are several classes, and no other column of "
        "evaluation.metrics.columns can have their names: rename it in the data",
        {
            TASK: "multiclass",
            COLUMNS: PROBABLE,
            OWN: {**COSTS, "columns": ["probability_0"]},
            GATES: [AT_MOST],
        },
        ("probability_0, probability_1 and so on are there anyway", "rename it in the data"),
        accepted={COLUMNS: PROBABLE, OWN: {**COSTS, "columns": ["probability_0"]}, GATES: [AT_MOST]},
    ),
    Case(
        "a distance of predictions without bounds",
        SHIFTS,
        {TASK: "regression", METRICS: [ERRORS, {"name": "shift", "predictionShift": {}}]},
        ("a regression and several classes have none", "remove it"),
        accepted={METRICS: [ERRORS, {"name": "shift", "predictionShift": {}}]},
    ),
    Case(
        "a feature with the name of a regression's output",
        OUTPUT_NAMES,
        {TASK: "regression", f"{COLUMNS}.0.name": "prediction"},
        ("can't be named prediction", "rename the column"),
        accepted={f"{COLUMNS}.0.name": "prediction"},
    ),
    Case(
        "rows that count by two columns",
        "data.columns can name one column with role: weight, by which rows count",
        {COLUMNS: [*PLAIN_COLUMNS, {"name": "a", "role": "weight"}, {"name": "b", "role": "weight"}]},
        ("data.columns has 2 columns with role: weight", "to one at most"),
        accepted={COLUMNS: [*PLAIN_COLUMNS, {"name": "a", "role": "weight"}]},
    ),
    Case(
        "classes that are weighted in two ways",
        "recipe.classWeights needs either balanced: {} or, of two classes alone, weights, e.g. {'0': 1, '1': 5}",
        {CLASS_WEIGHTS: {"balanced": {}, "weights": {"0": 1, "1": 5}}},
        ("recipe.classWeights needs either balanced: {} or, of two classes alone, weights",),
        accepted={CLASS_WEIGHTS: {"balanced": {}}},
    ),
    Case(
        "a weight of a class that is none",
        "recipe.classWeights.weights needs a number for each of the classes '0' and '1', and for no other",
        {CLASS_WEIGHTS: {"weights": {"late": 5, "1": 1}}},
        ("a number for each of the classes '0' and '1'",),
        accepted={CLASS_WEIGHTS: {"weights": {"0": 1, "1": 5}}},
    ),
    Case(
        "classes of a regression",
        "recipe.classWeights is for classes, and a regression has none: remove it",
        {TASK: "regression", CLASS_WEIGHTS: {"balanced": {}}},
        ("a regression has none", "remove it"),
        accepted={CLASS_WEIGHTS: {"balanced": {}}},
    ),
    Case(
        "slices that no gate judges",
        "evaluation.slices and a gate with minimumPerSlice need each other: give both or neither",
        {"spec.evaluation.slices": [{"column": "dep_hour"}]},
        ("spec.evaluation", "need each other"),
        accepted={GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour", "minimumRows": 50}]},
    ),
    Case(
        "a slice of a column that is none",
        "evaluation.slices must name columns of data.columns with role feature or slice: add the column with role: slice, or "
        "correct its name",
        {GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "arr_late"}]},
        ("evaluation.slices must name columns", "role: slice"),
        accepted={
            GATES: [PER_SLICE],
            "spec.evaluation.slices": [{"column": "carrier"}],
            COLUMNS: [*deployment()["spec"]["data"]["columns"], {"name": "carrier", "role": "slice"}],
        },
    ),
    Case(
        "slices by a column that may not be used",
        "evaluation.slices must name columns of data.columns with role feature or slice: add the column with role: slice, or "
        "correct its name",
        {
            GATES: [PER_SLICE],
            "spec.evaluation.slices": [{"column": "origin"}],
            COLUMNS: [*DELAYS, {"name": "origin", "role": "sensitive"}],
        },
        ("evaluation.slices must name columns", "role feature or slice"),
        accepted={COLUMNS: [*DELAYS, {"name": "origin", "role": "sensitive"}, {"name": "name", "role": "sensitive"}]},
    ),
    Case(
        "a reason to leak for a column that is not read",
        "allowLeakage is for columns with role feature or time, which are looked at for leakage: remove it",
        {COLUMNS: [*DELAYS, {"name": "origin", "role": "sensitive", "allowLeakage": "known to all"}]},
        ("column origin has role sensitive", "remove allowLeakage"),
        accepted={COLUMNS: [*DELAYS, {"name": "origin", "role": "sensitive"}]},
    ),
    Case(
        "a slice of a metric that is not judged by slices",
        "minimumPerSlice is for roc_auc, average_precision and accuracy: give minimum or maximum",
        {GATES: [{"metric": "gain", "minimumPerSlice": 1}], "spec.evaluation.slices": [{"column": "dep_hour"}], OWN: GAINS},
        ("gate gain", "minimumPerSlice is for roc_auc"),
        accepted={GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour"}]},
    ),
    Case(
        "a share of more than all",
        "roc_auc, average_precision, accuracy, calibration_error and r2 are shares: minimum and notWorseThanServingBy are from 0 "
        "to 1",
        {GATES: [{"metric": "roc_auc", "minimum": 1.5}]},
        ("gate roc_auc", "it is a share", "from 0 to 1"),
        accepted={GATES: [{"metric": "roc_auc", "minimum": 1}, {"metric": "gain", "minimum": -2.5}], OWN: GAINS},
    ),
    Case(
        "a size of less than nothing",
        "calibration_error, log_loss, rmse, mae, model_bytes, latency_p99_ms and data_age_hours are never under 0: give a "
        "maximum from 0 on",
        {GATES: [{"metric": "model_bytes", "maximum": -1}]},
        ("gate model_bytes", "never under 0"),
        accepted={GATES: [{"metric": "model_bytes", "maximum": 0}, {**AT_MOST, "maximum": -1}], OWN: COSTS},
    ),
    Case(
        "a gate on a metric that nobody measures",
        "a gate's metric must be roc_auc, average_precision, accuracy, calibration_error, log_loss, rmse, mae, r2, model_bytes, "
        "latency_p99_ms, data_age_hours, or one that evaluation.metrics.values names",
        {GATES: [AT_MOST, {"metric": "costs", "maximum": 3}], OWN: COSTS},
        ("gate costs: there is no such metric", "evaluation.metrics.values"),
        accepted={GATES: [AT_MOST, {"metric": "cost", "notWorseThanServingBy": 20}], OWN: COSTS},
    ),
    Case(
        "a metric that no gate asks for",
        "evaluation.metrics.values names a metric that no gate holds anything against: add a gate, or remove it",
        {GATES: [{"metric": "roc_auc", "minimum": 0.7}], OWN: COSTS},
        ("evaluation.metrics.values names cost", "add a gate"),
        accepted={GATES: [AT_MOST], OWN: COSTS},
    ),
    Case(
        "a minimum of a cost",
        "of a metric with better: less a gate gives maximum",
        {GATES: [{"metric": "cost", "minimum": 3}], OWN: COSTS},
        ("gate cost", "less is better", "give maximum"),
        accepted={GATES: [AT_MOST], OWN: COSTS},
    ),
    Case(
        "a maximum of a gain",
        "of a metric with better: more a gate gives minimum",
        {GATES: [{"metric": "gain", "maximum": 3}], OWN: GAINS},
        ("gate gain", "more is better", "give minimum"),
        accepted={GATES: [{"metric": "gain", "minimum": 3}], OWN: GAINS},
    ),
    Case(
        "a metric with the name of another",
        "a metric of your own can't have the name of one that is measured anyway: rename it",
        {GATES: [{"metric": "accuracy", "minimum": 0.5}], OWN: {**COSTS, "values": [{"name": "accuracy", "better": "more"}]}},
        ("accuracy is measured anyway", "another name"),
        accepted={GATES: [{"metric": "our_accuracy", "minimum": 0.5}], OWN: OURS},
    ),
    Case(
        "a metric without an image",
        "evaluation.metrics needs an image that holds the program: add evaluation.metrics.image, for training has none of yours",
        {GATES: [AT_MOST], OWN: PROGRAM},
        ("add evaluation.metrics.image",),
        accepted={GATES: [AT_MOST], OWN: PROGRAM, "spec.training": {"image": "r/trainer@sha256:1"}},
    ),
    Case(
        "a metric of a column that is none",
        "evaluation.metrics.columns must name columns of data.columns with role feature, id, time or slice: add the column, or "
        "correct its name",
        {GATES: [AT_MOST], OWN: {**COSTS, "columns": ["dep_hour", "arr_late"]}},
        ("evaluation.metrics.columns must name columns", "correct its name"),
        accepted={GATES: [AT_MOST], OWN: {**COSTS, "columns": ["dep_hour", "time_hour"]}},
    ),
    Case(
        "a column that would be the model's score",
        "label and score are there anyway, and no other column can have their names: rename it in the data",
        {GATES: [AT_MOST], OWN: {**COSTS, "columns": ["score"]}, COLUMNS: SCORED},
        ("label and score are there anyway", "rename it"),
        accepted={GATES: [AT_MOST], OWN: {**COSTS, "columns": ["scores"]}, COLUMNS: SCORED},
    ),
    Case(
        "a label that may leak",
        "allowLeakage is for columns with role feature or time, which are looked at for leakage: remove it",
        {f"{COLUMNS}.2.allowLeakage": "it is the label"},
        ("column arr_late has role label", "remove allowLeakage"),
        accepted={f"{COLUMNS}.0.allowLeakage": "known at the gate"},
    ),
    Case(
        "a path without a slash",
        "route.path starts with / and does not end in it, e.g. /delays",
        {"spec.serving.route.path": "delays"},
        ("serving.route.path is delays", "starts with /"),
        accepted={"spec.serving.route.path": "/team/delays"},
    ),
    Case(
        "a rule of one's own and a route that is made",
        ROUTE_FORMS,
        {f"{ROUTE}.httpRoute": {"name": "shop", "rule": "predict"}},
        ("serving.route has httpRoute, and beside it parentRefs, hostnames or path", "keep httpRoute alone"),
        accepted={ROUTE: {"httpRoute": {"name": "shop", "rule": "predict"}}},
    ),
    Case(
        "a rule of one's own with hostnames",
        ROUTE_FORMS,
        {ROUTE: {"httpRoute": {"name": "shop", "rule": "predict"}, "hostnames": ["shop.example.com"]}},
        ("serving.route has httpRoute, and beside it parentRefs, hostnames or path",),
        accepted={ROUTE: {"parentRefs": [{"name": "gw"}], "hostnames": ["shop.example.com"], "path": "/delays"}},
    ),
    Case(
        "a route without a path",
        ROUTE_FORMS,
        {f"{ROUTE}.path": REMOVED},
        ("serving.route has no path: give one",),
    ),
    Case(
        "a route without a Gateway",
        ROUTE_FORMS,
        {f"{ROUTE}.parentRefs": REMOVED},
        ("serving.route has no parentRefs: name the Gateways",),
    ),
    Case(
        "a route that says nothing",
        ROUTE_FORMS,
        {ROUTE: {}},
        ("serving.route has neither httpRoute nor parentRefs and path",),
        accepted={ROUTE: {"httpRoute": {"name": "shop", "rule": "predict"}}, "spec.rollout.shadow": {"hold": "1m"}},
    ),
    Case(
        "weights that fall",
        "rollout.steps must have rising weights",
        {STEPS: [{"weight": 25, "hold": "1m"}, {"weight": 5, "hold": "1m"}]},
        ("[25, 5]", "more than the one before"),
        accepted={STEPS: [{"weight": 5, "hold": "1m"}, {"weight": 25, "hold": "1m"}]},
    ),
    Case(
        "weights that stand still",
        "rollout.steps must have rising weights",
        {STEPS: [{"weight": 5, "hold": "1m"}, {"weight": 5, "hold": "1m"}]},
        ("[5, 5]",),
    ),
    Case(
        "a metric of two kinds",
        "a rollout metric needs exactly one of errors, latency, prometheus, job and predictionShift",
        {METRICS: [{"name": "mixed", "errors": {}, "latency": {"slowerThan": "50ms"}}]},
        ("metric mixed has more than one of errors, latency, prometheus, job and predictionShift",),
        accepted={METRICS: [{"name": "errors", "errors": {}}, {"name": "slow", "latency": {"slowerThan": "50ms"}}]},
    ),
    Case(
        "a predictionShift with a margin",
        "a predictionShift has no tolerance, margin or objective: it compares scores, not bad answers",
        {METRICS: [ERRORS, {"name": "scores", "predictionShift": {}, "margin": 2}]},
        ("metric scores is a predictionShift", "take tolerance, margin and objective out", "maxDistance"),
        accepted={METRICS: [ERRORS, {"name": "scores", "predictionShift": {"maxDistance": 0.2}}]},
    ),
    Case(
        "a job with a tolerance",
        "a job has no tolerance, margin or objective: it says itself what is bad",
        {METRICS: [{"name": "acceptance", "job": {"image": "checks"}, "tolerance": 2}]},
        ("metric acceptance is a job", "take tolerance, margin and objective out", "have the Job judge by them"),
        accepted={METRICS: [{"name": "acceptance", "job": {"image": "checks", "every": "1m", "failureLimit": 2}}]},
    ),
    Case(
        "a job that runs all the time",
        "a job's every must be at least 10s",
        {METRICS: [{"name": "acceptance", "job": {"image": "checks", "every": "9s"}}]},
        ("rollout.metrics[0].job.every", "a job's every is 9s", "take at least 10s"),
        accepted={METRICS: [{"name": "acceptance", "job": {"image": "checks", "every": "10s"}}]},
    ),
    Case(
        "a shadow that nothing judges",
        "rollout.shadow needs a metric that mirrored requests can be judged by: add {name: errors, errors: {}}",
        {"spec.rollout.shadow": {"hold": "1m"}, METRICS: [{"name": "acceptance", "job": {"image": "checks"}}]},
        ("spec.rollout", "rollout.shadow needs a metric"),
        accepted={"spec.rollout.shadow": {"hold": "1m"}, METRICS: [{"name": "slow", "latency": {"slowerThan": "50ms"}}]},
    ),
    Case(
        "metrics that take nothing back",
        "rollout.metrics needs one that can take a candidate back, e.g. {name: errors, errors: {}}: a predictionShift cannot",
        {METRICS: [{"name": "scores", "predictionShift": {}}]},
        ("spec.rollout.metrics", "a predictionShift cannot"),
        accepted={METRICS: [ERRORS, {"name": "scores", "predictionShift": {}}]},
    ),
    Case(
        "steps by default on one replica without a route",
        UNMADE_STEPS,
        {ROUTE: REMOVED},
        ("rollout.steps has weight 5", "take 50, the nearest for serving.replicas 1, or serving.replicas 16", "give a route"),
        accepted={ROUTE: REMOVED, STEPS: [{"weight": 50, "hold": "1m"}]},
    ),
    Case(
        "a weight between what pods can make",
        UNMADE_STEPS,
        {ROUTE: REMOVED, "spec.serving.replicas": 3, STEPS: [{"weight": 25, "hold": "1m"}, {"weight": 33, "hold": "1m"}]},
        ("rollout.steps has weight 33", "take 25, the nearest for serving.replicas 3, or serving.replicas 2"),
        accepted={
            ROUTE: REMOVED,
            "spec.serving.replicas": 2,
            STEPS: [{"weight": 33, "hold": "1m"}, {"weight": 50, "hold": "1m"}],
        },
    ),
    Case(
        "more pods for the candidate than for stable",
        UNMADE_STEPS,
        {ROUTE: REMOVED, STEPS: [{"weight": 50, "hold": "1m"}, {"weight": 80, "hold": "1m"}]},
        ("rollout.steps has weight 80", "weights end at 50"),
        accepted={STEPS: [{"weight": 50, "hold": "1m"}, {"weight": 80, "hold": "1m"}]},
    ),
    Case(
        "a hold-back that pods cannot make",
        "rollout.watch.holdBack cannot be made of pods: without serving.route it is a share of pods; give a route, or more "
        "serving.replicas",
        {ROUTE: REMOVED, "spec.serving.replicas": 2, STEPS: [{"weight": 33, "hold": "1m"}], "spec.rollout.watch": {"for": "1h"}},
        ("rollout.watch.holdBack is 10", "take 33, the nearest for serving.replicas 2, or serving.replicas 8"),
        accepted={
            ROUTE: REMOVED,
            "spec.serving.replicas": 2,
            STEPS: [{"weight": 33, "hold": "1m"}],
            "spec.rollout.watch": {"for": "1h", "holdBack": 33},
        },
    ),
    Case(
        "a margin that nothing could be under",
        "a metric's margin is an odds ratio of more than 1 and at most 10, e.g. 2",
        {METRICS: [{"name": "errors", "errors": {}, "margin": 1}]},
        ("margin is 1", "more than 1 and at most 10"),
        accepted={METRICS: [{"name": "errors", "errors": {}, "margin": 2}]},
    ),
    Case(
        "a margin within the tolerance",
        "a metric's margin must be more than its tolerance (1.25 for latency and 1 for others when not given)",
        {METRICS: [{"name": "slow", "latency": {"slowerThan": "50ms"}, "margin": 1.2}]},
        ("metric slow has margin 1.2", "more than the tolerance", "raise margin or lower tolerance"),
        accepted={METRICS: [{"name": "slow", "latency": {"slowerThan": "50ms"}, "margin": 1.2, "tolerance": 1.1}]},
    ),
    Case(
        "an objective that is always met",
        "objective.maxRate must be more than 0 and less than 1, e.g. 0.02",
        {METRICS: [{"name": "errors", "errors": {}, "objective": {"maxRate": 1}}]},
        ("objective.maxRate is 1", "e.g. 0.02"),
        accepted={METRICS: [{"name": "errors", "errors": {}, "objective": {"maxRate": 0.02}}]},
    ),
    Case(
        "a shadow without a route",
        "rollout.shadow needs serving.route: requests are mirrored by the route; give a route or remove rollout.shadow",
        {"spec.rollout.shadow": {"hold": "1m"}, "spec.serving.route": REMOVED},
        ("serving.route",),
        accepted={"spec.rollout.shadow": {"hold": "1m", "percent": 50}},
    ),
    Case(
        "a query that selects no version",
        "the expression must select one version by $(version), which stands for <name>-v<number>",
        {METRICS: [{"name": "orders", "prometheus": {**ORDERS, "good": "sum(good_total)"}}]},
        ("rollout.metrics[0].prometheus.good", "sum(good_total) does not select one version", "use $(version)"),
        accepted={METRICS: [{"name": "orders", "prometheus": ORDERS}]},
    ),
    Case(
        "a query with a placeholder that is unknown",
        "the expression has a placeholder that is unknown: $(version), $(name) and $(namespace) are known",
        {METRICS: [{"name": "orders", "prometheus": {**ORDERS, "total": 'sum(all_total{v="$(version)",n="$(number)"})'}}]},
        ("rollout.metrics[0].prometheus.total", "a placeholder that is unknown", "$(version), $(name) and $(namespace)"),
        accepted={
            METRICS: [{"name": "a", "prometheus": {**ORDERS, "total": 'sum(all_total{v="$(version)",m="$(namespace)/$(name)"})'}}]
        },
    ),
    Case(
        "a hyperparameter that gradient boosting does not know",
        f"training.recipe.hyperparameters is wrong: {TAKES['gradient-boosting']}",
        {HYPER: {"depth": 3, "max_iter": 100}},
        (
            "training.recipe.hyperparameters.depth is 3: gradient-boosting takes",
            "learning_rate (0.001 to 1)",
            "max_iter (1 to 5000, whole)",
        ),
        accepted={HYPER: {name: limits.most for name, limits in HYPERPARAMETERS["gradient-boosting"].items()}},
    ),
    Case(
        "a hyperparameter of gradient boosting out of its range",
        f"training.recipe.hyperparameters is wrong: {TAKES['gradient-boosting']}",
        {HYPER: {"learning_rate": 7.5, "max_iter": 100}},
        ("training.recipe.hyperparameters.learning_rate is 7.5: gradient-boosting takes", "learning_rate (0.001 to 1)"),
        accepted={HYPER: {name: limits.least for name, limits in HYPERPARAMETERS["gradient-boosting"].items()}},
    ),
    Case(
        "a hyperparameter of gradient boosting that has to be whole",
        f"training.recipe.hyperparameters is wrong: {TAKES['gradient-boosting']}",
        {HYPER: {"max_iter": 10.5}},
        ("training.recipe.hyperparameters.max_iter is 10.5", "max_iter (1 to 5000, whole)"),
        accepted={HYPER: {"max_iter": 10.0}},
    ),
    Case(
        "a hyperparameter that logistic regression does not know",
        f"training.recipe.hyperparameters is wrong: {TAKES['logistic-regression']}",
        {**LOGISTIC, HYPER: {"learning_rate": 0.1}},
        (
            "training.recipe.hyperparameters.learning_rate is 0.1",
            "logistic-regression takes C (1e-06 to 1000000), max_iter (1 to 10000, whole)",
        ),
        accepted={**LOGISTIC, HYPER: {"C": 0.5, "max_iter": 10_000}},
    ),
    Case(
        "a smoke run's hyperparameter that gradient boosting does not know",
        f"training.smoke.hyperparameters is wrong: {TAKES['gradient-boosting']}",
        {FAST: {"epochs": 1}},
        ("training.smoke.hyperparameters.epochs is 1: gradient-boosting takes", "max_iter (1 to 5000, whole)"),
        accepted={"spec.training": {"image": "r/trainer", "smoke": {"hyperparameters": {"epochs": 1}}}},
    ),
    Case(
        "a smoke run's hyperparameter of logistic regression out of its range",
        f"training.smoke.hyperparameters is wrong: {TAKES['logistic-regression']}",
        {**LOGISTIC, FAST: {"max_iter": 0}},
        ("training.smoke.hyperparameters.max_iter is 0: logistic-regression takes", "max_iter (1 to 10000, whole)"),
        accepted={**LOGISTIC, FAST: {"max_iter": 1}},
    ),
    Case(
        "a smoke run with a route",
        SMOKE,
        {"spec.smoke": {}},
        ("never served", "remove serving.route, or remove smoke"),
        accepted={"spec.smoke": {"expiresAfter": "1h"}, ROUTE: REMOVED},
    ),
    Case(
        "a smoke run that waits for approval",
        SMOKE,
        {"spec.smoke": {}, ROUTE: REMOVED, "spec.approval": {}},
        ("never served", "remove approval, or remove smoke"),
        accepted={"spec.approval": {}},
    ),
    Case(
        "a smoke run that is pinned",
        SMOKE,
        {"spec.smoke": {}, ROUTE: REMOVED, "spec.pin": 1},
        ("never served", "remove pin, or remove smoke"),
        accepted={"spec.smoke": {}, ROUTE: REMOVED},
    ),
    Case(
        "a smoke run with a schedule",
        "a smoke run is judged once and never retrained: remove triggers, or remove smoke",
        {"spec.smoke": {}, ROUTE: REMOVED, "spec.triggers": {"schedule": {"cron": "0 3 * * *"}}},
        ("never retrained", "remove triggers"),
        accepted={"spec.triggers": {"schedule": {"cron": "0 3 * * *"}}},
    ),
    Case(
        "a model that becomes a smoke run",
        "smoke can be neither added nor removed: a smoke run is an object of its own, see kubectl perennial smoke",
        {"spec.smoke": {}},
        ("neither added nor removed",),
        accepted={ROUTE: REMOVED, STEPS: [{"weight": 50, "hold": "1m"}]},
        update=True,
    ),
    Case(
        "inputs that change",
        "a ModelVersion's spec never changes: change the ModelDeployment, and a new version is made",
        {"spec.training.seed": 8},
        ("never changes",),
        kind="ModelVersion",
        update=True,
    ),
    Case(
        "a version named otherwise than its number",
        "metadata.name must be <modelDeployment>-v<number>",
        {"metadata.name": "delays-v4"},
        ("metadata.name is delays-v4", "must be delays-v3"),
        kind="ModelVersion",
    ),
)

BOUNDS = (
    ("a holdout of everything", {"spec.data.holdout.fraction": 1}, "data.holdout.fraction is 1"),
    ("neither recipe nor image", {"spec.training": {}}, "neither recipe nor image"),
    ("neither a training nor a model", {"spec.training": REMOVED}, "neither recipe nor image"),
    ("an image beside a model", {"spec.training": {"image": "r/x"}, "spec.model": MODEL}, "both model and training.image"),
    ("a model of no digest", {"spec.training": REMOVED, "spec.model": {"uri": MODEL["uri"]}}, "digest"),
    ("a signature by no key", {"spec.signing": {}}, "spec.signing.secretRef"),
    ("a split by something that is not known", {"spec.data.holdout.by": "luck"}, "spec.data.holdout.by"),
    ("a task that is none", {TASK: "ranking"}, "spec.training.recipe.task"),
    ("a role that is none", {f"{COLUMNS}.0.role": "whatever"}, "spec.data.columns[0].role"),
    ("the same column twice", {f"{COLUMNS}.0.name": "arr_late"}, "Duplicate value"),
    ("the same metric twice", {METRICS: [{"name": "a", "errors": {}}, {"name": "a", "errors": {}}]}, "Duplicate value"),
    ("a job without an image", {METRICS: [{"name": "a", "job": {}}]}, "image"),
    ("a job that runs for no time", {METRICS: [{"name": "a", "job": {"image": "x", "timeout": "0s"}}]}, "timeout"),
    ("a job that may fail for ever", {METRICS: [{"name": "a", "job": {"image": "x", "failureLimit": 1000}}]}, "failureLimit"),
    ("a distance of more than all", {METRICS: [{"name": "a", "predictionShift": {"maxDistance": 2}}]}, "maxDistance"),
    ("a margin that shows nothing", {METRICS: [{"name": "a", "errors": {}, "margin": 11}]}, "spec.rollout.metrics[0].margin"),
    ("an objective of no bad answer", {METRICS: [{"name": "a", "errors": {}, "objective": {"maxRate": 0}}]}, "maxRate is 0"),
    ("an objective without a rate", {METRICS: [{"name": "a", "errors": {}, "objective": {}}]}, "objective.maxRate"),
    ("a slice without a column", {GATES: [PER_SLICE], "spec.evaluation.slices": [{}]}, "spec.evaluation.slices[0].column"),
    (
        "a slice of no rows",
        {GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour", "minimumRows": 1}]},
        "minimumRows",
    ),
    ("the same slices twice", {GATES: [PER_SLICE], "spec.evaluation.slices": [{"column": "dep_hour"}] * 2}, "Duplicate value"),
    ("a leak that is allowed for no reason", {f"{COLUMNS}.0.allowLeakage": ""}, "allowLeakage"),
    ("a bound that is no amount", {GATES: [{**AT_MOST, "maximum": 1e13}], OWN: COSTS}, "maximum"),
    ("a metric that is better in no way", {GATES: [AT_MOST], OWN: {**COSTS, "values": [{"name": "cost"}]}}, "better"),
    ("a metric without a program", {GATES: [AT_MOST], OWN: {**COSTS, "command": []}}, "spec.evaluation.metrics.command"),
    ("a program that measures nothing", {GATES: [AT_MOST], OWN: {**COSTS, "values": []}}, "spec.evaluation.metrics.values"),
    (
        "the same metric of one's own twice",
        {GATES: [AT_MOST], OWN: {**COSTS, "values": PROGRAM["values"] * 2}},
        "Duplicate value",
    ),
    ("a program that gets a column twice", {GATES: [AT_MOST], OWN: {**COSTS, "columns": ["dep_hour"] * 2}}, "Duplicate value"),
    ("a program of no time", {GATES: [AT_MOST], OWN: {**COSTS, "timeout": "0s"}}, "spec.evaluation.metrics.timeout"),
    ("a step of all traffic", {STEPS: [{"weight": 100, "hold": "1m"}]}, "spec.rollout.steps[0].weight"),
    ("a shadow of nothing", {"spec.rollout.shadow": {"hold": "1m", "percent": 0}}, "spec.rollout.shadow.percent"),
    ("a shadow of more than all", {"spec.rollout.shadow": {"hold": "1m", "percent": 101}}, "spec.rollout.shadow.percent"),
    ("a shadow without a hold", {"spec.rollout.shadow": {}}, "spec.rollout.shadow.hold"),
    ("a shadow of no time", {"spec.rollout.shadow": {"hold": "0s"}}, "spec.rollout.shadow.hold"),
    ("no step", {STEPS: []}, "spec.rollout.steps"),
    (
        "an address in place of a source's name",
        {METRICS: [{"name": "a", "prometheus": {**ORDERS, "source": "http://prometheus:9090"}}]},
        "spec.rollout.metrics[0].prometheus.source",
    ),
    (
        "a metric of no kind",
        {METRICS: [{"name": "a"}]},
        "metric a has none of errors, latency, prometheus, job and predictionShift",
    ),
    ("a latency bound that no pod counts", {METRICS: [{"name": "s", "latency": {"slowerThan": "51ms"}}]}, "slowerThan"),
    ("a smoke run that never goes", {"spec.smoke": {"expiresAfter": "0s"}, ROUTE: REMOVED}, "spec.smoke.expiresAfter"),
    ("hyperparameters that are words", {"spec.training.smoke": {"hyperparameters": {"a": "b"}}}, "smoke.hyperparameters"),
    ("a hyperparameter that no whole number is near", {HYPER: {"max_leaf_nodes": 1e300}}, "max_leaf_nodes"),
    ("no replica", {"spec.serving.replicas": 0}, "spec.serving.replicas"),
    ("no rows", {"spec.data.minimumRows": 0}, "spec.data.minimumRows"),
    ("a rule of no name", {ROUTE: {"httpRoute": {"name": "shop", "rule": ""}}}, "spec.serving.route.httpRoute.rule"),
    ("an HTTPRoute without a rule", {ROUTE: {"httpRoute": {"name": "shop"}}}, "spec.serving.route.httpRoute.rule"),
    (
        "a rule in another namespace",
        {ROUTE: {"httpRoute": {"name": "team/shop", "rule": "a"}}},
        "spec.serving.route.httpRoute.name",
    ),
    ("no Gateway", {"spec.serving.route.parentRefs": []}, "spec.serving.route.parentRefs"),
    ("a certain rollback", {"spec.rollout.falseRollbackRate": 1}, "spec.rollout.falseRollbackRate"),
    ("a schedule without a time", {"spec.triggers": {"schedule": {}}}, "spec.triggers.schedule.cron"),
    ("a day of no runs", {"spec.limits": {"runsPerDay": 0}}, "spec.limits.runsPerDay"),
    ("a day of more runs than are counted", {"spec.limits": {"runsPerDay": 101}}, "spec.limits.runsPerDay"),
    ("no attempt", {"spec.limits": {"stopAfterFailures": 0}}, "spec.limits.stopAfterFailures"),
    ("a cooldown of no time", {"spec.limits": {"cooldown": "0s"}}, "spec.limits.cooldown"),
    ("no data", {"spec.data": REMOVED}, "spec.data"),
    ("no spec", {"spec": REMOVED}, "spec"),
)
"""Further objects that the schema refuses: what, the edits, and a word of the answer."""
