"""As much of an API server, over HTTP on loopback, as Kopf's watches need; with the faults of a real one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from perennial.adapters.kinds import RESOURCES, WATCHED
from perennial.ports import Manifest

Answer = web.StreamResponse


class WatchApi:
    """Lists what it is given, streams what is put, and records every request."""

    def __init__(self) -> None:
        self.items: dict[str, list[Manifest]] = {}
        self.requests: list[tuple[str, str, str]] = []
        """(method, path, label selector)."""
        self.streams: dict[str, list[asyncio.Queue[bytes | None]]] = {}
        self.refuse_watches = 0
        """So many watches are answered by 410, on which Kopf ends."""
        self.schemas: dict[str, Any] = {}
        """Of our kinds, as OpenAPI v3 has them."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Base URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._any)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Ends all streams and the server."""
        self.end_streams()
        if self._runner:
            await self._runner.cleanup()
        await asyncio.sleep(0.05)  # transports that were told to close do so in the loop's next turns

    def put(self, plural: str, event: str, manifest: Manifest) -> None:
        """An event on every open watch of a resource."""
        for stream in self.streams.get(plural, []):
            stream.put_nowait(json.dumps({"type": event, "object": manifest}).encode() + b"\n")

    def raw(self, plural: str, line: bytes) -> None:
        """Anything on every open watch of a resource."""
        for stream in self.streams.get(plural, []):
            stream.put_nowait(line)

    def end_streams(self) -> None:
        """All watches end, as a server does now and then."""
        for streams in self.streams.values():
            for stream in streams:
                stream.put_nowait(None)

    async def _any(self, request: web.Request) -> Answer:
        watch = "?watch" if request.query.get("watch") == "true" else ""
        self.requests.append((request.method, request.path + watch, request.query.get("labelSelector", "")))
        parts = request.path.strip("/").split("/")
        if parts in (["api"], ["apis"], ["version"]):
            return web.json_response(_root(parts[0]))
        if parts[0] == "openapi":
            return web.json_response({"components": {"schemas": self.schemas}})
        if len(parts) == (2 if parts[0] == "api" else 3):
            return web.json_response(_resources(parts))
        if request.query.get("watch") == "true":
            return await self._watch(request, parts[-1])
        return web.json_response({"kind": "List", "metadata": {"resourceVersion": "10"}, "items": self.items.get(parts[-1], [])})

    async def _watch(self, request: web.Request, plural: str) -> Answer:
        if self.refuse_watches and plural == "jobs":
            self.refuse_watches -= 1
            return web.json_response({"kind": "Status", "code": 410, "message": "gone"}, status=410)
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.streams.setdefault(plural, []).append(stream)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            while (line := await stream.get()) is not None:
                await response.write(line)
        except ConnectionError:
            pass
        finally:
            self.streams[plural].remove(stream)
        return response


def _root(name: str) -> dict[str, Any]:
    groups = sorted({(resource.group, resource.version) for resource in RESOURCES.values() if resource.group})
    match name:
        case "api":
            return {"versions": ["v1"]}
        case "version":
            return {"major": "1", "minor": "35"}
        case _:
            groups.append(("apiextensions.k8s.io", "v1"))
            return {
                "groups": [
                    {
                        "name": group,
                        "versions": [{"version": version, "groupVersion": f"{group}/{version}"}],
                        "preferredVersion": {"version": version},
                    }
                    for group, version in groups
                ]
            }


def _resources(parts: list[str]) -> dict[str, Any]:
    group = parts[1] if parts[0] == "apis" else ""
    known = [(kind.rpartition("/")[2], r.plural, True) for kind, r in RESOURCES.items() if r.group == group and kind in WATCHED]
    if group == "apiextensions.k8s.io":
        known.append(("CustomResourceDefinition", "customresourcedefinitions", False))
    if not group:
        known.append(("Namespace", "namespaces", False))
    verbs = ["get", "list", "watch", "patch", "create", "update", "delete"]
    return {
        "resources": [
            {"name": plural, "kind": kind, "singularName": plural[:-1], "namespaced": namespaced, "verbs": verbs}
            for kind, plural, namespaced in known
        ]
    }
