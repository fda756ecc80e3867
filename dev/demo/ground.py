"""What the story stands on: the cluster, the project's images, the operator by Helm, a namespace with keys, data in the store.

Shared by the demo and the cluster suite. Everything is idempotent: what is there already is used as it is. The embedded cluster
brings store and Gateway; one of the user's has to hold them under the same names, and is looked at first.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import lifecycle
from cluster.api import Cluster, current
from cluster.errors import ClusterError
from cluster.progress import Progress
from cluster.settings import from_environment
from demo import foreign
from demo.kubectl import Kubectl
from demo.traffic import Client

SYSTEM = "perennial-system"
RELEASE = "perennial"
CRDS = "perennial-crds"
STORE_BUCKET = "perennial"
STORE_URI = f"s3://{STORE_BUCKET}/models"
REPOSITORY = Path(__file__).resolve().parents[2]
LOADED_SECONDS = 3600
"""Longest that a client runs if nobody ends it."""


class GroundError(Exception):
    """Something under the story is missing; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Images:
    """The project's images by digest."""

    operator: str
    runtime: str
    training: str
    trainer: str
    """The user image of examples/trainer."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A cluster that can carry Perennial, and the ways to it."""

    cluster: Cluster
    kubectl: Kubectl
    helm: str
    progress: Progress = field(compare=False)

    @classmethod
    def up(cls, progress: Progress) -> Ground:
        """Starts the embedded cluster where none of the user's is named; a healthy one is used as it is."""
        if not os.environ.get("PERENNIAL_KUBECONFIG"):
            lifecycle.up(from_environment(), progress)
        return cls.found(progress)

    @classmethod
    def found(cls, progress: Progress) -> Ground:
        """The cluster that is there. Raises ClusterError when it is not up, GroundError when one of the user's lacks a piece."""
        cluster = current(progress)
        own = cluster.settings.bin
        kubectl = Kubectl(str(cluster.settings.kubectl if cluster.settings.kubectl.exists() else "kubectl"), cluster.kubeconfig)
        helm = str(own / "helm") if (own / "helm").exists() else "helm"
        if cluster.netns is None and (lacking := foreign.lacking(kubectl, helm)):
            raise GroundError(_words_for(cluster.kubeconfig, lacking))
        return cls(cluster, kubectl, helm, progress)

    def images(self) -> Images:
        """Builds and pushes what changed."""
        push = self.cluster.push
        return Images(
            operator=push("perennial/operator"),
            runtime=push("perennial/runtime"),
            training=push("perennial/training"),
            trainer=push("perennial/trainer-example", REPOSITORY / "examples/trainer", parent="perennial/training"),
        )

    def install(self, images: Images, **more: Any) -> None:
        """The CRDs and the operator by their charts; `more` are further chart values by dotted name."""
        self.cluster.make_bucket(STORE_BUCKET)
        values = {
            "image": images.operator,
            "images.serving": images.runtime,
            "images.training": images.training,
            "store.uri": STORE_URI,
            **more,
        }
        with self.progress.step("operator", "installing by Helm"), self._alone():
            self._helm(CRDS, {})
            self._helm(RELEASE, values)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One installation at a time: Helm refuses a release that another Helm is at."""
        self.cluster.settings.cache.mkdir(parents=True, exist_ok=True)
        with (self.cluster.settings.cache / "install.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _helm(self, chart: str, values: Mapping[str, Any]) -> None:
        options = [f"--set-string={key}={value}" for key, value in values.items()]
        command = [
            self.helm, "upgrade", chart, str(REPOSITORY / "charts" / chart), "--install", "--wait", "--timeout=3m",
            "--take-ownership",
            f"--namespace={SYSTEM}", "--create-namespace", f"--kubeconfig={self.cluster.kubeconfig}", *options,
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as home:
            homes = {f"HELM_{kind}_HOME": home for kind in ("CACHE", "CONFIG", "DATA")}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **homes})
        if done.returncode:
            logs = subprocess.run(
                [self.kubectl.program, f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={SYSTEM}",
                 "logs", "deployment/perennial", "--tail=30"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            raise GroundError(
                f"helm could not install {chart}: {done.stderr.strip()}\nThe operator's log:\n{logs.stdout}{logs.stderr}"
            )

    def namespace(self, name: str) -> Kubectl:
        """A namespace with the store's keys; its own kubectl."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.cluster.copy_store_secrets(name)
        return self.kubectl.within(name)

    def upload(self, bucket: str, objects: Iterable[tuple[str, bytes]]) -> None:
        """Puts objects into a bucket of the embedded store, from inside the cluster's network."""
        self.cluster.make_bucket(bucket)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in objects:
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            keys = [f"{key}={value}" for key, value in self.cluster.store_data().items()]
            here = f"PYTHONPATH={REPOSITORY / 'dev'}"
            self.cluster.run("env", *keys, here, sys.executable, "-m", "demo.upload", bucket, folder, timeout=300)

    def empty(self, bucket: str, prefix: str) -> None:
        """Removes what an earlier run put under a prefix."""
        self.cluster.make_bucket(bucket)
        keys = [f"{key}={value}" for key, value in self.cluster.store_data().items()]
        here = f"PYTHONPATH={REPOSITORY / 'dev'}"
        self.cluster.run("env", *keys, here, sys.executable, "-m", "demo.upload", "--empty", bucket, prefix, timeout=120)

    def client(
        self, url: str, bodies: Path, folder: Path, *, rate: float, seconds: float = LOADED_SECONDS, headers: Sequence[str] = ()
    ) -> Client:
        """A load generator on the cluster's network, not yet started; each of `headers` is NAME:VALUE."""
        results, log = folder / "answers.jsonl", folder / "loadgen.log"
        generator = [
            "env", f"PYTHONPATH={REPOSITORY / 'dev'}", sys.executable, "-m", "loadgen", "--url", url, "--rate", f"{rate:g}",
            "--duration", f"{seconds:g}", "--body-file", str(bodies), "--out", str(results),
            *(word for header in headers for word in ("--header", header)),
        ]  # fmt: skip
        return Client([*self.cluster.inside(), *generator], results, log)

    def delete_namespaces(self, *names: str) -> None:
        """Removes namespaces, without waiting for their end."""
        for name in names:
            self.kubectl.run("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def _words_for(kubeconfig: Path, lacking: Sequence[str]) -> str:
    lines = "".join(f"\n  - {piece}" for piece in lacking)
    return (
        f"the cluster of PERENNIAL_KUBECONFIG={kubeconfig} lacks what the demo and the cluster suites do not bring:{lines}\n"
        "Put it there, or take the embedded cluster, which has all of it: unset PERENNIAL_KUBECONFIG PERENNIAL_REGISTRY"
    )


def in_parallel(*works: Callable[[], Any]) -> list[Any]:
    """Runs callables at the same time; the first failure is raised."""
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]


__all__ = ["ClusterError", "Ground", "GroundError", "Images", "in_parallel"]
