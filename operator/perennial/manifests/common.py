"""What all rendered objects share: labels, owners, security contexts, volumes, and the digest of what was rendered.

Used by the other modules of `perennial.manifests`; the label names are read back by `perennial.adapters.observe`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perennial.api.pods import PodOptions, ResourceRequirements
from perennial.core.observed import Meta, Version
from perennial_runtime.contract import API_VERSION, GROUP, STEP_VARIABLE, USER, Command, as_variable

Manifest = dict[str, Any]

MODEL_LABEL = f"{GROUP}/model"
OPERATOR_LABEL = f"{GROUP}/operator"
"""On a ModelDeployment that an operator of that name looks after, for instance a new version of the operator on trial."""
VERSION_LABEL = f"{GROUP}/version"
STEP_LABEL = f"{GROUP}/step"
ROLE_LABEL = f"{GROUP}/role"
METRIC_LABEL = f"{GROUP}/metric"
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
"""On each pod of an Indexed Job, by its controller."""
RENDERED_ANNOTATION = f"{GROUP}/rendered"
CLAIM_PREFIX = f"{GROUP}/claim."
"""Of annotations on somebody else's HTTPRoute, one for each ModelDeployment that borrows rules of it, whose name follows."""
FINALIZER = f"{GROUP}/borrowed-rule"
MANAGED_BY = {"app.kubernetes.io/managed-by": "perennial"}

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SECRET_MODE = 0o440


@dataclass(frozen=True, slots=True)
class Owner:
    """Who an object belongs to: it goes when the owner goes."""

    kind: str
    name: str
    uid: str


def deployment_owner(meta: Meta) -> Owner:
    """The ModelDeployment as owner."""
    return Owner("ModelDeployment", meta.name, meta.uid)


def version_owner(version: Version) -> Owner:
    """The ModelVersion as owner."""
    return Owner("ModelVersion", version.meta.name, version.meta.uid)


def metadata(name: str, namespace: str, owner: Owner, labels: Mapping[str, str]) -> Manifest:
    """Name, labels and the controlling owner."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": dict(labels),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def version_labels(model: str, version: int) -> dict[str, str]:
    """Labels of every object of a version; also the selector of its Deployment and Service."""
    return {MODEL_LABEL: model, VERSION_LABEL: str(version)}


def pod_spec(options: PodOptions) -> Manifest:
    """The part of a pod that is the same for all: restricted, without a token, in the user's account and priority."""
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if options.service_account_name:
        spec["serviceAccountName"] = options.service_account_name
    if options.priority_class_name:
        spec["priorityClassName"] = options.priority_class_name
    if options.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret.name} for secret in options.image_pull_secrets]
    return spec


def placement(options: PodOptions, tolerations: Sequence[Manifest] = ()) -> Manifest:
    """Where the pod may run, as the user says, with further tolerations."""
    wanted = [*(toleration.model_dump(by_alias=True, exclude_none=True) for toleration in options.tolerations), *tolerations]
    spec: Manifest = {}
    if wanted:
        spec["tolerations"] = wanted
    if options.node_selector:
        spec["nodeSelector"] = dict(options.node_selector)
    if options.affinity:
        spec["affinity"] = options.affinity
    return spec


def container(name: str, image: str, mounts: Sequence[Manifest], resources: Manifest, command: Command | None = None) -> Manifest:
    """A container in the restricted profile that reads and writes only what is mounted; `command` is one of ours."""
    rendered: Manifest = {
        "name": str(name),
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": resources,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "File",
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an emptyDir, the pod's own
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108
    }
    if command:
        rendered["command"] = ["python3", "-m", "perennial_runtime", str(command)]
    return rendered


def with_env(rendered: Manifest, values: Mapping[str, str]) -> Manifest:
    """The container with further environment variables."""
    return {**rendered, "env": [*rendered["env"], *({"name": name, "value": value} for name, value in values.items())]}


def with_step(rendered: Manifest, step: str) -> Manifest:
    """The container with its input, JSON of the contract."""
    return with_env(rendered, {STEP_VARIABLE: as_variable(step)})


def resources(cpu: str, memory: str, cpu_limit: str, memory_limit: str) -> Manifest:
    """Requests and limits of a container of ours; both, so that a namespace with a quota admits it."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_limit, "memory": memory_limit}}


def resources_of(wish: ResourceRequirements, default: Manifest) -> Manifest:
    """What the user asks for, as it is; the default only when nothing is said."""
    said = wish.model_dump(by_alias=True, exclude_defaults=True)
    return said or default


def mount(name: str, path: str, *, read_only: bool = False) -> Manifest:
    """A volume's place in a container."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def empty_dir(name: str) -> Manifest:
    """Space that lives as long as the pod."""
    return {"name": name, "emptyDir": {}}


def secret_volume(name: str, secret: str) -> Manifest:
    """A Secret as files. Optional: with none the container starts and says so, where the kubelet would wait for ever."""
    return {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": SECRET_MODE}}


def pointer(key: str) -> str:
    """A key as part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def digest(value: object) -> str:
    """sha256 of canonical JSON, shortened: what RENDERED_ANNOTATION holds."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
