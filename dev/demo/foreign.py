"""A cluster of the user's as ground for the story: what has to be there under the names that the embedded cluster gives it.

`ground` asks before anything is built or installed, so that what is missing is told at once and by name. Nothing is changed.
"""

from __future__ import annotations

import base64
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cluster import gateway, store
from demo.kubectl import Kubectl, KubectlError
from loadgen import Plan, PlanError
from loadgen.plan import check

STORE = "store"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SECRET_ACCESS_KEY")
GATEWAYS = "gateways.gateway.networking.k8s.io"
GATEWAY_PORT = 80
ANSWER_SECONDS = 3.0

Reaches = Callable[[str, int], bool]


def reaches(host: str, port: int) -> bool:
    """Whether something listens there for this machine."""
    try:
        socket.create_connection((host, port), timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def lacking(kubectl: Kubectl, helm: str, reaches: Reaches = reaches) -> list[str]:
    """What the story needs and nothing brings, a line for each: what it is, and what to do. Empty when all is there."""
    helms = [] if shutil.which(helm) else [f"the program {helm} on PATH: install Helm 3 or newer"]
    return [*helms, *_of_the_store(kubectl, reaches), *_of_the_gateway(kubectl, reaches)]


def _of_the_store(kubectl: Kubectl, reaches: Reaches) -> Iterator[str]:
    there = kubectl.within(store.NAMESPACE)
    if there.get("deployment", STORE) is None:
        yield (
            f"Deployment {store.NAMESPACE}/{STORE}: a SeaweedFS whose pod makes buckets by `weed shell`; "
            "dev/cluster/store.py shows it"
        )
    for name, right in ((store.WRITER, "read and write"), (store.READER, "read")):
        keys = _decoded(there.get("secret", name) or {})
        if missing := [key for key in KEYS if key not in keys]:
            yield f"Secret {store.NAMESPACE}/{name} with {', '.join(missing)}: a key of that store that may {right}"
        elif name == store.WRITER and not _reached(keys["AWS_ENDPOINT_URL"], reaches):
            yield (
                f"a way from this machine to the store at {keys['AWS_ENDPOINT_URL']} (AWS_ENDPOINT_URL of Secret "
                f"{store.NAMESPACE}/{name}): data are put there from here; name an address that pods and this machine reach"
            )


def _of_the_gateway(kubectl: Kubectl, reaches: Reaches) -> Iterator[str]:
    name = f"Gateway {gateway.NAMESPACE}/{gateway.GATEWAY}"
    try:
        found = kubectl.within(gateway.NAMESPACE).get(GATEWAYS, gateway.GATEWAY)
    except KubectlError as error:
        if "resource type" not in str(error):
            raise
        yield f"the Gateway API, and {name}: install an implementation such as Envoy Gateway, then make the Gateway"
        return
    if found is None:
        yield f"{name}: HTTP on port {GATEWAY_PORT}, open to routes of all namespaces; dev/cluster/gateway.py shows it"
        return
    address = next((str(one["value"]) for one in found.get("status", {}).get("addresses", [])), "")
    if not address:
        yield f"an address of {name}: see its conditions; without a load balancer its Service has to be a ClusterIP"
    elif refused := _refused(address):
        yield f"a way for the load generator to {name}: {refused}, which is meant so"
    elif not reaches(address, GATEWAY_PORT):
        yield f"a way from this machine to {name} at {address}:{GATEWAY_PORT}, where the load generator sends to: nothing answers"


def _refused(address: str) -> str:
    """Why the load generator would not send to this address; empty when it would."""
    try:
        check(Plan(f"http://{address}:{GATEWAY_PORT}/", [b"{}"]))
    except PlanError as error:
        return str(error)
    return ""


def _reached(url: str, reaches: Reaches) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    return bool(parts.hostname) and reaches(str(parts.hostname), port)


def _decoded(secret: Mapping[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
