"""The S3 store of the cluster: SeaweedFS in a restricted pod, with a key that may write and one that may only read.

Its data survive its pod (a volume on node1), so tests may take the store away and bring it back.
"""

import base64
import json
import secrets
from collections.abc import Mapping

from cluster import images, shell
from cluster.controlplane import apply, kubectl
from cluster.errors import ClusterError
from cluster.settings import Settings

NAMESPACE = "perennial-store"
PORT = 8333
ENDPOINT = f"http://store.{NAMESPACE}.svc:{PORT}"
REGION = "us-east-1"
WRITER, READER = "perennial-store", "perennial-store-read"
LABELS = {"app.kubernetes.io/name": "store", "app.kubernetes.io/part-of": "perennial-dev"}
USER = 65532

Keys = Mapping[str, tuple[str, str]]


def keys(settings: Settings) -> Keys:
    """Access and secret key of each identity; drawn once for a cluster."""
    file = settings.state / "store-keys.json"
    if not file.exists():
        drawn = {name: [secrets.token_hex(10), secrets.token_hex(20)] for name in (WRITER, READER)}
        shell.write_atomically(file, json.dumps(drawn), mode=0o600)
    return {name: (access, secret) for name, (access, secret) in json.loads(file.read_text()).items()}


def secret_data(access: str, secret: str) -> dict[str, str]:
    """The keys of a Secret as obstore and every AWS client read them from the environment."""
    return {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": ENDPOINT,
        "AWS_REGION": REGION,
        "AWS_ALLOW_HTTP": "true",
    }


def secret_manifest(name: str, namespace: str, data: Mapping[str, str]) -> dict[str, object]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": encoded}


def start(settings: Settings) -> None:
    data = settings.state / "store-data"
    data.mkdir(parents=True, exist_ok=True)
    apply(settings, *manifests(settings, keys(settings)))


def wait_ready(settings: Settings, seconds: int = 120) -> None:
    words = ("rollout", "status", "deployment/store", "-n", NAMESPACE, f"--timeout={seconds}s")
    kubectl(settings, *words, timeout=seconds + 10)


def available(settings: Settings) -> bool:
    """Whether the store serves, from the image of this checkout."""
    template = "jsonpath={.status.readyReplicas} {.spec.template.spec.containers[0].image}"
    try:
        found = kubectl(settings, "get", "deployment", "store", "-n", NAMESPACE, "-o", template, timeout=10)
    except ClusterError:
        return False
    return found == f"1 {images.STORE.reference}"


def manifests(settings: Settings, pairs: Keys) -> tuple[dict[str, object], ...]:
    rights = {WRITER: ["Admin", "Read", "Write", "List", "Tagging"], READER: ["Read", "List"]}
    identities = [
        {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": rights[name]}
        for name, (access, secret) in pairs.items()
    ]
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        *(secret_manifest(name, NAMESPACE, secret_data(*pair)) for name, pair in pairs.items()),
        secret_manifest("store-identities", NAMESPACE, {"s3.json": json.dumps({"identities": identities})}),
        *_volume(settings),
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "store", "namespace": NAMESPACE, "labels": LABELS},
            "spec": {"selector": LABELS, "ports": [{"name": "s3", "port": PORT, "targetPort": PORT}]},
        },
        _deployment(),
    )  # fmt: skip


def _volume(settings: Settings) -> tuple[dict[str, object], ...]:
    """A directory of node1; a claim is what a restricted pod may use, a hostPath would be refused."""
    on_node1 = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeMode": "Filesystem"}
    return (
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "perennial-store"},
            "spec": {
                **common,
                "capacity": {"storage": "20Gi"},
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": str(settings.state / "store-data")},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node1]}]}},
                "claimRef": {"name": "store-data", "namespace": NAMESPACE},
            },
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "store-data", "namespace": NAMESPACE},
            "spec": {**common, "volumeName": "perennial-store", "resources": {"requests": {"storage": "20Gi"}}},
        },
    )  # fmt: skip


def _deployment() -> dict[str, object]:
    command = [
        "weed", "-logtostderr=true", "server", "-s3", "-dir=/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-s3.ip.bind=0.0.0.0", f"-s3.port={PORT}", "-s3.config=/etc/weed/s3.json", "-volume.max=100",
        "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    container = {
        "name": "weed",
        "image": images.STORE.reference,
        "command": command,
        "ports": [{"containerPort": PORT}],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "GOMEMLIMIT", "value": "700MiB"}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "identities", "mountPath": "/etc/weed", "readOnly": True},
        ],
    }  # fmt: skip
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "store-data"}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "identities", "secret": {"secretName": "store-identities"}},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "store", "namespace": NAMESPACE, "labels": LABELS},
        "spec": {
            "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }  # fmt: skip
