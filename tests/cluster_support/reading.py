"""kubectl whose looks at objects start no process: waits look at a model twice a second, and kubectl takes a tenth of a second of
CPU to start, each time. What a person would type and what changes something is still kubectl's own.

`Place` puts it in the place of the one that it is given.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from cluster_support.watching import PATHS
from demo.kubectl import Kubectl, KubectlError, Manifest

SECONDS = 60.0
"""For one answer."""
_KNOWN = {**PATHS, "Event": ("v1", "events"), "ConfigMap": ("v1", "configmaps")}
_WORDS = {
    **{plural: kind for kind, (_, plural) in _KNOWN.items()},
    **{kind.lower(): kind for kind in _KNOWN},
    "mdep": "ModelDeployment",
    "mver": "ModelVersion",
}
"""What may be said for a kind."""


class Reader(Kubectl):
    """One kubectl with its kubeconfig and namespace. Kinds that it does not know are asked for by kubectl."""

    __slots__ = ()

    @classmethod
    def of(cls, kubectl: Kubectl) -> Reader:
        return cls(kubectl.program, kubectl.kubeconfig, kubectl.namespace)

    def within(self, namespace: str) -> Reader:
        return Reader(self.program, self.kubeconfig, namespace)

    def get(self, kind: str, name: str) -> Manifest | None:
        known = _WORDS.get(kind)
        if known is None:
            return super().get(kind, name)
        status, answer = _asked(self.kubeconfig, f"{self._path(known)}/{quote(name)}")
        if status == http.client.NOT_FOUND and answer.get("details", {}).get("name") == name:
            return None
        return _shown(_good(status, answer, kind))

    def list(self, kind: str, selector: str = "", *, everywhere: bool = False) -> Sequence[Manifest]:
        kinds = [_WORDS.get(word, "") for word in kind.split(",")]
        if not all(kinds):
            return super().list(kind, selector, everywhere=everywhere)
        found: list[Manifest] = []
        for known in kinds:
            query = f"?labelSelector={quote(selector)}" if selector else ""
            answer = _good(*_asked(self.kubeconfig, self._path(known, everywhere=everywhere) + query), kind)
            found += [_shown({"apiVersion": _KNOWN[known][0], "kind": known, **one}) for one in answer["items"]]
        return found

    def apply_as(self, manager: str, manifest: Manifest) -> None:
        """Server-side apply of one object by a field manager, whoever else holds its fields."""
        name = quote(str(manifest["metadata"]["name"]))
        path = f"{self._path(manifest['kind'])}/{name}?fieldManager={quote(manager)}&force=true"
        _good(*_asked(self.kubeconfig, path, manifest), manifest["kind"])

    def _path(self, kind: str, *, everywhere: bool = False) -> str:
        group, plural = _KNOWN[kind]
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/{plural}" if everywhere else f"{root}/namespaces/{self.namespace}/{plural}"


def _shown(manifest: Manifest) -> Manifest:
    """As kubectl shows it: without who holds which field."""
    meta = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    return {**manifest, "metadata": meta}


def _good(status: int, answer: Mapping[str, Any], kind: str) -> Manifest:
    if status not in (http.client.OK, http.client.CREATED):
        raise KubectlError(f"{kind}: {status}: {answer.get('message', answer)}")
    return dict(answer)


_clients: dict[Path, client.ApiClient] = {}
_making = threading.Lock()


def _client(kubeconfig: Path) -> client.ApiClient:
    """One for each cluster and process: its connections are kept for whoever asks next."""
    with _making:
        if kubeconfig not in _clients:
            _clients[kubeconfig] = config.new_client_from_config(str(kubeconfig))
        return _clients[kubeconfig]


def _asked(kubeconfig: Path, path: str, given: Manifest | None = None) -> tuple[int, Manifest]:
    """Status and body. What is given is applied, and may be applied again where a connection broke."""
    api = _client(kubeconfig)
    request = api.param_serialize(
        "GET" if given is None else "PATCH",
        path,
        header_params={} if given is None else {"Content-Type": "application/apply-patch+yaml"},
        body=None if given is None else json.dumps(given),
        auth_settings=["BearerToken"],
    )
    try:
        answer = api.call_api(*request, _request_timeout=SECONDS)
        status, body = answer.status, answer.read()
    except client.ApiException as error:
        status, body = error.status, error.body or b""
    except HTTPError as error:
        raise KubectlError(f"{path}: {type(error).__name__}: {error}") from error
    try:
        return status, json.loads(body)
    except ValueError:
        return status, {"message": str(body)[:300]}
