"""The wires: a network namespace for each node, a veth to node1 from the machine, one from node1 to node2.

    machine 198.18.8.1 --- 198.18.8.2 node1 198.18.8.5 --- 198.18.8.6 node2

Every step may be repeated, so a killed `up` is finished by the next one.
"""

import json
import os
from pathlib import Path

from cluster import shell
from cluster.errors import ClusterError, MissingCapability
from cluster.settings import DOMAIN, HOST, NAME, NODE1, NODE1_TO_NODE2, NODE2, NODE2_LINK, Settings, netns

HOST_LINK = f"{NAME}0"
NAMESPACES = Path("/run/netns")
NODES = (1, 2)


def ensure(settings: Settings) -> None:
    """Makes what is missing of namespaces, links, addresses and routes."""
    _refuse_foreign_addresses()
    for node in NODES:
        _ensure_namespace(netns(node))
    one, two = netns(1), netns(2)
    _ensure_veth(None, HOST_LINK, one, "up0")
    _ensure_veth(one, "n2", two, "up0")
    for space, link, address in (
        (None, HOST_LINK, f"{HOST}/30"),
        (one, "up0", f"{NODE1}/30"),
        (one, "n2", f"{NODE1_TO_NODE2}/30"),
        (two, "up0", f"{NODE2}/30"),
    ):
        _ip(space, "address", "replace", address, "dev", link)
        _ip(space, "link", "set", link, "up")
    for space in (one, two):
        _ip(space, "link", "set", "lo", "up")
        shell.run([*inside(space), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"], what=f"forwarding in {space}")
    _ip(one, "route", "replace", "default", "via", HOST)
    _ip(one, "route", "replace", "10.244.2.0/24", "via", NODE2)
    _ip(two, "route", "replace", "default", "via", NODE1_TO_NODE2)
    _ip(None, "route", "replace", NODE2_LINK, "via", NODE1)  # answers to node2 find their way
    text = f"nameserver {NODE1}\nsearch svc.{DOMAIN} {DOMAIN}\noptions ndots:5\n"
    shell.write_atomically(settings.state / "resolv.conf", text)


def complete() -> bool:
    """Whether the wires are there; what is broken in them shows when the nodes are asked."""
    return all(_mounted(NAMESPACES / netns(node)) for node in NODES) and _link_exists(None, HOST_LINK)


def remove() -> None:
    """Takes the namespaces away; links and routes go with them. Who still lives inside must have been ended before."""
    if _link_exists(None, HOST_LINK):
        _ip(None, "link", "delete", HOST_LINK)
    for node in NODES:
        path = NAMESPACES / netns(node)
        if _mounted(path):
            shell.run(["ip", "netns", "delete", netns(node)])
        path.unlink(missing_ok=True)


def residents() -> set[int]:
    """The pids of everything that runs in the nodes' namespaces (the pods have namespaces of their own)."""
    pids: set[int] = set()
    for node in NODES:
        if _mounted(NAMESPACES / netns(node)):
            pids.update(map(int, shell.run(["ip", "netns", "pids", netns(node)]).split()))
    return pids - {os.getpid()}


def leftovers() -> list[str]:
    """What of the network still exists, in words."""
    found = [f"network namespace {netns(node)}" for node in NODES if (NAMESPACES / netns(node)).exists()]
    if _link_exists(None, HOST_LINK):
        found.append(f"interface {HOST_LINK}")
    return found + [f"route {line}" for line in shell.run(["ip", "route"]).splitlines() if f" {HOST_LINK} " in f"{line} "]


def inside(space: str) -> tuple[str, ...]:
    """The words before a command that put it into a namespace. `ip netns exec` would remount /sys and hide the cgroups."""
    return ("nsenter", f"--net={NAMESPACES / space}")


def with_cluster_names(settings: Settings) -> tuple[str, ...]:
    """The words before a command that put it on node1's network with the cluster's DNS, so that service names resolve."""
    resolver = Path("/etc/resolv.conf").resolve()
    script = f'mount --bind "{settings.state / "resolv.conf"}" "{resolver}" && exec "$@"'
    return (*inside(netns(1)), "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "run")


def _ensure_namespace(space: str) -> None:
    path = NAMESPACES / space
    if _mounted(path):
        return
    path.unlink(missing_ok=True)  # the empty file that a killed `ip netns add` leaves
    try:
        shell.run(["ip", "netns", "add", space])
    except ClusterError as refused:
        raise MissingCapability(
            f"No network namespace can be made here: {refused}", "run in a virtual machine or a privileged container"
        ) from refused


def _ensure_veth(space: str | None, link: str, peer_space: str, peer: str) -> None:
    """Both ends exist or neither: a half of another pair is in the way and goes."""
    ends = ((space, link), (peer_space, peer))
    existing = [end for end in ends if _link_exists(*end)]
    if len(existing) == 2:
        return
    for where, name in existing:
        _ip(where, "link", "delete", name)
    _ip(space, "link", "add", link, "type", "veth", "peer", "name", peer, "netns", peer_space)


def _refuse_foreign_addresses() -> None:
    """The addresses must be free: another network on them would swallow the cluster's traffic, or get it."""
    prefix = HOST.rpartition(".")[0] + "."
    for link in json.loads(shell.run(["ip", "-j", "address"]) or "[]"):
        taken = [entry["local"] for entry in link.get("addr_info", []) if entry.get("local", "").startswith(prefix)]
        if taken and link["ifname"] != HOST_LINK:
            raise MissingCapability(
                f"The interface {link['ifname']} already has the address {taken[0]}, which the cluster needs.",
                f"remove it (ip link delete {link['ifname']}) if it is a leftover, or use another machine",
            )


def _link_exists(space: str | None, link: str) -> bool:
    return shell.succeeds(["ip", *(("-n", space) if space else ()), "link", "show", "dev", link])


def _mounted(path: Path) -> bool:
    return path.exists() and f" {path} " in Path("/proc/self/mountinfo").read_text()


def _ip(space: str | None, *words: str) -> None:
    shell.run(["ip", *(("-n", space) if space else ()), *words])
