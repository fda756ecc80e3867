"""What the machine must offer: checked before anything is changed, each lack named with its fix; Debian packages installed."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cluster import shell
from cluster.errors import MissingCapability
from cluster.progress import Progress
from cluster.settings import Settings

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21
BUILD_BYTES, RUN_BYTES = 20 * 2**30, 6 * 2**30

# A file or program that proves the package is there
PACKAGES: Mapping[str, str] = {
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "nftables": "nft",
    "iproute2": "ip",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
    "util-linux": "nsenter",
    "kmod": "modprobe",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "curl": "curl",  # what `up`, the README and the demo tell people to type
}
PROMETHEUS = "prometheus"
"""A Debian package that is unpacked and not installed: installed, it would start a server of its own on every boot."""
SEARCH = ":".join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/bin", "/bin"))


def missing_packages() -> list[str]:
    """The Debian packages whose program is not on this machine."""

    def there(proof: str) -> bool:
        return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=SEARCH) is not None

    return [package for package, proof in PACKAGES.items() if not there(proof)]


def capabilities(status: str) -> int:
    """The effective capabilities in the text of /proc/self/status, as the kernel's bit mask."""
    line = next((line for line in status.splitlines() if line.startswith("CapEff:")), "CapEff: 0")
    return int(line.split()[1], 16)


def require_root() -> None:
    if os.geteuid() != 0:
        raise MissingCapability(
            "The embedded cluster makes network namespaces and mounts, and this is not root.",
            "run it as root (sudo make cluster), or set PERENNIAL_KUBECONFIG and PERENNIAL_REGISTRY to use a cluster of yours",
        )
    held = capabilities(Path("/proc/self/status").read_text())
    lacking = [name for bit, name in ((CAP_SYS_ADMIN, "SYS_ADMIN"), (CAP_NET_ADMIN, "NET_ADMIN")) if not held >> bit & 1]
    if lacking:
        raise MissingCapability(
            f"Root here lacks the capabilities {', '.join(lacking)}: no mounts or network namespaces can be made.",
            "run in a virtual machine or a privileged container, or set PERENNIAL_KUBECONFIG and PERENNIAL_REGISTRY",
        )


def require_disk(settings: Settings, built: bool) -> None:
    """Building needs room for Go's caches and the images; running needs room for the nodes' images."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    needed = RUN_BYTES if built else BUILD_BYTES
    free = shutil.disk_usage(settings.cache).free
    if free < needed:
        raise MissingCapability(
            f"{settings.cache} has {free / 2**30:.1f} GiB free; {'running' if built else 'building'} needs {needed / 2**30:.0f}.",
            "free some space, or set PERENNIAL_CACHE (and PERENNIAL_STATE) to directories on a larger disk",
        )


def require_kernel() -> None:
    known = Path("/proc/filesystems").read_text()
    if "overlay" not in known and not shell.succeeds(["modprobe", "overlay"]):
        raise MissingCapability("The kernel has no overlay file system.", "load the module: modprobe overlay")


def install_packages(settings: Settings, progress: Progress) -> None:
    """Installs from Debian what is missing, and nothing when all is there."""
    missing = missing_packages()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise MissingCapability(
            f"These programs are missing and there is no apt-get to install them: {', '.join(missing)}.",
            "install them with your distribution's tools, or use Debian 12",
        )
    log = settings.build_logs / "apt.log"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.step("Debian packages", f"installing {', '.join(missing)}", about=20):
        shell.retried(lambda: shell.run(["apt-get", "update", "-q"], log=log, env=quiet))
        # waits for another package manager, for instance one that a killed `up` left behind
        install = ["apt-get", "install", "-y", "-q", "-o", "DPkg::Lock::Timeout=300", *missing]
        shell.retried(lambda: shell.run(install, log=log, env=quiet, interruptible=False))


def prometheus(settings: Settings, progress: Progress) -> Path:
    """The Prometheus server that tests ask: the machine's own, else Debian's, unpacked into the cache."""
    return _of_prometheus(PROMETHEUS, settings, progress)


def promtool(settings: Settings, progress: Progress) -> Path:
    """What judges Prometheus' rules; it comes in the same package."""
    return _of_prometheus("promtool", settings, progress)


def _of_prometheus(name: str, settings: Settings, progress: Progress) -> Path:
    if own := shutil.which(name, path=SEARCH):
        return Path(own)
    unpacked = settings.cache / "debian" / PROMETHEUS
    program = unpacked / "usr" / "bin" / name
    if program.exists():
        return program
    log = settings.build_logs / "apt.log"
    with progress.step("Prometheus", "unpacking Debian's package", about=10), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # apt downloads as a user of its own
        shell.retried(lambda: shell.run(["apt-get", "update", "-q"], log=log))
        shell.retried(lambda: shell.run(["apt-get", "download", "-q", PROMETHEUS], log=log, cwd=folder))
        (package,) = folder.glob("*.deb")
        draft = unpacked.with_name(f".{PROMETHEUS}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
        shell.run(["dpkg", "-x", package, draft], log=log)
        shutil.rmtree(unpacked, ignore_errors=True)
        draft.rename(unpacked)
    return program
