"""What every benchmark stands on: the cluster, the images, the operator of this checkout, and namespaces that go again."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.progress import Progress
from cluster.versions import KUBERNETES
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from demo.ground import Ground, Images


@dataclass(frozen=True, slots=True)
class Stand:
    """The cluster with the operator installed; benchmarks use operators of their own beside it."""

    ground: Ground
    images: Images

    @classmethod
    def found(cls) -> Stand:
        """On the embedded cluster, which is started where it is not up, or the user's."""
        ground = Ground.up(Progress())
        images = ground.images()
        ground.install(images)
        return cls(ground, images)

    @contextmanager
    def place(self, title: str) -> Iterator[Place]:
        """A namespace with the store's keys, and a folder; both go afterwards."""
        name = f"b-{title}-{os.getpid()}"
        with tempfile.TemporaryDirectory() as folder:
            kubectl = self.ground.namespace(name)
            try:
                yield Place(self.ground, self.images, kubectl, Path(folder))
            finally:
                self.ground.delete_namespaces(name)

    @contextmanager
    def operator(self, place: Place) -> Iterator[LocalOperator]:
        """An operator of the benchmark's own models alone, as a local process, ready."""
        with LocalOperator(self.ground, self.images, place.folder) as operator:
            operator.wait_ready()
            yield operator

    def machine(self) -> str:
        """Where the figures were measured, in a sentence."""
        return f"{here().removesuffix('.')}, Kubernetes {self._kubernetes()}."

    def _kubernetes(self) -> str:
        """The embedded one is built from its Go module and does not know its own version."""
        if self.ground.cluster.netns:
            return KUBERNETES
        return str(json.loads(self.ground.kubectl.run("get", "--raw", "/version"))["gitVersion"])


def here() -> str:
    """The machine without its cluster, in a sentence."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"Measured on {os.cpu_count()} cores, {pages:.0f} GiB of memory, Linux {platform.release()}, "
        f"Python {platform.python_version()}."
    )


def without_pods(place: Place) -> None:
    """Jobs may be made in this namespace, but none of their pods: a thousand of them would measure the nodes."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods", "namespace": place.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    place.kubectl.apply(quota)
