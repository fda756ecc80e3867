"""The Kubernetes API over one aiohttp session: the port `perennial.ports.Cluster`.

JSON in and out, ten seconds a request, errors as the tree of `perennial.ports.ClusterError` with the API server's own words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from perennial.adapters.credentials import Credentials
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, RESOURCES, VERSIONS, kind_of
from perennial.ports import ClusterError, Conflict, Invalid, Keep, Manifest, NotFound, Unavailable
from perennial_runtime.contract import API_VERSION

FIELD_MANAGER = "perennial-operator"
REQUEST_SECONDS = 10.0
LIST_SECONDS = 60.0
PAGE = 200
"""Objects of a page: each is made small before the next page comes, and a page of a thousand would be the operator's peak."""
CONNECTIONS = 32

Observe = Callable[[str, int], None]
"""Told of every request: (verb, HTTP status; 0 when there was no answer)."""


class ApiServer:
    """A cluster's API server. `open` before use, `close` afterwards."""

    def __init__(self, credentials: Credentials, observe: Observe = lambda verb, status: None) -> None:
        self._credentials = credentials
        self._observe = observe
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ApiServer:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._credentials.tls(), keepalive_timeout=60),
            headers={"User-Agent": FIELD_MANAGER, "Accept": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object. Raises NotFound."""
        return await self._send("get", "GET", _path(kind, namespace, name))

    async def list(
        self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "", keep: Keep = lambda item: item
    ) -> tuple[Sequence[Manifest], str]:
        """All items, in pages, and the list's resourceVersion."""
        parameters = {"limit": str(PAGE)}
        if labels:
            parameters["labelSelector"] = labels
        if fields:
            parameters["fieldSelector"] = fields
        api_version, _, name = kind.rpartition("/")
        items: list[Manifest] = []
        while True:
            page = await self._send("list", "GET", _path(kind, namespace), parameters=parameters, timeout=LIST_SECONDS)
            items.extend(keep({**item, "apiVersion": api_version, "kind": name}) for item in page.get("items") or ())
            rest = page["metadata"].get("continue")
            if not rest:
                return items, str(page["metadata"].get("resourceVersion", ""))
            parameters["continue"] = rest

    async def create(self, manifest: Manifest) -> Manifest:
        """POST. Raises Conflict when the name is taken."""
        path = _path(kind_of(manifest), manifest["metadata"]["namespace"])
        return await self._send("create", "POST", path, manifest, {"fieldManager": FIELD_MANAGER})

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with our field manager, force."""
        path = _path(kind_of(manifest), manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._send("apply", "PATCH", path, manifest, parameters, content_type="application/apply-patch+yaml")

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """PUT of the status subresource with the resourceVersion in the manifest."""
        path = _path(kind_of(manifest), manifest["metadata"]["namespace"], manifest["metadata"]["name"]) + "/status"
        return await self._send("update", "PUT", path, manifest, {"fieldManager": FIELD_MANAGER})

    async def json_patch(self, kind: str, namespace: str, name: str, patch: Sequence[Mapping[str, Any]]) -> Manifest:
        """RFC 6902; a failed `test` is Invalid."""
        parameters = {"fieldManager": FIELD_MANAGER}
        return await self._send(
            "patch", "PATCH", _path(kind, namespace, name), list(patch), parameters, content_type="application/json-patch+json"
        )

    async def schemas(self) -> Mapping[str, Manifest]:
        """Of OpenAPI v3, which every client may read: the CRDs themselves need a right of their own. Raises ClusterError."""
        document = await self._send("get", "GET", f"/openapi/v3/apis/{API_VERSION}", timeout=LIST_SECONDS)
        return {
            of["kind"]: schema
            for schema in ((document.get("components") or {}).get("schemas") or {}).values()
            for of in schema.get("x-kubernetes-group-version-kind") or ()
            if f"{of.get('group')}/{of.get('version')}/{of.get('kind')}" in (DEPLOYMENTS_OF_MODELS, VERSIONS)
        }

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> Manifest | None:
        """Background propagation with a UID precondition; an object that is not there any more counts as done."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            answer = await self._send("delete", "DELETE", _path(kind, namespace, name), body)
        except (NotFound, Conflict):
            return None
        return answer if answer.get("kind") != "Status" else None

    async def _send(
        self,
        verb: str,
        method: str,
        path: str,
        body: object = None,
        parameters: Mapping[str, str] | None = None,
        *,
        content_type: str = "application/json",
        timeout: float = REQUEST_SECONDS,  # noqa: ASYNC109 - handed to aiohttp, which cancels the request itself
    ) -> Manifest:
        if self._session is None:
            raise RuntimeError("ApiServer is used as an asynchronous context manager")
        connection = self._credentials.connection()
        headers = {"Authorization": f"Bearer {connection.token}"} if connection.token else {}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body, separators=(",", ":")).encode()
        status = 0
        try:
            async with self._session.request(
                method,
                connection.server + path,
                params=parameters,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                status = response.status
                payload = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(0, f"{method} {path}: no answer from the API server: {error or type(error).__name__}") from error
        finally:
            self._observe(verb, status)
        return _answer(status, payload, f"{method} {path}")


def _answer(status: int, payload: bytes, request: str) -> Manifest:
    try:
        document = json.loads(payload)
    except ValueError as error:
        if status >= 400:
            raise error_of(status, f"{request}: HTTP {status}: {payload[:200].decode(errors='replace').strip()}") from error
        raise Unavailable(status, f"{request}: the answer (HTTP {status}) is not JSON") from error
    if status < 400:
        return dict(document)
    words = document.get("message") if isinstance(document, dict) else None
    raise error_of(status, str(words or f"{request}: HTTP {status}"))


def error_of(status: int, message: str) -> ClusterError:
    """The error that an HTTP status means."""
    match status:
        case 404:
            return NotFound(status, message)
        case 409:
            return Conflict(status, message)
        case 400 | 403 | 422:
            return Invalid(status, message)
        case 401 | 429:
            return Unavailable(status, message)
        case _ if status >= 500:
            return Unavailable(status, message)
        case _:
            return Invalid(status, message)


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    resource = RESOURCES[kind]
    place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{resource.root}{place}/{resource.plural}" + (f"/{quote(name, safe='')}" if name else "")
