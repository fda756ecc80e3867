"""Two ModelDeployments with one path on one Gateway: which HTTPRoute answers there. The Gateway API has both accepted, gives all
requests to the older one, and tells nobody.

Pure; called by `perennial.gathering`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from perennial.api.serving import Route
from perennial.core.observed import Meta
from perennial.manifests.route import http_route
from perennial.ports import Manifest


def rival(model: Meta, wish: Route, own: Manifest | None, others: Iterable[Manifest]) -> str:
    """What answers instead of a model's own HTTPRoute, in words; empty: nothing does.

    `own` is that route, None while there is none; `others` are those of other models for the same path. Hosts that are not the
    same are no rivals: the more exact one gets its requests.
    """
    wanted = http_route(model, wish, ())
    before = [route for route in others if _is_older(route, own) and _hosts(wanted, route) and _gateways(wanted, route)]
    if not before:
        return ""
    first = min(before, key=_age)
    answering, hosts = f"{first['metadata']['namespace']}/{first['metadata']['name']}", _hosts(wanted, first)
    where = f"on {' and '.join(sorted(hosts))} " if any(hosts) else ""
    path = wanted["spec"]["rules"][0]["matches"][0]["path"]["value"]
    return (
        f"requests for {path} {where}are answered by ModelDeployment {answering}, whose HTTPRoute is older: "
        "give this one a spec.serving.route.path of its own, or hostnames"
    )


def _is_older(route: Manifest, own: Manifest | None) -> bool:
    return own is None or (route["metadata"]["uid"] != own["metadata"]["uid"] and _age(route) < _age(own))


def _age(route: Manifest) -> tuple[str, str, str]:
    """The Gateway API's order of two routes with the same matches: by time of creation, then by namespace and name."""
    meta = route["metadata"]
    return str(meta.get("creationTimestamp", "")), meta["namespace"], meta["name"]


def _hosts(one: Manifest, other: Manifest) -> set[str]:
    """Hosts that both name; the empty one: neither names any."""
    first, second = (set((route.get("spec") or {}).get("hostnames") or [""]) for route in (one, other))
    return first & second


def _gateways(one: Manifest, other: Manifest) -> bool:
    """Whether both hang on a listener of one Gateway."""
    return any(_same_listener(first, second) for first, second in product(_parents(one), _parents(other)))


def _parents(route: Manifest) -> list[tuple[str, str, str]]:
    """(namespace, name, listener or empty for all)."""
    references: Iterable[Mapping[str, Any]] = (route.get("spec") or {}).get("parentRefs") or ()
    return [
        (ref.get("namespace") or route["metadata"]["namespace"], ref.get("name", ""), ref.get("sectionName") or "")
        for ref in references
    ]


def _same_listener(one: tuple[str, str, str], other: tuple[str, str, str]) -> bool:
    return one[:2] == other[:2] and (one[2] == other[2] or not one[2] or not other[2])
