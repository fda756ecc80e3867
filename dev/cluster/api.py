"""The cluster for Python callers: the demo, the cluster tests and the benchmarks. `current()` gives the one to use.

It never reads the user's own KUBECONFIG or current context.
"""

import base64
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cluster import buildah, controlplane, external, gateway, images, lifecycle, network, project, registry, shell, store
from cluster.errors import ClusterError
from cluster.progress import Progress, Quiet
from cluster.settings import REGISTRY, Settings, from_environment, netns


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is up. `netns` is the network namespace of node1, or None for a cluster of the user's."""

    settings: Settings
    kubeconfig: Path
    registry: str
    netns: str | None
    progress: Progress = field(default_factory=Quiet, compare=False)

    @classmethod
    def embedded(cls, settings: Settings, progress: Progress | None = None) -> "Cluster":
        return cls(settings, settings.kubeconfig, REGISTRY, netns(1), progress or Quiet())

    @property
    def gateway_address(self) -> str:
        """Address of the Gateway `gw` in namespace `perennial-gateway`; reached by what runs `inside()`, on port 80."""
        return gateway.address(self._asked())

    @property
    def gateway_reference(self) -> dict[str, str]:
        """A parentRef for HTTPRoutes of any namespace."""
        return {"name": gateway.GATEWAY, "namespace": gateway.NAMESPACE}

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
        """The output of kubectl as administrator; raises ClusterError with what it said."""
        binary: str | Path = self.settings.kubectl if self.settings.kubectl.exists() else "kubectl"
        argv = [binary, f"--kubeconfig={self.kubeconfig}", *words]
        return shell.run(argv, what=f"kubectl {' '.join(words[:3])}", stdin=stdin, timeout=timeout)

    def apply(self, *manifests: Mapping[str, object]) -> None:
        """Server-side apply as field manager `perennial-dev`."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        self.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=perennial-dev", "-f", "-", stdin=text)

    def inside(self) -> tuple[str, ...]:
        """The words before a command that put it on the cluster's network, with its DNS; none for a cluster of the user's."""
        return network.with_cluster_names(self.settings) if self.netns else ()

    def run(self, *command: str, timeout: float | None = None, stdin: str | None = None) -> str:
        """The output of a command on the cluster's network; raises ClusterError when it fails."""
        return shell.run([*self.inside(), *command], what=" ".join(command[:3]), timeout=timeout, stdin=stdin)

    def popen(self, command: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
        """Starts a command on the cluster's network; whoever starts it ends it."""
        return subprocess.Popen([*self.inside(), *command], **options)  # type: ignore[call-overload,no-any-return]

    def push(
        self,
        image: str,
        dockerfile_dir: Path | None = None,
        build_args: Mapping[str, str] | None = None,
        *,
        dockerfile: Path | None = None,
        parent: str | None = None,
    ) -> str:
        """Builds an image when its content is new, and returns its reference by digest.

        `image` is one of the project's (`perennial/runtime`, or just `runtime`), or any name when `dockerfile_dir` says where its
        Dockerfile and files are. `parent` names a project image that takes the place of BASE_IMAGE.
        """
        if dockerfile_dir is None:
            recipe = project.recipe(self.settings.repository, image)
        else:
            context = dockerfile_dir.absolute()
            recipe = project.ImageRecipe(image, dockerfile or context / "Dockerfile", context, parent, dict(build_args or {}))
        return self.push_recipe(recipe)

    def push_recipe(self, recipe: project.ImageRecipe) -> str:
        """Builds an image when its content is new, and returns its reference by digest."""
        return f"{self.registry}/{recipe.name}@{self._publish(recipe)[1]}"

    def _publish(self, recipe: project.ImageRecipe) -> tuple[str, str]:
        """The name under which buildah knows the image, and its digest in the registry, where it is when this returns."""
        base = images.BASE_IMAGE
        if recipe.parent is not None:
            base = self._publish(project.recipe(self.settings.repository, recipe.parent))[0]
        tag = project.content_digest(recipe, base)
        local = f"localhost/{recipe.name}:{tag}"
        # a registry of the user's may want to be logged in to, which buildah does: there the push itself finds what is new
        known = registry.digest_of(recipe.name, tag) if self.netns else None
        if known is not None:
            return local, known
        log = self.settings.build_logs / f"{recipe.name.replace('/', '-')}.log"
        with lifecycle.building(self.settings, self.progress), self.progress.step(recipe.name, "building and pushing"):
            buildah.make_room(self.settings, log)
            self._build(recipe, log)
            digest = buildah.push(self.settings, local, f"{self.registry}/{recipe.name}:{tag}", log, plain=self.netns is not None)
        return local, digest

    def _build(self, recipe: project.ImageRecipe, log: Path) -> str:
        """Builds an image and, where buildah has forgotten them, those it starts from; returns its local name."""
        if recipe.parent is None:
            base = images.ensure_base(self.settings, self.progress)
        else:
            base = self._build(project.recipe(self.settings.repository, recipe.parent), log)
        local = f"localhost/{recipe.name}:{project.content_digest(recipe, base)}"
        if not buildah.exists(self.settings, local):
            arguments = {"BASE_IMAGE": base, **recipe.arguments}
            buildah.build(
                self.settings, local, dockerfile=recipe.dockerfile, context=recipe.context, arguments=arguments, log=log
            )
        return local

    def store_data(self, *, read_only: bool = False) -> dict[str, str]:
        """The keys of the S3 store as environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on)."""
        name = store.READER if read_only else store.WRITER
        found = json.loads(self.kubectl("get", "secret", name, "-n", store.NAMESPACE, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def copy_store_secrets(self, namespace: str) -> None:
        """Puts the Secrets `perennial-store` and `perennial-store-read` into a namespace that exists."""
        self.apply(
            store.secret_manifest(store.WRITER, namespace, self.store_data()),
            store.secret_manifest(store.READER, namespace, self.store_data(read_only=True)),
        )

    def make_bucket(self, name: str) -> None:
        """Makes a bucket in the embedded store; the same again does nothing."""
        script = f"fs.mkdir /buckets/{name}\n"
        self.kubectl(
            "exec", "-i", "-n", store.NAMESPACE, "deployment/store", "--",
            "weed", "shell", "-master=127.0.0.1:9333", stdin=script, timeout=60,
        )  # fmt: skip

    def _asked(self) -> Settings:
        if self.netns is None:
            raise ClusterError("The Gateway is only known of the embedded cluster; ask yours: kubectl get gateway -A.")
        return self.settings


def current(progress: Progress | None = None) -> Cluster:
    """The cluster to use: the user's by PERENNIAL_KUBECONFIG, else the embedded one, which must be up."""
    settings = from_environment()
    chosen = external.from_environment(os.environ)
    if chosen is not None:
        external.check(chosen)
        return Cluster(settings, chosen.kubeconfig, chosen.registry, None, progress or Quiet())
    if not settings.kubeconfig.exists() or not controlplane.ready(settings):
        raise ClusterError("The embedded cluster is not up: run `make cluster` (or `python -m cluster up`) first.")
    return Cluster.embedded(settings, progress)
