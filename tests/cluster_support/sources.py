"""Other places of data than the store, on the cluster: a claim with files in folders, and a web server with TLS of its own.

The files come in a ConfigMap, so that the cluster may be one of the user's: one pod copies them to the claim, one serves them.
"""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cluster_support.place import Manifest, Place
from demo.kubectl import diagnosis

FILES = "files"
USER = 65532
SECURITY: Manifest = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
WAIT_SECONDS = 60.0
COPY = """
import pathlib, shutil
for path, key in PLACES.items():
    target = pathlib.Path("/claim", path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(f"/files/{key}", target)
"""
SERVE = """
import http.server, ssl
handler = lambda *given: http.server.SimpleHTTPRequestHandler(*given, directory="/files")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def upload(place: Place, files: Mapping[str, bytes]) -> None:
    """The ConfigMap with the files, by key."""
    data = {name: base64.b64encode(body).decode() for name, body in files.items()}
    place.kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FILES}, "binaryData": data})


@contextmanager
def claim(place: Place, name: str, places: Mapping[str, str]) -> Iterator[None]:
    """A claim with files at `places` (path to key), as long as the block lasts.

    The embedded cluster has no storage class: there it is bound to a directory of node1, which goes with it.
    """
    wish: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    volume, folder = f"{place.namespace}-{name}", place.ground.cluster.settings.state / f"claim-{place.namespace}"
    embedded = place.ground.cluster.netns is not None
    if embedded:
        folder.mkdir(parents=True)
        wish |= {"storageClassName": "", "volumeName": volume}
        place.kubectl.apply(_volume(volume, str(folder), place.namespace, name))
    try:
        place.kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wish})
        mounts = [{"name": "files", "mountPath": "/files"}, {"name": "claim", "mountPath": "/claim"}]
        volumes = [_files(), {"name": "claim", "persistentVolumeClaim": {"claimName": name}}]
        script = COPY.replace("PLACES", repr(dict(places)))
        place.kubectl.apply(_pod(place, "copy", script, mounts, volumes))
        _until_pod(place, "copy", "Succeeded")
        yield
    finally:
        if embedded:
            place.kubectl.run("delete", "persistentvolume", volume, "--wait=false")
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def web_server(place: Place, certificate: str, key: str) -> Iterator[str]:
    """The files over https; the URL of their folder."""
    tls = {"tls.crt": certificate, "tls.key": key}
    place.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-tls"}, "stringData": tls})
    mounts = [{"name": "files", "mountPath": "/files"}, {"name": "tls", "mountPath": "/tls"}]
    volumes = [_files(), {"name": "tls", "secret": {"secretName": "web-tls", "defaultMode": 0o440}}]
    place.kubectl.apply(_pod(place, "web", SERVE, mounts, volumes))
    service = {"selector": {"app": "web"}, "ports": [{"port": 443, "targetPort": 8443}]}
    place.kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service})
    _until_pod(place, "web", "Running")
    yield f"https://{host(place.namespace)}/"


def host(namespace: str) -> str:
    """The name of the web server, which its certificate is for."""
    return f"web.{namespace}.svc"


def _until_pod(place: Place, name: str, phase: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = (place.kubectl.get("pod", name) or {}).get("status", {}).get("phase", "")
        if found == phase:
            return
        assert found != "Failed", f"pod {name} failed: {place.kubectl.logs(name, name)}"
        time.sleep(0.5)
    raise AssertionError(f"pod {name} is not {phase}\n\n{diagnosis(place.kubectl, name)}")


def _files() -> Manifest:
    return {"name": "files", "configMap": {"name": FILES}}


def _pod(place: Place, name: str, script: str, mounts: list[Manifest], volumes: list[Manifest]) -> Manifest:
    container: dict[str, Any] = {
        "name": name,
        "image": place.images.runtime,
        "command": ["python3", "-c", script],
        "securityContext": SECURITY,
        "volumeMounts": mounts,
    }
    spec = {"restartPolicy": "Never", "securityContext": POD_SECURITY, "containers": [container], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def _volume(name: str, path: str, namespace: str, claim_name: str) -> Manifest:
    on_node1 = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "capacity": {"storage": "1Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [on_node1]}},
        "claimRef": {"name": claim_name, "namespace": namespace},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
