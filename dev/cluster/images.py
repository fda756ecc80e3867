"""Images that the cluster itself needs, built here because no public registry is asked: pause, Envoy, its gateway, SeaweedFS.

They are pushed to the cluster's registry once; their tags carry a digest of the recipe, so an image that is there is right.
The base image (Debian with Python 3.11 and pip) stands in for python:3.11-slim in the project's own Dockerfiles.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from cluster import buildah, registry, shell, versions
from cluster.components import Component
from cluster.progress import Progress
from cluster.settings import REGISTRY, Settings

BASE_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,python-is-python3"
BASE_HOOKS = (
    # pip may install into the image's Python: there is nothing of Debian's to protect in an image
    'rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*',
)
BASE_DOCKERFILE = "FROM scratch\nADD root.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8\n"


def _short(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


BASE_IMAGE = f"localhost/perennial-base:{versions.DEBIAN}-{_short(BASE_PACKAGES, BASE_DOCKERFILE, *BASE_HOOKS)}"


@dataclass(frozen=True, slots=True)
class SystemImage:
    """One program of a component on the base image, or on nothing."""

    name: str
    component: Component
    program: str
    on_base: bool
    user: int

    @property
    def dockerfile(self) -> str:
        start = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}" if self.on_base else "FROM scratch"
        where = f"/usr/local/bin/{self.program}"
        return f'{start}\nCOPY {self.program} {where}\nUSER {self.user}\nENTRYPOINT ["{where}"]\n'

    @property
    def repository(self) -> str:
        return f"perennial-dev/{self.name}"

    @property
    def tag(self) -> str:
        recipe = _short(self.dockerfile, BASE_IMAGE if self.on_base else "")
        return f"v{self.component.version}-{recipe}"

    @property
    def reference(self) -> str:
        return f"{REGISTRY}/{self.repository}:{self.tag}"


PAUSE = SystemImage("pause", Component.PAUSE, "pause", on_base=False, user=65535)
ENVOY = SystemImage("envoy", Component.ENVOY, "envoy", on_base=True, user=65532)
GATEWAY = SystemImage("gateway", Component.ENVOY_GATEWAY, "envoy-gateway", on_base=True, user=65532)
STORE = SystemImage("seaweedfs", Component.SEAWEEDFS, "weed", on_base=True, user=65532)
SYSTEM_IMAGES = (PAUSE, ENVOY, GATEWAY, STORE)


def pause_reference() -> str:
    return PAUSE.reference


def missing() -> list[SystemImage]:
    """The images that the running registry does not hold."""
    return [image for image in SYSTEM_IMAGES if registry.digest_of(image.repository, image.tag) is None]


def publish(settings: Settings, progress: Progress) -> None:
    """Builds and pushes the system images that the registry lacks."""
    for image in missing():
        if image.on_base:
            ensure_base(settings, progress)
        with progress.step(f"image {image.name}", "building and pushing to the registry"):
            _publish(settings, image)


def _publish(settings: Settings, image: SystemImage) -> None:
    context = settings.cache / "build" / image.name
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir(parents=True)
    try:
        source = image.component.directory(settings) / image.program
        shutil.copy2(source, context / image.program)
        (context / "Dockerfile").write_text(image.dockerfile)
        local = f"localhost/{image.repository}:{image.tag}"
        log = settings.build_logs / "images.log"
        arguments = {"BASE_IMAGE": BASE_IMAGE} if image.on_base else {}
        buildah.build(settings, local, dockerfile=context / "Dockerfile", context=context, arguments=arguments, log=log)
        buildah.push(settings, local, image.reference, log, plain=True)
    finally:
        shutil.rmtree(context, ignore_errors=True)


def ensure_base(settings: Settings, progress: Progress) -> str:
    """The name under which buildah knows the base image; makes it on first use."""
    if buildah.exists(settings, BASE_IMAGE):
        return BASE_IMAGE
    with progress.step("base image", f"Debian {versions.DEBIAN} with Python", versions.SECONDS_TO_BUILD["base image"]):
        context = settings.cache / "build" / "base"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        log = settings.build_logs / "base.log"
        try:
            shell.retried(lambda: _debian(context / "root.tar", log))
            (context / "Dockerfile").write_text(BASE_DOCKERFILE)
            buildah.build(settings, BASE_IMAGE, dockerfile=context / "Dockerfile", context=context, arguments={}, log=log)
        finally:
            shutil.rmtree(context, ignore_errors=True)
    return BASE_IMAGE


def _debian(archive: Path, log: Path) -> None:
    archive.unlink(missing_ok=True)
    hooks = [f"--customize-hook={hook}" for hook in BASE_HOOKS]
    lean = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    argv: list[str | Path] = [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={BASE_PACKAGES}",
        *lean,
        *hooks,
        versions.DEBIAN,
        archive,
    ]
    shell.run(argv, log=log)
