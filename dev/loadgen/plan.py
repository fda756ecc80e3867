"""What to send, how fast and where to: checked before the first request, so that no load ever leaves the cluster."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

ALLOWED = tuple(
    ipaddress.ip_network(text) for text in ("127.0.0.0/8", "::1/128", "198.18.0.0/15", "10.96.0.0/16", "10.244.0.0/16")
)
"""This machine, and the nodes, Services and pods of the embedded cluster."""
MAX_RATE = 2000.0
MAX_SECONDS = 4 * 3600.0


class PlanError(ValueError):
    """The plan cannot be carried out; the message names what was found and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An open-loop load: `rate` requests a second for `seconds`, the bodies in turn."""

    url: str
    bodies: Sequence[bytes]
    rate: float = 100.0
    seconds: float = 60.0
    connections: int = 64
    """Kept alive; a request that finds none free waits, and its waiting is part of its latency."""
    under_way: int = 2000
    """Requests without an answer at most; over it a request is noted as not sent, for the generator must not grow for ever."""
    timeout: float = 10.0
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many requests are scheduled."""
        return max(1, round(self.rate * self.seconds))


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go: a URL whose host is a checked address, and the Host header that the URL named."""

    url: str
    host: str


def check(plan: Plan) -> Target:
    """The plan's target. Raises PlanError when it is out of bounds or leads out of the cluster."""
    if not 0 < plan.rate <= MAX_RATE:
        raise PlanError(f"rate {plan.rate:g}: give 0 < rate <= {MAX_RATE:g} requests a second")
    if not 0 < plan.seconds <= MAX_SECONDS:
        raise PlanError(f"duration {plan.seconds:g}: give 0 < duration <= {MAX_SECONDS:g} seconds")
    if not plan.bodies:
        raise PlanError("no bodies: give at least one request body")
    if plan.connections < 1 or plan.under_way < 1 or plan.timeout <= 0:
        raise PlanError("connections, under_way and timeout must be positive")
    return _target(plan.url)


def _target(url: str) -> Target:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise PlanError(f"url {url!r}: give http://host:port/path")
    port = parts.port or 80
    address = _address(parts.hostname, port)
    shown = f"[{address}]" if address.version == 6 else str(address)
    query = f"?{parts.query}" if parts.query else ""
    return Target(f"http://{shown}:{port}{parts.path or '/'}{query}", parts.netloc.rpartition("@")[2])


def _address(host: str, port: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        found = {ipaddress.ip_address(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise PlanError(f"host {host!r} has no address ({error}): run this inside the cluster's network") from error
    outside = sorted(str(address) for address in found if not any(address in network for network in ALLOWED))
    if outside:
        raise PlanError(
            f"host {host!r} is {', '.join(outside)}, which is neither this machine nor the embedded cluster "
            f"({', '.join(map(str, ALLOWED))}): no load is sent there"
        )
    return min(found, key=lambda address: (address.version, int(address)))


def read_bodies(path: Path) -> list[bytes]:
    """The lines of a JSON Lines file. A line with "instances" is a whole body; any other object is one instance."""
    try:
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise PlanError(f"body file {path}: {error.strerror}") from error
    return [_body(line, f"{path.name} line {number}") for number, line in enumerate(lines, 1)]


def _body(line: bytes, where: str) -> bytes:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise PlanError(f"{where} is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise PlanError(f"{where} is not a JSON object")
    return json.dumps(document if "instances" in document else {"instances": [document]}, separators=(",", ":")).encode()
