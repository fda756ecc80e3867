"""The pods' control groups: two kubelets share one machine, so each gets a root of its own in every hierarchy.

Version 1 (several hierarchies) was proven by running it. Version 2 (one hierarchy) is detected and handled by the book and by
unit tests on a fake tree, but no cluster was ever run on it.
"""

import contextlib
import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.errors import ClusterError, MissingCapability
from cluster.settings import netns

ROOT = Path("/sys/fs/cgroup")
WANTED = ("cpu", "cpuset", "memory", "pids")
REMOVE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Tree:
    """The machine's control groups: the version, and the top directory of each hierarchy."""

    version: Literal[1, 2]
    hierarchies: tuple[Path, ...]


def detect(root: Path = ROOT) -> Tree:
    """Version 2 has its file `cgroup.controllers` at the top; version 1 has a directory for each hierarchy."""
    if (root / "cgroup.controllers").exists():
        return Tree(2, (root,))
    found = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.is_symlink()] if root.is_dir() else []
    hierarchies = tuple(entry for entry in found if (entry / "cgroup.procs").exists())
    names = {name for entry in hierarchies for name in entry.name.split(",")}
    lacking = [name for name in WANTED if name not in names]
    if lacking:
        raise MissingCapability(
            f"{root} shows neither cgroup version 2 nor the version 1 hierarchies {', '.join(lacking)}.",
            "mount the control groups (in a container: run it privileged, with the host's cgroup namespace)",
        )
    return Tree(1, hierarchies)


def prepare(tree: Tree, node: int) -> None:
    """Makes the node's root. A version 1 cpuset starts empty and takes no process until it is filled."""
    if tree.version == 2:
        _delegate(tree.hierarchies[0])
    for top in tree.hierarchies:
        group = top / netns(node)
        group.mkdir(exist_ok=True)
        if tree.version == 1 and "cpuset" in top.name.split(","):
            for name in ("cpuset.cpus", "cpuset.mems"):
                (group / name).write_text((top / name).read_text())


def _delegate(root: Path) -> None:
    """Lets children of the root use the controllers that pods need; already enabled ones are left alone."""
    offered = (root / "cgroup.controllers").read_text().split()
    enabled = (root / "cgroup.subtree_control").read_text().split()
    lacking = [name for name in WANTED if name not in offered]
    if lacking:
        raise MissingCapability(
            f"cgroup version 2 at {root} does not offer the controllers {', '.join(lacking)}.",
            "run on the host or in a container with the host's cgroup namespace",
        )
    wanted = [name for name in WANTED if name not in enabled]
    if not wanted:
        return
    try:
        (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))
    except OSError as refused:
        raise MissingCapability(
            f"The controllers {', '.join(wanted)} cannot be handed down from {root}: {refused.strerror}.",
            "run on the host or in a container with the host's cgroup namespace",
        ) from refused


def groups(tree: Tree, node: int) -> list[Path]:
    """All groups of a node that exist, the deepest first."""
    tops = [top / netns(node) for top in tree.hierarchies]
    return [group for top in tops if top.is_dir() for group in _deepest_first(top)]


def _deepest_first(group: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        for child in sorted(group.iterdir()):
            if child.is_dir():
                yield from _deepest_first(child)
    yield group


def members(tree: Tree, node: int) -> set[int]:
    """The pids of everything that runs in the node's pods."""
    pids: set[int] = set()
    for group in groups(tree, node):
        with contextlib.suppress(OSError):
            pids.update(int(line) for line in (group / "cgroup.procs").read_text().split())
    return pids - {0}


def remove(tree: Tree, node: int) -> None:
    """Removes the node's groups; the kernel keeps one busy for a moment after its last process has ended."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while left := groups(tree, node):
        for group in left:
            try:
                group.rmdir()
            except FileNotFoundError:
                continue
            except OSError as busy:
                if busy.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
        if time.monotonic() > deadline:
            raise ClusterError(f"The control group {left[0]} stays busy: see its cgroup.procs for who is in it.")
        time.sleep(0.05)
