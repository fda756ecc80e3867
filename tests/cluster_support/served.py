"""One version served on the cluster without the operator: the manifests are the operator's, the Bento is a small test model.

For what only a real pod shows: time to ready, memory, and a rolling update under load through the gateway.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.errors import ClusterError
from demo.ground import REPOSITORY, STORE_BUCKET, STORE_URI, Ground
from demo.kubectl import Kubectl
from perennial.api.serving import Serving
from perennial.core.actions import ApplyServing
from perennial.manifests.serving import serving
from perennial_runtime.archive import pack
from perennial_runtime.contract import ServeSpec
from runtime.serving.bentos import ROWS, VERSION, build_bento

MODEL, _, NUMBER = VERSION.rpartition("-v")
PUT = """
import sys
from pathlib import Path
from perennial_runtime.store import Store
print(Store(sys.argv[1], Path(sys.argv[2])).put_file(Path(sys.argv[3])))
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A version's Deployment, Service and route."""

    ground: Ground
    kubectl: Kubectl
    namespace: str

    @property
    def url(self) -> str:
        """Through the gateway."""
        return f"http://{self.ground.cluster.gateway_address}/{self.namespace}/predict"

    def pods(self) -> list[dict[str, Any]]:
        """The version's pods that are not being deleted."""
        found = json.loads(self.kubectl.run("get", "pods", "-l", f"perennial.dev/model={MODEL}", "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def restart(self) -> None:
        """A rolling update; returns when it is done."""
        self.kubectl.run("rollout", "restart", f"deployment/{VERSION}")
        self.wait()

    def wait(self) -> None:
        self.kubectl.run("rollout", "status", f"deployment/{VERSION}", "--timeout=170s", timeout=180)

    def wait_routed(self, bodies: Path, seconds: float = 30.0) -> None:
        """Until a request gets through the gateway, which learns of a new route a little later."""
        bodies.write_text(json.dumps(ROWS[0]) + "\n")
        probe = ["-m", "loadgen", "--url", self.url, "--rate=5", "--duration=0.2", "--body-file", str(bodies)]
        until = time.monotonic() + seconds
        while True:
            try:
                self.ground.cluster.run("env", f"PYTHONPATH={REPOSITORY / 'dev'}", sys.executable, *probe, timeout=30)
            except ClusterError:
                assert time.monotonic() < until, f"no answer through the gateway within {seconds:.0f} s"
            else:
                return


@contextlib.contextmanager
def served(ground: Ground, runtime_image: str, work: Path, replicas: int = 1) -> Iterator[Served]:
    """The test Bento in a namespace of its own, ready; removed afterwards."""
    namespace = f"served-{int(time.time())}"
    kubectl = ground.namespace(namespace)
    try:
        spec = _store(ground, work, f"{STORE_URI}/{namespace}")
        manifests = _manifests(namespace, runtime_image, spec, replicas)
        kubectl.apply(*manifests, _route(ground, namespace))
        found = Served(ground, kubectl, namespace)
        found.wait()
        found.wait_routed(work / "probe.jsonl")
        yield found
    finally:
        ground.delete_namespaces(namespace)


def _store(ground: Ground, work: Path, uri: str) -> ServeSpec:
    bento, identity = build_bento(work)
    pack(bento, work / "bento.tar")
    secret = work / "secret"
    secret.mkdir()
    for name, value in ground.cluster.store_data().items():
        (secret / name).write_text(value)
    ground.cluster.make_bucket(STORE_BUCKET)
    here = f"PYTHONPATH={REPOSITORY / 'serving'}"
    digest = ground.cluster.run("env", here, sys.executable, "-c", PUT, uri, str(secret), str(work / "bento.tar"), timeout=60)
    return ServeSpec(VERSION, uri, digest.strip(), identity)


def _manifests(namespace: str, image: str, spec: ServeSpec, replicas: int) -> tuple[dict[str, Any], ...]:
    version: Any = SimpleNamespace(
        meta=SimpleNamespace(namespace=namespace, name=VERSION, uid="none"),
        spec=SimpleNamespace(
            runtime=SimpleNamespace(serving_image=image),
            store=SimpleNamespace(serving_secret_name="perennial-store-read"),
            signing=None,
        ),
    )
    wish = Serving.model_validate({"route": {"parentRefs": [{"name": "gw"}], "path": "/served"}})
    manifests = serving(MODEL, version, wish, ApplyServing(int(NUMBER), replicas, spec))
    for manifest in manifests:
        # there is no ModelVersion that could own them: the garbage collector would take them at once
        manifest["metadata"].pop("ownerReferences")
    return manifests


def _route(ground: Ground, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "served", "namespace": namespace},
        "spec": {
            "parentRefs": [ground.cluster.gateway_reference],
            "rules": [
                {
                    "matches": [{"path": {"type": "Exact", "value": f"/{namespace}/predict"}}],
                    "filters": [
                        {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/predict"}}}
                    ],
                    "backendRefs": [{"kind": "Service", "name": VERSION, "port": 80}],
                }
            ],
        },
    }
