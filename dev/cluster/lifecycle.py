"""`up` and `down` in order. Every phase of `up` makes only what is missing, so it also mends a half-started or killed one.

One command at a time: a lock on the state directory's neighbour, which the kernel releases when its holder is killed.
"""

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from cluster import (
    buildah,
    certificates,
    cgroups,
    components,
    controlplane,
    gateway,
    host,
    images,
    network,
    nodes,
    processes,
    registry,
    shell,
    store,
)
from cluster.errors import ClusterError
from cluster.processes import Daemon, Running
from cluster.progress import Progress
from cluster.settings import Settings

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def _exclusive(path: Path, said_while_waiting: str, progress: Progress) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(said_while_waiting)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked(settings: Settings, progress: Progress) -> Iterator[None]:
    """Waits for another `up` or `down` of this cluster and says so."""
    path = settings.state.with_name(f"{settings.state.name}.lock")
    with _exclusive(path, "another command is changing the cluster; waiting for it", progress):
        if others := processes.other_states(settings.state):
            raise ClusterError(
                f"Another embedded cluster runs, with its state in {', '.join(sorted(others))}; a machine holds only one.\n"
                f"  fix: use it, or remove it first, with PERENNIAL_STATE={min(others)}"
            )
        yield


@contextlib.contextmanager
def building(settings: Settings, progress: Progress) -> Iterator[None]:
    """One build at a time, of components or of images: they share the cache, buildah's storage and the few cores."""
    with _exclusive(settings.cache / "build.lock", "another build is under way; waiting for it", progress):
        yield


def daemons(settings: Settings) -> list[Daemon]:
    """Everything that must run, in the order of its start."""
    workers = [daemon for node in nodes.NODES for daemon in nodes.daemons(settings, node)]
    return [registry.daemon(settings), *controlplane.daemons(settings), *workers]


def problems(settings: Settings) -> list[str]:
    """What is not as it must be, in words; empty for a healthy cluster. Changes nothing."""
    if not settings.state.is_dir() or not network.complete():
        return ["the cluster is not up"]
    if lacking := components.missing(settings):
        return [f"{component.title} {component.version} is not in the cache" for component in lacking]
    if wrong := wrong_daemons(daemons(settings), list(processes.marked(settings.state))):
        return wrong
    if not controlplane.ready(settings):
        return ["the API server is not ready"]
    return _unhealthy(settings)


def wrong_daemons(wanted: list[Daemon], running: list[Running]) -> list[str]:
    """The daemons that an `up` has to start, and those that it has to replace."""
    wrong = []
    for daemon in wanted:
        mine = [one for one in running if processes.is_daemon(one, daemon)]
        if not mine:
            wrong.append(f"{daemon.name} does not run")
        elif all(one.fingerprint != daemon.fingerprint for one in mine):
            wrong.append(f"{daemon.name} runs with an older command or configuration")
    return wrong


def _unhealthy(settings: Settings) -> list[str]:
    """What a cluster whose daemons all run still lacks; asked all at once, because every question starts a kubectl."""
    questions: tuple[tuple[Callable[[Settings], bool], str], ...] = (
        (lambda _: registry.answers(), "the registry does not answer"),
        (lambda it: not nodes.unready(it), "node1 or node2 is not Ready"),
        (lambda it: nodes.accelerators(it) == nodes.ADVERTISED, f"node2 does not advertise {nodes.ACCELERATOR}"),
        (gateway.programmed, "the Gateway is not Programmed, or by another version of Envoy Gateway"),
        (store.available, "the S3 store is not available, or of another version"),
    )
    with ThreadPoolExecutor() as pool:
        answers = [(pool.submit(asked, settings), finding) for asked, finding in questions]
        return [finding for answer, finding in answers if answer.exception() is not None or not answer.result()]


def build(settings: Settings, progress: Progress) -> None:
    """Fills the cache: Debian packages and components. Images follow when the registry runs."""
    host.require_root()
    host.require_disk(settings, built=not components.missing(settings))
    with building(settings, progress):
        host.install_packages(settings, progress)
        components.build(settings, progress)


def up(settings: Settings, progress: Progress) -> bool:
    """Brings the cluster up or mends it. False when it was healthy already and nothing was done."""
    host.require_root()
    with locked(settings, progress):
        wrong = problems(settings)
        if not wrong:
            return False
        _clear_ruins(settings, progress)
        if settings.state.is_dir():
            progress.say(f"mending: {'; '.join(wrong)}")
        host.require_kernel()
        cgroups.detect()
        build(settings, progress)
        shell.write_atomically(settings.state / "boot-id", BOOT_ID.read_text())
        progress.say("network: namespaces and links")
        network.ensure(settings)
        registry.start(settings)
        if images.missing():
            with building(settings, progress):
                images.publish(settings, progress)
        certificates.ensure(settings)
        with progress.step("control plane", "starting", about=8):
            controlplane.start(settings)
        with progress.step("nodes", "starting node1 (CPU) and node2 (two advertised accelerators)", about=8):
            for node in nodes.NODES:
                nodes.start(settings, node)
            nodes.wait_ready(settings)
            nodes.advertise_accelerators(settings)
        _add_ons(settings, progress)
        still = problems(settings)
        if still:
            raise ClusterError(f"The cluster came up, but: {'; '.join(still)}")
        return True


def _clear_ruins(settings: Settings, progress: Progress) -> None:
    """Removes what cannot be mended: processes whose files are gone, and files from before the machine was restarted.

    etcd does not wait for the disk here, so after a restart its data may be anything.
    """
    if of_an_earlier_boot(settings.state, BOOT_ID.read_text()):
        progress.say("the machine was restarted since the cluster came up; starting it afresh")
        _sweep(settings, progress)
    elif not settings.state.is_dir() and shutil.which("ip", path=host.SEARCH) and _remains(settings):
        progress.say("a cluster without its files is still there; removing it first")
        _sweep(settings, progress)


def of_an_earlier_boot(state: Path, boot_id: str) -> bool:
    """Whether the state directory was made before this start of the machine."""
    recorded = state / "boot-id"
    return recorded.exists() and recorded.read_text() != boot_id


def _add_ons(settings: Settings, progress: Progress) -> None:
    progress.say("S3 store: applying")
    store.start(settings)  # its image is pulled while Helm works
    gateway.start(settings, progress)
    with progress.step("S3 store and Gateway", "waiting until both serve", about=15):
        store.wait_ready(settings)
        gateway.wait_programmed(settings)


def down(settings: Settings, progress: Progress) -> list[str]:
    """Ends everything and removes the state; returns what could not be removed (empty: nothing is left)."""
    host.require_root()
    with locked(settings, progress):
        _sweep(settings, progress)
        _clear_builds(settings, progress)
        return leftovers(settings)


def _sweep(settings: Settings, progress: Progress) -> None:
    """Ends every process first, kubelets before pods so that none is started again; then removes what they stood on."""
    progress.say("ending kubelets, control plane and registry")
    found = list(processes.marked(settings.state))
    processes.end([one.identity for one in found if not one.daemon.startswith("containerd")], grace=1)
    progress.say("ending the pods")
    tree = cgroups.detect()
    for node in nodes.NODES:
        _end_all(partial(cgroups.members, tree, node.number))
    processes.end([one.identity for one in processes.marked(settings.state)], grace=2)
    _end_all(network.residents)
    progress.say("removing mounts, network and control groups")
    _unmount(settings.state)
    network.remove()
    for node in nodes.NODES:
        cgroups.remove(tree, node.number)
    with progress.step("files", "removing, unpacked images among them"):
        _remove_state(settings)


def _clear_builds(settings: Settings, progress: Progress) -> None:
    """Unmounts what killed builds left; one that is under way is waited for. The next build removes their working containers."""
    own = buildah.storage(settings)
    if not own.run.exists() and not _mounted_below(own.root):
        return
    with building(settings, progress):
        for directory in (own.root, own.run):
            _unmount(directory)
        if not _mounted_below(own.run):
            shutil.rmtree(own.run, ignore_errors=True)


def _end_all(who: Callable[[], set[int]]) -> None:
    """SIGKILL for everything in a set of pids that may still grow while it is ended."""
    deadline = time.monotonic() + 15
    while pids := who():
        identities = [identity for pid in pids if (identity := processes.identify(pid)) is not None]
        if not identities:
            return  # only zombies that wait for their parent
        processes.end(identities, grace=0)
        if time.monotonic() > deadline:
            raise ClusterError(f"These processes do not end: {sorted(pids)}")


def mounts_below(directory: Path, mountinfo: str) -> list[Path]:
    """Mount points below a directory, the deepest and latest first. The kernel writes blanks as \\040."""
    points = [Path(line.split()[4].replace("\\040", " ")) for line in mountinfo.splitlines() if line.strip()]
    top = directory.resolve()  # the kernel tells no symbolic links
    return [point for point in reversed(points) if point.is_relative_to(top)]


def _mounted_below(directory: Path) -> list[Path]:
    return mounts_below(directory, Path("/proc/self/mountinfo").read_text())


def _unmount(directory: Path) -> None:
    for point in _mounted_below(directory):
        shell.succeeds(["umount", "-l", point])


def _remove_state(settings: Settings) -> None:
    """Only once nothing is mounted below it: otherwise removing would reach into what is mounted."""
    if _mounted_below(settings.state):
        return
    # the unpacked images are very many files; rm looks again at directories that grew, and never enters another file system
    shell.succeeds(["rm", "-rf", "--one-file-system", settings.state], timeout=300)
    containers = Path("/var/log/containers")
    for link in containers.iterdir() if containers.is_dir() else ():
        if link.is_symlink() and link.readlink().is_relative_to(settings.state):
            link.unlink()


def leftovers(settings: Settings) -> list[str]:
    """What still exists of the cluster and of image builds, in words; the cache's files are meant to stay."""
    own = buildah.storage(settings)
    return _remains(settings) + [f"mount {point}" for top in (own.root, own.run) for point in _mounted_below(top)]


def _remains(settings: Settings) -> list[str]:
    """What still exists of the cluster alone."""
    left = [f"process {one.identity.pid} ({one.daemon}: {one.program})" for one in processes.marked(settings.state)]
    left += [f"mount {point}" for point in _mounted_below(settings.state)]
    left += network.leftovers()
    tree = cgroups.detect()
    left += [f"control group {group}" for node in nodes.NODES for group in cgroups.groups(tree, node.number)]
    if settings.state.exists():
        left.append(f"directory {settings.state}")
    return left
