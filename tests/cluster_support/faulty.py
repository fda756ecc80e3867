"""`python -m cluster_support.faulty`: the operator, whose process dies before or after one chosen write.

The operator is the product's, unchanged but for its client: between it and the API server stands a gate that notes each write
in FAULTS_FOLDER/writes.jsonl and looks whether this one is named in FAULTS_FOLDER/armed.json. If so, the whole process stands
still for FAULTS_HOLD seconds and is killed by SIGKILL, before the write is sent or after its answer came. A write is named by
what it says and how often that was said before, not by a count of all: writes that depend on time would shift it. The times at
which it read the pods' counters are noted in FAULTS_FOLDER/readings.jsonl. `cluster_support.faultlane` starts it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perennial import __main__ as program
from perennial import bootstrap
from perennial.adapters.cluster import ApiServer
from perennial.adapters.podmetrics import PodPorts
from perennial.core.observed import PodCounters, ServingPod

WRITES, READINGS, ARMED = "writes.jsonl", "readings.jsonl", "armed.json"
Manifest = dict[str, Any]


class FaultyApiServer(ApiServer):
    """The API server as seen by an operator that may die at any of its writes."""

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._write(label("create", manifest), lambda: super(FaultyApiServer, self).create(manifest))

    async def apply(self, manifest: Manifest) -> Manifest:
        return await self._write(label("apply", manifest), lambda: super(FaultyApiServer, self).apply(manifest))

    async def replace_status(self, manifest: Manifest) -> Manifest:
        return await self._write(label("status", manifest), lambda: super(FaultyApiServer, self).replace_status(manifest))

    async def json_patch(self, kind: str, namespace: str, name: str, patch: Sequence[Mapping[str, Any]]) -> Manifest:
        said = f"patch {kind.rpartition('/')[2]} " + " ".join(f"{one['op']} {one['path']}" for one in patch)
        return await self._write(said, lambda: super(FaultyApiServer, self).json_patch(kind, namespace, name, patch))

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> Manifest | None:
        said = f"delete {kind.rpartition('/')[2]} {name}"
        return await self._write(said, lambda: super(FaultyApiServer, self).delete(kind, namespace, name, uid))

    async def _write(self, said: str, send: Callable[[], Awaitable[Any]]) -> Any:
        gate = Gate(Path(os.environ["FAULTS_FOLDER"]), said)
        gate.pass_by("before")
        answer = await send()
        gate.note()
        gate.pass_by("after")
        return answer


class NotedPodPorts(PodPorts):
    """The pods' counters, read as ever; when every pod was read is noted."""

    async def read(self, pods: Sequence[tuple[int, ServingPod]]) -> Sequence[PodCounters | str]:
        began = time.monotonic()
        answers = await super().read(pods)
        if all(isinstance(answer, PodCounters) for answer in answers):
            with (Path(os.environ["FAULTS_FOLDER"]) / READINGS).open("a") as file:
                file.write(f"{(began + time.monotonic()) / 2}\n")
        return answers


class Gate:
    """Where one write passes."""

    def __init__(self, folder: Path, said: str) -> None:
        self._folder = folder
        file = folder / WRITES
        earlier = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        self.name = f"{said} #{1 + sum(one['said'] == said for one in earlier)}"
        self._said = said

    def note(self) -> None:
        """The write was made, at a time in monotonic seconds."""
        with (self._folder / WRITES).open("a") as file:
            file.write(json.dumps({"said": self._said, "name": self.name, "at": time.monotonic()}) + "\n")

    def pass_by(self, side: str) -> None:
        """Dies here when this is the write and the side that are armed."""
        armed = self._folder / ARMED
        if not armed.exists() or json.loads(armed.read_text()) != {"write": self.name, "side": side}:
            return
        armed.unlink()
        time.sleep(float(os.environ["FAULTS_HOLD"]))
        os.kill(os.getpid(), signal.SIGKILL)


def label(verb: str, manifest: Manifest) -> str:
    """What a write says, in so far as something was decided: no times, no counts, no words."""
    kind, name = manifest["kind"], manifest["metadata"].get("name", "")
    if kind == "Event":
        return f"{verb} Event {manifest['reason']}"
    said = {
        "Deployment": lambda: f"replicas {manifest['spec'].get('replicas')}",
        "HTTPRoute": lambda: _weights(manifest),
        "ModelVersion": lambda: str((manifest.get("status") or {}).get("state", "")),
        "ModelDeployment": lambda: decided(manifest.get("status") or {}),
    }
    return f"{verb} {kind} {name} {said.get(kind, str)()}".rstrip()


def decided(status: Mapping[str, Any]) -> str:
    """A ModelDeployment's status without what ticks by itself."""
    rollout, returning = status.get("rollout") or {}, status.get("returning") or {}
    parts = {
        "stable": status.get("stable"),
        "candidate": status.get("candidate"),
        "phase": rollout.get("phase"),
        "step": rollout.get("step"),
        "weights": " ".join(f"v{one['version']}:{one['weight']}" for one in status.get("weights", [])),
        "settled": rollout.get("settled"),
        "returning": returning.get("version"),
        "quarantined": ",".join(f"v{one['version']}" for one in status.get("quarantined", [])),
        "pending": ",".join(one["verb"] for one in status.get("requests", []) if one.get("pending", True)),
    }
    return " ".join(f"{key}={value}" for key, value in parts.items() if value not in (None, ""))


def _weights(route: Manifest) -> str:
    backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    return " ".join(f"{one['name'].rpartition('-')[2]}:{one['weight']}" for one in backends)


if __name__ == "__main__":
    bootstrap.ApiServer = FaultyApiServer  # type: ignore[misc]
    bootstrap.PodPorts = NotedPodPorts  # type: ignore[misc]
    sys.exit(program.main())
