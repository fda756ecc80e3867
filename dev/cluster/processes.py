"""The cluster's daemons as processes: start, find, end. lifecycle, controlplane and nodes use it.

A daemon carries its identity in its environment (state directory, name, fingerprint of its command), which its children
inherit. So there are no pid files to go stale: what runs is read from /proc, also after a killed `up`. A process is only
ever signalled through a pidfd whose start time was compared, so a reused pid can never hit a foreign process.
"""

import contextlib
import hashlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import CommandFailed
from cluster.settings import Settings

MARK = "PERENNIAL_DEV_DAEMON"
GRACE_SECONDS = 4.0
LOOKS = 20
LOOK_SECONDS = 0.05
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Daemon:
    """A long-running program: in which network namespace (None: the machine's), with which command and configuration."""

    name: str
    argv: tuple[str, ...]
    netns: str | None
    config: str = ""  # text of its configuration files: a change restarts it
    path: tuple[Path, ...] = ()  # directories put before PATH

    @property
    def fingerprint(self) -> str:
        """Changes with anything that a running instance could not have noticed."""
        parts = "\0".join((*self.argv, self.netns or "", self.config, *map(str, self.path)))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from a later one with the same pid by its start time (clock ticks since boot)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Running:
    """A process that carries this cluster's mark; `daemon` is where it came from, `program` what it executes now."""

    identity: Identity
    daemon: str
    fingerprint: str
    program: str


def identify(pid: int, proc: Path = PROC) -> Identity | None:
    """Who has this pid now; None when nobody has it (a zombie is nobody: it has ended)."""
    try:
        # The second field is the program's name in brackets and may hold anything, brackets and blanks too
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return Identity(pid, int(fields[19]))


def marked(state: Path, proc: Path = PROC) -> Iterator[Running]:
    """Every live process that a daemon of this state directory is or has started."""
    return (running for where, running in _all_marked(proc) if where == str(state))


def other_states(state: Path, proc: Path = PROC) -> set[str]:
    """State directories of clusters that run besides this one: they would share its addresses and control groups."""
    return {where for where, _ in _all_marked(proc)} - {str(state)}


def _all_marked(proc: Path) -> Iterator[tuple[str, Running]]:
    prefix = f"{MARK}=".encode()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            program = (entry / "exe").readlink().name
        except OSError:
            continue  # ended meanwhile, or a kernel thread
        mark = next((text for text in variables if text.startswith(prefix)), None)
        identity = identify(int(entry.name), proc)
        if mark is not None and identity is not None:
            where, name, fingerprint = (mark[len(prefix) :].decode(errors="replace") + "||").split("|")[:3]
            yield where, Running(identity, name, fingerprint, program.removesuffix(" (deleted)"))


def is_daemon(running: Running, daemon: Daemon) -> bool:
    """Whether this process is the daemon itself: its children (containerd's shims) carry the mark too, but run another program.

    `setsid` and `nsenter` are the daemon a moment before it becomes the program.
    """
    return running.daemon == daemon.name and running.program in (Path(daemon.argv[0]).resolve().name, "nsenter", "setsid")


def instances(settings: Settings, daemon: Daemon) -> list[Running]:
    return [found for found in marked(settings.state) if is_daemon(found, daemon)]


def log_of(settings: Settings, name: str) -> Path:
    return settings.logs / f"{name}.log"


def start(settings: Settings, daemon: Daemon) -> None:
    """Starts it detached from this process, so that it outlives the command line."""
    log = log_of(settings, daemon.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    # not `ip netns exec`: that remounts /sys, and the kubelet would then find no cgroups
    enter = ("nsenter", f"--net=/run/netns/{daemon.netns}") if daemon.netns else ()
    environment = {
        "PATH": ":".join((*map(str, daemon.path), os.environ.get("PATH", "/usr/bin:/bin"), "/usr/sbin", "/sbin")),
        "HOME": str(settings.state),
        MARK: f"{settings.state}|{daemon.name}|{daemon.fingerprint}",
    }
    with log.open("a") as out:
        subprocess.run(
            ["setsid", "--fork", *enter, *daemon.argv],  # a child of init's, not ours: we may end, or live on, without it
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=settings.state,
            check=True,
        )


def ensure(settings: Settings, daemon: Daemon) -> bool:
    """Leaves a running instance of exactly this command alone; ends others; starts one when none is left. True if started."""
    found = instances(settings, daemon)
    current = [one for one in found if one.fingerprint == daemon.fingerprint][:1]
    end([one.identity for one in found if one not in current])
    if not current:
        start(settings, daemon)
    return not current


def must_live(settings: Settings, daemon: Daemon) -> None:
    """Raises with the daemon's own last words when it has ended.

    One look is not enough: in the moment of its exec a process has no environment to be known by.
    """
    for _ in range(LOOKS):
        if instances(settings, daemon):
            return
        time.sleep(LOOK_SECONDS)
    raise CommandFailed(f"{daemon.name} ended by itself", log=log_of(settings, daemon.name))


def end(identities: Iterable[Identity], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM, then SIGKILL to what is left after `grace` seconds; returns when all have ended."""
    with contextlib.ExitStack() as open_handles:
        handles = []
        for identity in identities:
            handle = _open(identity)
            if handle is not None:
                open_handles.callback(os.close, handle)
                handles.append(handle)
        for sent, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
            for handle in handles if patience else ():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, sent)
            handles = _still_alive(handles, patience)


def _open(identity: Identity) -> int | None:
    """A handle on exactly this process; the comparison after opening rules out a pid that was reused in between."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if identify(identity.pid) == identity:
        return handle
    os.close(handle)
    return None


def _still_alive(handles: list[int], seconds: float) -> list[int]:
    """A pidfd becomes readable when its process ends."""
    deadline = time.monotonic() + seconds
    alive = list(handles)
    while alive and (left := deadline - time.monotonic()) > 0:
        ended, _, _ = select.select(alive, [], [], left)
        alive = [handle for handle in alive if handle not in ended]
    return alive
