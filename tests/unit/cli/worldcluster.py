"""The cluster that the verbs ask, in memory: the operator's own plan carried out on `unit.core.world`, a second of it a look.

`tests/cluster/test_verbs.py` runs the verbs on the real thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perennial.adapters.kubeconfig import NoAnswer, NotStarted
from perennial.api.recording import RECORDING_KEY, recording_name
from perennial.core.inputs import stamp, version_name
from unit.core.world import START, World

Manifest = dict[str, Any]


@dataclass
class WorldCluster:
    """As `perennial.adapters.kubeconfig.KubeconfigCluster`."""

    world: World
    traffic: dict[str, Any] = field(default_factory=dict)
    """How the world lives on: rate, bad."""
    is_down: bool = False
    """No operator runs."""
    person: str = "jane"
    """Who asks; empty: the API server does not tell."""
    running: list[Manifest] = field(default_factory=list)
    """The pods that are there; what their containers wrote is in `texts`, by (pod, container)."""
    texts: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    namespace: str = "ns"

    def model(self, name: str) -> Manifest:
        if name != "delays":
            raise NoAnswer(f"there is no ModelDeployment {name!r} in namespace ns")
        if not self.is_down:
            self.world.live(1, **self.traffic)
        meta = {"name": name, "namespace": "ns", "generation": self.world.generation, "creationTimestamp": stamp(START)}
        return {
            "apiVersion": "perennial.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {**meta, "annotations": dict(self.world.annotations)},
            "spec": self.world.wish.model_dump(mode="json", by_alias=True, exclude_none=True),
            "status": self.world.status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }

    def models(self, *, everywhere: bool = False) -> list[Manifest]:
        return [self.model("delays")]

    def owned_file(self, config_map: str, key: str, owner: str) -> bytes | None:
        names = {recording_name(version_name("delays", number)): number for number in self.world.versions}
        if key != RECORDING_KEY or owner != f"uid-{names.get(config_map)}":
            return None
        return self.world.kept.get(names[config_map])

    def versions(self, name: str) -> list[Manifest]:
        return [
            {
                "apiVersion": "perennial.dev/v1alpha1",
                "kind": "ModelVersion",
                "metadata": {
                    "name": version_name(name, number),
                    "namespace": "ns",
                    "uid": version.meta.uid,
                    "creationTimestamp": stamp(START),
                },
                "spec": version.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
                "status": version.status.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
            for number, version in sorted(self.world.versions.items(), reverse=True)
        ]

    def pods(self, selector: str) -> list[Manifest]:
        wanted = dict(part.split("=") for part in selector.split(","))
        return [one for one in self.running if wanted.items() <= one["metadata"]["labels"].items()]

    def log(self, pod: str, container: str, *, previous: bool, follow: bool, lines: int | None) -> Iterator[str]:
        written = self.texts.get((pod, f"{container}, before" if previous else container))
        if written is None:
            raise NotStarted(f'container "{container}" in pod "{pod}" is waiting to start: PodInitializing')
        yield from written if lines is None else written[len(written) - lines :]

    def secret(self, name: str) -> dict[str, str]:
        raise NoAnswer(f'secrets "{name}" is forbidden')

    def user(self) -> str:
        return self.person

    def annotate(self, name: str, annotations: Mapping[str, str]) -> None:
        self.world.annotations |= annotations
