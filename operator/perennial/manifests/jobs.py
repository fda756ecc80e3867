"""A version's Jobs: prepare, train and evaluate, and those that measure it for a metric; and a model's, which store its ledger
and look at its data source.

Every attempt is a Job of its own (backoffLimit 0, the operator counts); evictions cost no attempt (Ignore comes first). The
deadline is the pod's, not the Job's: the Job's would delete the pod and the evidence. Read back by `perennial.adapters.observe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perennial.api.base import seconds
from perennial.api.training import FallbackToCpu, Training
from perennial.core.actions import CreateJob, CreateLedgerJob, CreateMetricJob, CreatePollJob
from perennial.core.inputs import job_name, ledger_job_name, poll_job_name, source_secret
from perennial.core.jobs import LEDGER_STEP, METRIC_CONTAINER, METRIC_STEP, POLL_STEP
from perennial.core.observed import Meta, Version
from perennial.manifests import own_metrics
from perennial.manifests.common import (
    MANAGED_BY,
    METRIC_LABEL,
    MODEL_LABEL,
    ROLE_LABEL,
    STEP_LABEL,
    VERSION_LABEL,
    Manifest,
    container,
    deployment_owner,
    empty_dir,
    metadata,
    mount,
    placement,
    pod_spec,
    resources,
    resources_of,
    secret_volume,
    version_labels,
    version_owner,
    with_env,
    with_step,
)
from perennial.manifests.quantities import larger
from perennial.manifests.source import source_volumes
from perennial.manifests.workers import as_indexed, rendezvous
from perennial_runtime.contract import (
    EXIT_REFUSED,
    MODEL_SECRET_PATH,
    OUT_PATH,
    PARAMS_LINK,
    SIGNING_SECRET_PATH,
    STORE_SECRET_PATH,
    TRAIN_FILE,
    WORK_PATH,
    Command,
    Container,
    encode,
)

OWN_STEP_SECONDS = 3600
"""Deadline of prepare and evaluate."""
GRACE_SECONDS = 180
"""Time for the reporter to upload what is there when the pod is ended, also while the store is away for a while."""
DATA_PATH = TRAIN_FILE.rpartition("/")[0]

_STEP_RESOURCES = resources("250m", "512Mi", "2", "2Gi")
_FETCH_RESOURCES = resources("50m", "128Mi", "1", "512Mi")
_REPORTER_RESOURCES = resources("20m", "96Mi", "500m", "512Mi")
_POLL_RESOURCES = resources("20m", "64Mi", "500m", "256Mi")
_TRAIN_RESOURCES = resources("500m", "512Mi", "2", "4Gi")
_METRIC_RESOURCES = resources("50m", "64Mi", "1", "512Mi")
_HOMELESS = {"TMPDIR": "/tmp", "USER": "trainer"}  # noqa: S108 - an emptyDir, the pod's own
"""For libraries that look for the user's folders or its name, which the image may not know; HOME is /tmp for every container."""
METRIC_SECRET_PATH = "/perennial/secret"
METRIC_GRACE_SECONDS = 10
LEDGER_SECONDS = 600
"""Deadline of the Job that stores a ledger: it writes one small object."""
LEDGER_GRACE_SECONDS = 10
POLL_SECONDS = 300
"""Deadline of the Job that looks at the data source: it lists names."""
POLL_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class _Pod:
    containers: list[Manifest]
    init: list[Manifest]
    volumes: list[Manifest]
    deadline: int
    watched: tuple[str, ...]
    """Containers whose exit code 64 ends the Job at once."""


def job(model: str, version: Version, action: CreateJob | CreateMetricJob) -> Manifest:
    """The Job of one attempt of a step, or of one run of a metric."""
    return _step_job(model, version, action) if isinstance(action, CreateJob) else _metric_job(model, version, action)


def _step_job(model: str, version: Version, action: CreateJob) -> Manifest:
    namespace = version.meta.namespace
    training = version.spec.training
    pod = _train(version, action) if action.step == "train" else _own(version, action)
    labels = {**version_labels(model, action.version), STEP_LABEL: action.step, ROLE_LABEL: "train", **MANAGED_BY}
    template: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "activeDeadlineSeconds": pod.deadline,
        **pod_spec(training),
        **(_placement(training, on_cpu=action.on_cpu) if action.step == "train" else {}),
        "containers": pod.containers,
        "volumes": [*pod.volumes, empty_dir("tmp")],
    }
    if pod.init:
        template["initContainers"] = pod.init
    name = job_name(model, action.version, action.step, action.attempt)
    of_job = {**training.job_labels, **labels} if action.step == "train" else labels
    made = _job(
        metadata(name, namespace, version_owner(version), of_job),
        {"metadata": {"labels": {**training.pod_labels, **labels}}, "spec": template},
        pod.watched,
    )
    return as_indexed(made, version, training.workers) if action.step == "train" and training.workers > 1 else made


def _metric_job(model: str, version: Version, action: CreateMetricJob) -> Manifest:
    """One container of the user's, without credentials but those of its own Secret.

    Its pod has no version label, by which the version's Service selects: it would get the requests that it is to send.
    """
    wish = action.job
    labels = {
        **version_labels(model, action.version),
        STEP_LABEL: METRIC_STEP,
        ROLE_LABEL: "measure",
        METRIC_LABEL: action.metric,
        **MANAGED_BY,
    }
    secret = wish.secret_ref
    mounts = [mount("secret", METRIC_SECRET_PATH, read_only=True)] if secret else []
    wanted = resources_of(wish.resources, _METRIC_RESOURCES)
    measure = with_env(container(METRIC_CONTAINER, wish.image, mounts, wanted), dict(action.environment))
    template: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": METRIC_GRACE_SECONDS,
        "activeDeadlineSeconds": max(1, int(seconds(wish.timeout))),
        **pod_spec(wish),
        **placement(wish),
        "containers": [{**measure, "command": list(wish.command)} if wish.command else measure],
        "volumes": [*([secret_volume("secret", secret.name)] if secret else []), empty_dir("tmp")],
    }
    name = job_name(model, action.version, METRIC_STEP, action.run)
    return _job(
        metadata(name, version.meta.namespace, version_owner(version), labels),
        {"metadata": {"labels": {**wish.pod_labels, **_without_version(labels)}}, "spec": template},
    )


def ledger_job(meta: Meta, training: Training, action: CreateLedgerJob) -> Manifest:
    """One container of ours with the store's credentials, in the account and with the pull Secrets of the other steps."""
    labels = {MODEL_LABEL: meta.name, STEP_LABEL: LEDGER_STEP, ROLE_LABEL: "train", **MANAGED_BY}
    mounts = [mount("store", STORE_SECRET_PATH, read_only=True)]
    store = container(Container.LEDGER, action.image, mounts, _FETCH_RESOURCES, Command.LEDGER)
    template: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": LEDGER_GRACE_SECONDS,
        "activeDeadlineSeconds": LEDGER_SECONDS,
        **pod_spec(training),
        "containers": [with_step(store, encode(action.input))],
        "volumes": [secret_volume("store", action.secret), empty_dir("tmp")],
    }
    return _job(
        metadata(ledger_job_name(meta.name, action.last), meta.namespace, deployment_owner(meta), labels),
        {"metadata": {"labels": {**training.pod_labels, **labels}}, "spec": template},
        (Container.LEDGER,),
    )


def poll_job(meta: Meta, training: Training, action: CreatePollJob) -> Manifest:
    """One container of ours with the source's Secret or claim, in the account and with the pull Secrets of the other steps."""
    labels = {MODEL_LABEL: meta.name, STEP_LABEL: POLL_STEP, ROLE_LABEL: "train", **MANAGED_BY}
    mounts, volumes = source_volumes(action.input.claim, action.secret)
    look = container(Container.POLL, action.image, mounts, _POLL_RESOURCES, Command.POLL)
    template: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": POLL_GRACE_SECONDS,
        "activeDeadlineSeconds": POLL_SECONDS,
        **pod_spec(training),
        "containers": [with_step(look, encode(action.input))],
        "volumes": [*volumes, empty_dir("tmp")],
    }
    return _job(
        metadata(poll_job_name(meta.name, action.number), meta.namespace, deployment_owner(meta), labels),
        {"metadata": {"labels": {**training.pod_labels, **labels}}, "spec": template},
        (Container.POLL,),
    )


def _without_version(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != VERSION_LABEL}


def _job(meta: Manifest, template: Manifest, watched: Sequence[str] = ()) -> Manifest:
    """One pod, tried once; `watched` are the containers whose exit code 64 ends the Job at once."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podFailurePolicy": {"rules": _failure_rules(watched)},
            "template": template,
        },
    }


def _failure_rules(watched: Sequence[str]) -> list[Manifest]:
    refused = [
        {"action": "FailJob", "onExitCodes": {"containerName": str(name), "operator": "In", "values": [EXIT_REFUSED]}}
        for name in watched
    ]
    return [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}, *refused]


def _own(version: Version, action: CreateJob) -> _Pod:
    """prepare and evaluate: one container of ours with the store's credentials and scratch space."""
    mounts = [mount("work", WORK_PATH), mount("store", STORE_SECRET_PATH, read_only=True)]
    volumes = [empty_dir("work"), secret_volume("store", version.spec.store.secret_name)]
    if action.step == "prepare":
        source, store_secret = version.spec.data.source, version.spec.store.secret_name
        places, found = source_volumes(source.pvc.claim_name if source.pvc else None, source_secret(source, store_secret))
        mounts, volumes = [*mounts, *places], [*volumes, *found]
    for volume, path, secret in _further(version, action.step):
        mounts.append(mount(volume, path, read_only=True))
        volumes.append(secret_volume(volume, secret))
    name, step, wanted = Container(action.step), encode(action.input), _step_resources(version)
    own = version.spec.evaluation.metrics if action.step == "evaluate" else None
    if own is not None:
        mounts, volumes = [*mounts, own_metrics.values_mount()], [*volumes, *own_metrics.volumes()]
    main = with_step(container(name, version.spec.runtime.training_image, mounts, wanted, Command(action.step)), step)
    if own is None:
        return _Pod([main], [], volumes, OWN_STEP_SECONDS, (name,))
    before, most = own_metrics.before_evaluate(version, own, step, wanted), OWN_STEP_SECONDS + int(seconds(own.timeout))
    return _Pod([main], before, volumes, most, (name, Container.SCORE, Container.METRICS))


def _further(version: Version, step: str) -> Iterator[tuple[str, str, str]]:
    """Secrets of what not every version has, as (volume, where it is mounted, Secret)."""
    model, signing = version.spec.model, version.spec.signing
    if step == "prepare" and model is not None:
        yield "model", MODEL_SECRET_PATH, model.secret_ref.name if model.secret_ref else version.spec.store.secret_name
    if step == "evaluate" and signing is not None:
        yield "signing", SIGNING_SECRET_PATH, signing.secret_ref.name


def _step_resources(version: Version) -> Manifest:
    """Data that needs a trainer with more memory needs a step of ours with more memory."""
    wanted = str(version.spec.training.resources.limits.get("memory", ""))
    limits = _STEP_RESOURCES["limits"]
    return {**_STEP_RESOURCES, "limits": {**limits, "memory": larger(limits["memory"], wanted)}}


def _train(version: Version, action: CreateJob) -> _Pod:
    """fetch brings the data, train makes the model, reporter uploads it when train has ended."""
    step = encode(action.input)
    serving_image = version.spec.runtime.serving_image
    store = mount("store", STORE_SECRET_PATH, read_only=True)
    folders = [mount("data", DATA_PATH), mount("out", OUT_PATH)]  # an earlier attempt's checkpoint goes back into out
    fetch = container(Container.FETCH, serving_image, [*folders, store], _FETCH_RESOURCES, Command.FETCH)
    reporter = container(
        Container.REPORTER, serving_image, [mount("out", OUT_PATH), store], _REPORTER_RESOURCES, Command.REPORTER
    )
    return _Pod(
        containers=[_trainer(version, action, step)],
        init=[with_step(fetch, step), {**with_step(deaf_at_first(reporter), step), "restartPolicy": "Always"}],
        volumes=[empty_dir("data"), empty_dir("out"), secret_volume("store", version.spec.store.secret_name)],
        deadline=max(1, int(seconds(version.spec.training.timeout))),
        watched=(Container.TRAIN, Container.FETCH),
    )


def deaf_at_first(reporter: Manifest) -> Manifest:
    """SIGTERM waits until the reporter listens. A trainer may end while Python still starts there; as process 1 it would lose
    the signal, and the pod would hang for its whole grace period."""
    return {**reporter, "command": ["env", "--block-signal=TERM", *reporter["command"]]}


def _trainer(version: Version, action: CreateJob, step: str) -> Manifest:
    """The train container: no credentials, no token; the only one that gets the accelerator."""
    training = version.spec.training
    accelerator = None if action.on_cpu else training.accelerator
    fallback = _fallback(training) if action.on_cpu else None
    wanted = resources_of((fallback and fallback.resources) or training.resources, _TRAIN_RESOURCES)
    if accelerator:
        limits = {**wanted.get("limits", {}), accelerator.resource: accelerator.count}
        wanted = {**wanted, "limits": limits}
    mounts = [
        mount("data", DATA_PATH, read_only=True),
        {**mount("data", PARAMS_LINK, read_only=True), "subPath": "params.json"},
        mount("out", OUT_PATH),
    ]
    environment = {
        "PERENNIAL_SEED": str(training.seed),
        "PERENNIAL_DEVICE": "gpu" if accelerator else "cpu",
        "PERENNIAL_ACCELERATOR": accelerator.resource if accelerator else "",
    }
    if training.recipe:
        ours = container(Container.TRAIN, version.spec.runtime.training_image, mounts, wanted, Command.RECIPE)
        return with_step(with_env(ours, environment), step)
    theirs = _as_user(with_env(container(Container.TRAIN, training.image or "", mounts, wanted), environment), training)
    if training.workers > 1:
        job = job_name(version.spec.model_deployment, version.number, action.step, action.attempt)
        processes = accelerator.count if accelerator else 1
        theirs = {**theirs, "env": [*theirs["env"], *rendezvous(version, job, training.workers, processes)]}
    return {**theirs, "command": list(training.command)} if training.command else theirs


def _as_user(rendered: Manifest, training: Training) -> Manifest:
    """The trainer as the user that was asked for; the pod's fsGroup gives any user its folders."""
    user = training.run_as_user
    if user is None:
        return rendered
    security = {**rendered["securityContext"], "runAsUser": user, "runAsGroup": user}
    return with_env({**rendered, "securityContext": security}, _HOMELESS)


def _placement(training: Training, *, on_cpu: bool) -> Manifest:
    """Where a train pod may run. Nodes with an accelerator are commonly tainted with its resource name.

    On a CPU what the user says of the nodes still holds, but for what `fallbackToCPU` puts in its place.
    """
    fallback = _fallback(training)
    if not on_cpu or fallback is None:
        tolerated = [training.accelerator.resource] if training.accelerator and not on_cpu else []
        return placement(training, [{"key": key, "operator": "Exists"} for key in tolerated])
    given = {name: getattr(fallback, name) for name in ("node_selector", "tolerations", "affinity")}
    return placement(training.model_copy(update={name: wish for name, wish in given.items() if wish is not None}))


def _fallback(training: Training) -> FallbackToCpu | None:
    return training.accelerator.fallback_to_cpu if training.accelerator else None
