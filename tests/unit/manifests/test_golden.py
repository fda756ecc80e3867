"""Every manifest of revision 1, word by word: what a version was rendered with must never change under it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from perennial.api.evaluation import Evaluation
from perennial.api.metrics import JobMetric
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelVersionSpec, ModelVersionStatus
from perennial.core.actions import (
    ApplyServing,
    CreateJob,
    CreateLedgerJob,
    CreateMetricJob,
    CreatePollJob,
    CreateReproduceJob,
    Event,
)
from perennial.core.observed import Meta, Mirror, Version
from perennial.manifests.common import VERSION_LABEL
from perennial.manifests.event import event
from perennial.manifests.jobs import job, ledger_job, poll_job
from perennial.manifests.reproducing import reproduce_job
from perennial.manifests.route import http_route
from perennial.manifests.service import model_service
from perennial.manifests.serving import serving
from perennial.manifests.version import model_version
from perennial.manifests.workers import workers_service
from perennial.ports import Manifest
from perennial_runtime.contract import (
    STEP_VARIABLE,
    Column,
    CompareSpec,
    EvaluateSpec,
    GateSpec,
    LedgerSpec,
    OwnMetric,
    OwnMetrics,
    PollSpec,
    PrepareSpec,
    ServeSpec,
    TrainSpec,
    decode,
)

GOLDEN = Path(__file__).parent / "golden"
META = Meta(namespace="flights", name="delays", uid="d1", generation=1, resource_version="7")
OURS = {"recipe": {"algorithm": "gradient-boosting", "hyperparameters": {"max_iter": 100}}, "seed": 7}
THEIRS = {
    "image": "registry.example/trainer@sha256:3",
    "command": ["python", "train.py"],
    "accelerator": {"resource": "nvidia.com/gpu", "count": 1},
    "resources": {"limits": {"cpu": "4", "memory": "8Gi"}},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "training", "effect": "NoSchedule"}],
    "nodeSelector": {"pool": "gpu"},
    "affinity": {"nodeAffinity": {}},
    "imagePullSecrets": [{"name": "pull"}],
    "serviceAccountName": "trainer",
    "podLabels": {"team": "risk", "perennial.dev/model": "not-this"},
    "priorityClassName": "batch",
    "timeout": "30m",
}
ON_CPU = {"limits": {"cpu": "8", "memory": "4Gi"}}
TOGETHER = {
    "image": "registry.example/trainer@sha256:3",
    "workers": 2,
    "accelerator": {
        "resource": "nvidia.com/gpu",
        "count": 4,
        "fallbackToCPU": {"nodeSelector": {}, "resources": ON_CPU},
    },
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "nodeSelector": {"pool": "gpu"},
    "jobLabels": {"kueue.x-k8s.io/queue-name": "team-a", "perennial.dev/model": "not-this"},
}
SPEC: dict[str, Any] = {
    "data": {
        "source": {"uri": "s3://flights/2013/", "secretRef": {"name": "s3"}},
        "columns": [
            {"name": "hour", "role": "feature"},
            {"name": "time", "role": "time"},
            {"name": "late", "role": "label"},
        ],
    },
    "training": OURS,
    "serving": {
        "replicas": 2,
        "podLabels": {"team": "risk"},
        "route": {"parentRefs": [{"name": "gw", "namespace": "infra"}], "hostnames": ["models.example.com"], "path": "/delays"},
    },
}


def wish(training: dict[str, Any] | None = None, source: dict[str, Any] | None = None) -> ModelDeploymentSpec:
    data = {**SPEC["data"], "source": source or SPEC["data"]["source"]}
    return ModelDeploymentSpec.model_validate({**SPEC, "data": data, "training": training or OURS})


def version(training: dict[str, Any] | None = None, source: dict[str, Any] | None = None) -> Version:
    spec = wish(training, source)
    frozen = ModelVersionSpec.model_validate(
        {
            "modelDeployment": "delays",
            "number": 2,
            "trigger": {"reason": "SpecChanged"},
            "inputsDigest": "sha256:4",
            "data": spec.data.model_dump(by_alias=True, exclude_none=True),
            "training": spec.training.model_dump(by_alias=True, exclude_none=True),
            "evaluation": {},
            "runtime": {"servingImage": "r/runtime@sha256:1", "trainingImage": "r/training@sha256:2", "manifestRevision": 1},
            "store": {
                "uri": "s3://store/flights/d1",
                "secretName": "perennial-store",
                "servingSecretName": "perennial-store-read",
            },
        }
    )
    meta = Meta(namespace="flights", name="delays-v2", uid="v2", generation=1, resource_version="8")
    return Version(meta, frozen, ModelVersionStatus())


OWN: dict[str, Any] = {
    "command": ["python3", "/metric/cost.py"],
    "columns": ["hour"],
    "values": [{"name": "cost", "better": "less"}],
    "timeout": "5m",
}


def measuring(training: dict[str, Any] | None = None, **metrics: Any) -> Version:
    """A version with a metric of the user's own."""
    found = version(training)
    gates = [{"metric": "cost", "maximum": 2.5}]
    evaluation = Evaluation.model_validate({"gates": gates, "metrics": {**OWN, **metrics}})
    return replace(found, spec=found.spec.model_copy(update={"evaluation": evaluation}))


PREPARE = PrepareSpec("delays-v2", "v2", "s3://store/flights/d1", "s3://flights/2013/", (Column("hour", "feature"),), 0.2, 1000)
CLAIM = {"pvc": {"claimName": "flights", "path": "2013/"}}
TRAIN = TrainSpec("delays-v2", "v2", 1, "s3://store/flights/d1", "t", "s", 7, algorithm="gradient-boosting")
EVALUATE = EvaluateSpec("delays-v2", "v2", "s3://store/flights/d1", "m", "p", "t", "h", "s", 1e-4, (GateSpec("roc_auc", 0.7),), 7)
EVALUATE_OWN = replace(
    EVALUATE, gates=(GateSpec("cost", maximum=2.5),), own=OwnMetrics((OwnMetric("cost", less_is_better=True),), ("hour",))
)
MEASURE = JobMetric.model_validate(
    {
        "image": "registry.example/checks@sha256:5",
        "command": ["python", "check.py"],
        "secretRef": {"name": "warehouse"},
        "timeout": "2m",
        "podLabels": {"team": "risk", "perennial.dev/metric": "not-this"},
    }
)
LEDGER = CreateLedgerJob(
    48,
    LedgerSpec("delays", "s3://store/flights/d1", ('{"number":1,"message":"$(HOME) é"}',)),
    "perennial-store",
    "r/runtime@sha256:1",
)
REPRODUCE = CreateReproduceJob(
    2,
    1,
    replace(TRAIN, uid="v2-reproduce-1", scratch=True),
    CompareSpec("delays-v2", "s3://store/flights/d1", "m", "t", "s"),
    "registry.example/training@sha256:2",
    "r/training@sha256:3",
)
WORKERS = CreateJob(2, "train", 1, replace(TRAIN, algorithm=None))
POLL = CreatePollJob(4, PollSpec("delays", "s3://flights/2013/"), "flights-read", "r/runtime@sha256:1")
SERVE = ApplyServing(2, 2, ServeSpec("delays-v2", "s3://store/flights/d1", "bento", "identity"))


def render() -> dict[str, Manifest]:
    deployment, service = serving("delays", version(), wish().serving, SERVE)
    said = Event("Normal", "Promoted", "v2 serves")
    return {
        "job-prepare": job("delays", version(), CreateJob(2, "prepare", 1, PREPARE)),
        "job-prepare-claim": job(
            "delays", version(source=CLAIM), CreateJob(2, "prepare", 1, replace(PREPARE, source="file:///perennial/source/2013/"))
        ),
        "job-train-recipe": job("delays", version(), CreateJob(2, "train", 1, TRAIN)),
        "job-train-image": job("delays", version(THEIRS), CreateJob(2, "train", 2, replace(TRAIN, attempt=2, algorithm=None))),
        "job-train-workers": job("delays", version(TOGETHER), WORKERS),
        "job-train-workers-on-cpu": job("delays", version(TOGETHER), replace(WORKERS, attempt=2, on_cpu=True)),
        "service-of-the-workers": workers_service("delays", version(TOGETHER), WORKERS) or {},
        "job-evaluate": job("delays", version(), CreateJob(2, "evaluate", 1, EVALUATE)),
        "job-evaluate-own-metric": job(
            "delays", measuring(image="registry.example/cost@sha256:6"), CreateJob(2, "evaluate", 1, EVALUATE_OWN)
        ),
        "job-metric": job(
            "delays", version(), CreateMetricJob(2, "acceptance", 3, MEASURE, (("PERENNIAL_CANDIDATE", "delays-v2"),))
        ),
        "job-reproduce": reproduce_job("delays", version(), REPRODUCE),
        "job-ledger": ledger_job(META, wish(THEIRS).training, LEDGER),
        "job-poll": poll_job(META, wish(THEIRS).training, POLL),
        "deployment": deployment,
        "service": service,
        "service-of-the-model": model_service(META),
        "httproute": http_route(META, wish().serving.route, ((1, 95), (2, 5))),
        "httproute-shadow": http_route(META, wish().serving.route, ((1, 100),), Mirror(2, 20)),
        "modelversion": model_version(META, version().spec),
        "event": event(META, "9", said, datetime(2026, 1, 1, tzinfo=UTC)),
    }


RENDERED = render()


def test_no_service_sends_requests_to_the_pod_of_a_metric() -> None:
    labels = RENDERED["job-metric"]["spec"]["template"]["metadata"]["labels"]
    for name in ("service", "service-of-the-model"):
        selector = RENDERED[name]["spec"]["selector"]
        assert not selector.items() <= labels.items(), name
    assert RENDERED["job-metric"]["metadata"]["labels"][VERSION_LABEL] == "2", "which says whose Job it is"


@pytest.mark.parametrize("job_name", ["job-ledger", "job-poll"])
def test_no_service_sends_requests_to_the_pod_that_stores_a_ledger_or_looks_at_the_data(job_name: str) -> None:
    labels = RENDERED[job_name]["spec"]["template"]["metadata"]["labels"]
    for name in ("service", "service-of-the-model"):
        assert not RENDERED[name]["spec"]["selector"].items() <= labels.items(), name


def test_no_service_sends_requests_to_the_pod_that_trains_a_version_again() -> None:
    labels = RENDERED["job-reproduce"]["spec"]["template"]["metadata"]["labels"]
    for name in ("service", "service-of-the-model"):
        assert not RENDERED[name]["spec"]["selector"].items() <= labels.items(), name


def test_a_version_is_trained_again_in_the_same_container_and_what_compares_only_reads() -> None:
    first, again = (RENDERED[name]["spec"]["template"]["spec"] for name in ("job-train-recipe", "job-reproduce"))
    (before,), (now,) = first["containers"], again["containers"]
    differ = {key for key in before if before[key] != now[key]}
    assert differ == {"image", "env"}
    assert [one["name"] for one in again["initContainers"]] == ["fetch", "compare"]
    compare = again["initContainers"][1]
    assert [one["mountPath"] for one in compare["volumeMounts"] if not one.get("readOnly")] == ["/perennial/work", "/tmp"]


def test_the_kubelet_puts_no_variable_into_what_a_step_is_given() -> None:
    variables = {one["name"]: one["value"] for one in RENDERED["job-ledger"]["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert "$" not in variables[STEP_VARIABLE]
    assert decode(LedgerSpec, variables[STEP_VARIABLE]) == LEDGER.input


def volumes(manifest: Manifest) -> dict[str, Manifest]:
    return {volume["name"]: volume for volume in manifest["spec"]["template"]["spec"]["volumes"]}


def test_a_claim_is_mounted_read_only_and_only_where_the_data_is_prepared() -> None:
    assert volumes(RENDERED["job-prepare-claim"])["claim"]["persistentVolumeClaim"] == {"claimName": "flights", "readOnly": True}
    [container] = RENDERED["job-prepare-claim"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "claim", "mountPath": "/perennial/source", "readOnly": True} in container["volumeMounts"]
    claimed = version(source=CLAIM)
    for action in (CreateJob(2, "train", 1, TRAIN), CreateJob(2, "evaluate", 1, EVALUATE)):
        assert "claim" not in volumes(job("delays", claimed, action))


def test_a_claim_is_mounted_read_only_and_nothing_else_where_its_files_are_listed() -> None:
    look = replace(POLL, input=replace(POLL.input, source="file:///perennial/source/2013/", claim="flights"), secret=None)
    found = poll_job(META, wish(source=CLAIM).training, look)
    assert volumes(found)["claim"]["persistentVolumeClaim"] == {"claimName": "flights", "readOnly": True}
    assert set(volumes(found)) == {"claim", "tmp"}
    [container] = found["spec"]["template"]["spec"]["containers"]
    assert {"name": "claim", "mountPath": "/perennial/source", "readOnly": True} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ({"uri": "s3://flights/2013/"}, "perennial-store"),
        ({"uri": "gs://flights/2013/", "secretRef": {"name": "google"}}, "google"),
        ({"uri": "gs://flights/2013/"}, None),
        ({"uri": "https://files.example/flights.csv"}, None),
    ],
    ids=["S3 by the store's keys", "Google by its own", "Google as anybody", "a web server as anybody"],
)
def test_the_stores_keys_are_lent_to_no_other_source_than_s3(source: dict[str, Any], secret: str | None) -> None:
    found = volumes(job("delays", version(source=source), CreateJob(2, "prepare", 1, PREPARE))).get("source")
    assert (found["secret"]["secretName"] if found else None) == secret


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_a_manifest_is_what_it_was(name: str, request: pytest.FixtureRequest) -> None:
    path = GOLDEN / f"{name}.yaml"
    plain = json.loads(json.dumps(RENDERED[name]))
    if request.config.getoption("--update", False):
        path.write_text(yaml.safe_dump(plain, sort_keys=True, width=120))
    assert plain == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", sorted(set(RENDERED) - {"httproute", "httproute-shadow", "modelversion"}))
def test_a_manifest_fits_kubernetes_schema(name: str) -> None:
    kubernetes_validate.validate(json.loads(json.dumps(RENDERED[name])), "1.31", strict=True)


def test_every_golden_file_is_of_a_manifest() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(RENDERED)


def containers(manifest: Manifest) -> list[Manifest]:
    pod = manifest["spec"]["template"]["spec"]
    return [*pod.get("initContainers", []), *pod["containers"]]


PODS = [name for name, manifest in RENDERED.items() if manifest["kind"] in ("Job", "Deployment")]


@pytest.mark.parametrize("name", PODS)
def test_every_pod_keeps_the_restricted_profile(name: str) -> None:
    pod = RENDERED[name]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 65532)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(RENDERED[name]):
        security = container["securityContext"]
        assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_image_runs_as_the_user_that_was_asked_for_and_as_restricted_as_any() -> None:
    again = CreateJob(2, "train", 2, replace(TRAIN, attempt=2, algorithm=None))
    rendered = job("delays", version({**THEIRS, "runAsUser": 1000}), again)
    kubernetes_validate.validate(json.loads(json.dumps(rendered)), "1.31", strict=True)
    pod = rendered["spec"]["template"]["spec"]
    (trainer,) = pod["containers"]
    (plain,) = RENDERED["job-train-image"]["spec"]["template"]["spec"]["containers"]
    assert trainer["securityContext"] == {**plain["securityContext"], "runAsUser": 1000, "runAsGroup": 1000}
    assert {"HOME": "/tmp", "TMPDIR": "/tmp"}.items() <= {one["name"]: one["value"] for one in trainer["env"]}.items()
    ours = RENDERED["job-train-image"]["spec"]["template"]["spec"]
    assert (pod["securityContext"], pod["initContainers"]) == (ours["securityContext"], ours["initContainers"])


@pytest.mark.parametrize("name", PODS)
def test_every_container_has_requests_and_limits_so_that_a_quota_admits_it(name: str) -> None:
    for container in containers(RENDERED[name]):
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


@pytest.mark.parametrize("name", ["job-train-recipe", "job-train-image"])
def test_the_trainer_gets_no_credentials(name: str) -> None:
    (trainer,) = RENDERED[name]["spec"]["template"]["spec"]["containers"]
    secrets = {volume["name"] for volume in RENDERED[name]["spec"]["template"]["spec"]["volumes"] if "secret" in volume}
    assert secrets == {"store"}
    assert not secrets & {mount["name"] for mount in trainer["volumeMounts"]}


def test_a_program_of_the_users_own_shares_nothing_with_our_containers_but_what_it_reads_and_writes() -> None:
    score, program, evaluate = containers(RENDERED["job-evaluate-own-metric"])
    assert [one["name"] for one in (score, program, evaluate)] == ["score", "metrics", "evaluate"]
    mounts = {
        one["name"]: {found["name"]: found.get("readOnly", False) for found in one["volumeMounts"]}
        for one in (score, program, evaluate)
    }
    assert mounts["metrics"] == {"rows": True, "values": False, "metrics-tmp": False}
    assert mounts["score"] == {"work": False, "store": True, "rows": False, "tmp": False}
    assert mounts["evaluate"] == {"work": False, "store": True, "values": True, "tmp": False}
    assert {one["mountPath"] for one in program["volumeMounts"]} == {"/perennial/rows", "/perennial/values", "/tmp"}
    assert STEP_VARIABLE not in {one["name"] for one in program["env"]}, "it is told nothing of the store"


def test_the_trainers_image_measures_as_the_trainers_user_and_another_image_as_any() -> None:
    action = CreateJob(2, "evaluate", 1, EVALUATE_OWN)
    for training, image, expected in (
        ({**THEIRS, "runAsUser": 1000}, None, ("registry.example/trainer@sha256:3", 1000)),
        ({**THEIRS, "runAsUser": 1000}, "registry.example/cost@sha256:6", ("registry.example/cost@sha256:6", None)),
        (THEIRS, None, ("registry.example/trainer@sha256:3", None)),
    ):
        _, program, _ = containers(job("delays", measuring(training, image=image), action))
        assert (program["image"], program["securityContext"].get("runAsUser")) == expected


def test_the_pod_has_the_programs_time_on_top_of_ours() -> None:
    plain, own = (RENDERED[name]["spec"]["template"]["spec"] for name in ("job-evaluate", "job-evaluate-own-metric"))
    assert own["activeDeadlineSeconds"] == plain["activeDeadlineSeconds"] + 300


def test_the_server_gets_no_credentials_and_reads_the_bento_only() -> None:
    (server,) = RENDERED["deployment"]["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in server["volumeMounts"]}
    assert mounts == {"bento": True, "tmp": False}


def test_the_accelerator_is_asked_for_by_the_train_container_and_nowhere_else() -> None:
    asking = [
        (name, container["name"])
        for name in PODS
        for container in containers(RENDERED[name])
        if "nvidia.com/gpu" in container["resources"].get("limits", {})
    ]
    assert asking == [("job-train-image", "train"), ("job-train-workers", "train")]
    tolerations = RENDERED["job-train-image"]["spec"]["template"]["spec"]["tolerations"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists"} in tolerations


def test_on_a_cpu_nothing_leads_to_the_accelerator_any_more_and_what_else_is_said_of_nodes_holds() -> None:
    pod = RENDERED["job-train-workers-on-cpu"]["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    (trainer,) = pod["containers"]
    assert trainer["resources"] == ON_CPU
    told = {one["name"]: one.get("value") for one in trainer["env"]}
    assert (told["PERENNIAL_DEVICE"], told["PERENNIAL_ACCELERATOR"], told["PET_NPROC_PER_NODE"]) == ("cpu", "", "1")


def test_without_a_wish_for_the_cpu_the_same_is_said_of_its_nodes() -> None:
    plain = {**THEIRS, "accelerator": {"resource": "nvidia.com/gpu", "fallbackToCPU": {}}}
    action = CreateJob(2, "train", 2, replace(TRAIN, attempt=2, algorithm=None), on_cpu=True)
    pod = job("delays", version(plain), action)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == THEIRS["tolerations"]
    assert pod["containers"][0]["resources"] == THEIRS["resources"]


def test_workers_have_names_by_which_each_finds_the_others() -> None:
    made, service = RENDERED["job-train-workers"], RENDERED["service-of-the-workers"]
    pod, labels = made["spec"]["template"]["spec"], made["spec"]["template"]["metadata"]["labels"]
    assert (made["spec"]["completionMode"], made["spec"]["completions"], made["spec"]["parallelism"]) == ("Indexed", 2, 2)
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= labels.items()
    told = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert told["MASTER_ADDR"] == "delays-v2-train-1-0.delays-v2-train"
    assert told["PERENNIAL_MACHINES"] == ",".join(f"delays-v2-train-1-{index}.delays-v2-train:12400" for index in (0, 1))


def test_labels_of_the_train_job_are_on_no_other_object_and_ours_win_there_too() -> None:
    labels = RENDERED["job-train-workers"]["metadata"]["labels"]
    assert (labels["kueue.x-k8s.io/queue-name"], labels["perennial.dev/model"]) == ("team-a", "delays")
    assert "kueue.x-k8s.io/queue-name" not in RENDERED["job-train-workers"]["spec"]["template"]["metadata"]["labels"]
    prepare = job("delays", version(TOGETHER), CreateJob(2, "prepare", 1, PREPARE))
    assert "kueue.x-k8s.io/queue-name" not in prepare["metadata"]["labels"]


def test_our_labels_win_over_the_users() -> None:
    labels = RENDERED["job-train-image"]["spec"]["template"]["metadata"]["labels"]
    assert (labels["perennial.dev/model"], labels["team"]) == ("delays", "risk")


def test_an_eviction_is_ignored_before_any_exit_code_is_read() -> None:
    rules = RENDERED["job-train-recipe"]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "FailJob", "FailJob"]


def test_the_digest_says_nothing_of_replicas_and_weights() -> None:
    more, _ = serving("delays", version(), wish().serving, replace(SERVE, replicas=5))
    assert more["metadata"]["annotations"] == RENDERED["deployment"]["metadata"]["annotations"]
    moved = http_route(META, wish().serving.route, ((2, 100),))
    assert moved["metadata"]["annotations"] == RENDERED["httproute"]["metadata"]["annotations"]


def test_a_mirror_of_everything_names_no_share() -> None:
    """Gateways may mirror without knowing shares."""
    route = http_route(META, wish().serving.route, ((1, 100),), Mirror(2, 100))
    assert "percent" not in route["spec"]["rules"][0]["filters"][1]["requestMirror"]


def test_the_digest_changes_with_the_pod() -> None:
    changed = wish().serving.model_copy(update={"pod_labels": {"team": "other"}})
    other, _ = serving("delays", version(), changed, SERVE)
    assert other["metadata"]["annotations"] != RENDERED["deployment"]["metadata"]["annotations"]


def test_the_models_service_covers_the_serving_pods_of_every_version_and_no_job() -> None:
    selector = RENDERED["service-of-the-model"]["spec"]["selector"]
    labels = {name: RENDERED[name]["spec"]["template"]["metadata"]["labels"] for name in PODS}
    assert {name for name, found in labels.items() if selector.items() <= found.items()} == {"deployment"}
    assert "perennial.dev/version" not in selector


def test_an_events_name_follows_from_what_it_tells() -> None:
    later = datetime(2027, 1, 1, tzinfo=UTC)
    again = event(META, "9", Event("Normal", "Promoted", "v2 serves"), later)
    assert again["metadata"]["name"] == RENDERED["event"]["metadata"]["name"]


@pytest.mark.parametrize("name", ["job-train-image", "job-train-recipe"])
def test_the_reporter_cannot_lose_the_signal_of_a_trainer_that_ends_at_once(name: str) -> None:
    reporter = next(container for container in containers(RENDERED[name]) if container["name"] == "reporter")
    assert reporter["command"][:3] == ["env", "--block-signal=TERM", "python3"]
