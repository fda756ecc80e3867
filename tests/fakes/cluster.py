"""An API server in memory: resourceVersions, conflicts, server-side apply, status subresource, owner references, watch events.

It keeps the same promises as a real one as far as the operator leans on them; tests/contract proves that on both.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonpatch

from perennial.adapters.kinds import kind_of
from perennial.api.crd import custom_resource_definitions
from perennial.ports import ClusterError, Conflict, Invalid, Keep, Manifest, NotFound

Place = tuple[str, str, str]
Watcher = Callable[[str, Manifest], None]
Verdict = Callable[[str, Manifest], ClusterError | None]
CREATED = "2026-01-01T00:00:00Z"


class Crash(BaseException):
    """The process is killed here: no handler of the code under test may catch it."""


def shipped() -> dict[str, Manifest]:
    """Our schemas by kind, a copy."""
    definitions = custom_resource_definitions().values()
    return {one["spec"]["names"]["kind"]: one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in definitions}


class FakeCluster:
    """Implements `perennial.ports.Cluster`."""

    def __init__(self, created: Callable[[], str] = lambda: CREATED) -> None:
        self.objects: dict[Place, Manifest] = {}
        self.writes: list[tuple[str, str, str]] = []
        """(verb, kind, name) of every request that writes, effective or not."""
        self.log: list[tuple[str, str, str]] = []
        """(created | deleted, kind, name)."""
        self.watchers: list[Watcher] = []
        self.verdict: Verdict = lambda verb, manifest: None
        self.crash_after: int | None = None
        self.served: dict[str, Manifest] | None = None
        self._created = created
        self._applied: dict[Place, Manifest] = {}
        self._versions = itertools.count(1)
        self._uids: Counter[Place] = Counter()

    # ---- the port ----

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object."""
        return copy.deepcopy(self._find(kind, namespace, name))

    async def list(
        self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "", keep: Keep = lambda item: item
    ) -> tuple[Sequence[Manifest], str]:
        """Items by kind, namespace and selectors."""
        found = [
            keep(copy.deepcopy(manifest))
            for place, manifest in self.objects.items()
            if place[0] == kind
            and namespace in (None, place[1])
            and _fits(manifest["metadata"].get("labels") or {}, labels)
            and _fits(_fields(manifest), fields)
        ]
        return found, str(next(self._versions))

    async def create(self, manifest: Manifest) -> Manifest:
        """A new object; the status that is sent along is not taken."""
        self._judge("create", manifest)
        if _place(manifest) in self.objects:
            raise Conflict(409, f"{manifest['kind']} {manifest['metadata']['name']!r} already exists")
        return self._done(self._add(manifest))

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply: our fields as given, what we no longer give is removed, an unchanged one is no write."""
        self._judge("apply", manifest)
        place = _place(manifest)
        if place not in self.objects:
            self._applied[place] = copy.deepcopy(manifest)
            return self._done(self._add(manifest))
        live = self.objects[place]
        before = copy.deepcopy(live)
        merged = _merge(_without(copy.deepcopy(live), self._applied.get(place, {}), manifest), manifest)
        self._applied[place] = copy.deepcopy(manifest)
        return self._done(self._store(merged, before))

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """Only the status is taken."""
        self._judge("update", manifest)
        live = self._find(kind_of(manifest), manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        wanted = manifest["metadata"]["resourceVersion"]
        if wanted != live["metadata"]["resourceVersion"]:
            raise Conflict(409, "the object has been modified; please apply your changes to the latest version")
        before = copy.deepcopy(live)
        return self._done(self._store({**live, "status": json.loads(json.dumps(manifest["status"]))}, before))

    async def json_patch(self, kind: str, namespace: str, name: str, patch: Sequence[Mapping[str, Any]]) -> Manifest:
        """All operations or none; an empty map of annotations is not kept, nor an object that only a finalizer has held."""
        self._judge("patch", self._find(kind, namespace, name))
        live = self._find(kind, namespace, name)
        try:
            changed = jsonpatch.apply_patch(live, json.loads(json.dumps(patch)))
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            raise Invalid(422, f"the server rejected our request due to an error in our request: {error}") from error
        for part in ("annotations", "finalizers"):
            if changed["metadata"].get(part) in ({}, []):
                del changed["metadata"][part]
        answer = self._store(changed, copy.deepcopy(live))
        if "deletionTimestamp" in answer["metadata"] and "finalizers" not in answer["metadata"]:
            self.remove(answer)
        return self._done(answer)

    async def schemas(self) -> Mapping[str, Manifest]:
        """Those that this repository ships, unless a test serves others; the objects are not held to them."""
        return copy.deepcopy(self.served) if self.served is not None else shipped()

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> Manifest | None:
        """The object, and by owner references what belongs to it; one with a finalizer is only told to go."""
        self.writes.append(("delete", kind, name))
        live = self.objects.get((kind, namespace, name))
        if live is not None and live["metadata"]["uid"] == uid:
            self.tell_to_go(live)
        self._maybe_crash()
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    # ---- what the rest of a cluster does ----

    def set_status(self, manifest: Manifest, status: Manifest) -> None:
        """A controller writes a status."""
        live = self.objects[_place(manifest)]
        self._store({**live, "status": status}, copy.deepcopy(live))

    def edit(self, manifest: Manifest) -> None:
        """A person replaces metadata.annotations and spec."""
        live = self.objects[_place(manifest)]
        meta = {**live["metadata"], "annotations": manifest["metadata"].get("annotations", {})}
        self._store({**live, "metadata": meta, "spec": manifest["spec"]}, copy.deepcopy(live))

    def add(self, manifest: Manifest) -> Manifest:
        """A controller or a person creates an object, status and all."""
        return self._add(manifest, with_status=True)

    def tell_to_go(self, manifest: Manifest) -> None:
        """A person deletes an object: it goes when nobody holds it any more."""
        live = self.objects[_place(manifest)]
        if not live["metadata"].get("finalizers"):
            self.remove(live)
        elif "deletionTimestamp" not in live["metadata"]:
            meta = {**live["metadata"], "deletionTimestamp": self._created()}
            self._store({**live, "metadata": meta}, copy.deepcopy(live))

    def remove(self, manifest: Manifest) -> None:
        """An object goes, then its children."""
        place = _place(manifest)
        gone = self.objects.pop(place)
        self._applied.pop(place, None)
        gone["metadata"]["resourceVersion"] = str(next(self._versions))
        self.log.append(("deleted", place[0], place[2]))
        self._tell("DELETED", gone)
        for child in list(self.objects.values()):
            if any(ref["uid"] == gone["metadata"]["uid"] for ref in child["metadata"].get("ownerReferences") or ()):
                self.remove(child)

    def of(self, kind: str) -> list[Manifest]:
        """All objects of a kind, live."""
        return [manifest for place, manifest in self.objects.items() if place[0] == kind]

    # ---- inside ----

    def _find(self, kind: str, namespace: str, name: str) -> Manifest:
        if (kind, namespace, name) not in self.objects:
            raise NotFound(404, f"{kind} {name!r} not found")
        return self.objects[kind, namespace, name]

    def _judge(self, verb: str, manifest: Manifest) -> None:
        self.writes.append((verb, kind_of(manifest), manifest["metadata"]["name"]))
        error = self.verdict(verb, manifest)
        if error is not None:
            raise error

    def _add(self, manifest: Manifest, *, with_status: bool = False) -> Manifest:
        added = copy.deepcopy(manifest)
        if not with_status:
            added.pop("status", None)
        place = _place(added)
        self._uids[place] += 1
        added["metadata"] |= {
            "uid": f"{added['kind']}-{place[2]}-{self._uids[place]}".lower(),
            "resourceVersion": str(next(self._versions)),
            "generation": 1,
            "creationTimestamp": self._created(),
        }
        self.objects[place] = added
        self.log.append(("created", place[0], place[2]))
        self._tell("ADDED", added)
        return added

    def _store(self, manifest: Manifest, before: Manifest) -> Manifest:
        if manifest == before:
            return before
        manifest["metadata"] = {**manifest["metadata"], "resourceVersion": str(next(self._versions))}
        if manifest.get("spec") != before.get("spec"):
            manifest["metadata"]["generation"] = before["metadata"]["generation"] + 1
        self.objects[_place(manifest)] = manifest
        self._tell("MODIFIED", manifest)
        return manifest

    def _done(self, manifest: Manifest) -> Manifest:
        self._maybe_crash()
        return copy.deepcopy(manifest)

    def _maybe_crash(self) -> None:
        if self.crash_after is not None and len(self.writes) >= self.crash_after:
            self.crash_after = None
            raise Crash

    def _tell(self, event: str, manifest: Manifest) -> None:
        for watcher in list(self.watchers):
            watcher(event, copy.deepcopy(manifest))


def _place(manifest: Manifest) -> Place:
    meta = manifest["metadata"]
    return kind_of(manifest), meta["namespace"], meta["name"]


def _fields(manifest: Manifest) -> dict[str, str]:
    involved = manifest.get("involvedObject") or {}
    return {
        "metadata.name": manifest["metadata"]["name"],
        "reason": manifest.get("reason", ""),
        "involvedObject.uid": involved.get("uid", ""),
    }


def _fits(values: Mapping[str, str], selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        name, equals, value = part.partition("=")
        if name.startswith("!"):
            if name[1:] in values:
                return False
            continue
        if name not in values or (equals and values[name] != value):
            return False
    return True


def _merge(live: Any, wanted: Any) -> Any:
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {**live, **{name: _merge(live.get(name), value) for name, value in wanted.items()}}
    return copy.deepcopy(wanted)


def _without(live: Any, old: Any, new: Any) -> Any:
    """`live` less the members that were applied before and are not applied now."""
    if not (isinstance(live, dict) and isinstance(old, dict) and isinstance(new, dict)):
        return live
    return {
        name: _without(value, old.get(name, {}), new[name]) if name in new else value
        for name, value in live.items()
        if name in new or name not in old
    }
