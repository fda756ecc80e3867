"""Two ModelDeployments with one path on one Gateway: which HTTPRoute answers there. The Gateway API has both accepted, gives all
requests to the older one, and tells nobody.

Pure; called by `perennial.gathering`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from perennial.adapters import observe
from perennial.api.serving import Route
from perennial.core.observed import Meta
from perennial.manifests.route import http_route
from perennial.ports import Manifest

_Gateway = tuple[str, str, str]
"""Namespace, name, and listener or empty for all."""


def rival(model: Meta, wish: Route, own: Manifest | None, others: Iterable[Manifest]) -> str:
    """What answers instead of a model's own HTTPRoute, in words; empty: nothing does, or not everywhere.

    `own` is that route, None while there is none; `others` are our own routes for the same path. An older one counts where its
    Gateway has accepted it. Hosts that are not the same are no rivals: the more exact one gets its requests.
    """
    wanted = http_route(model, wish, ())
    older = sorted((route for route in others if _is_older(route, own)), key=_age)
    places = list(product(observe.parents(wanted), _hosts(wanted)))
    first = [next((route for route in older if _answers(route, gateway, host)), None) for gateway, host in places]
    found = [route for route in first if route is not None]
    if not found or len(found) < len(places):
        return ""
    models = ", ".join(dict.fromkeys(f"{route['metadata']['namespace']}/{route['metadata']['name']}" for route in found))
    gateways = ", ".join(dict.fromkeys(f"{gateway[0]}/{gateway[1]}" for gateway, _ in places))
    hosts = " and ".join(dict.fromkeys(host for _, host in places if host))
    path = wanted["spec"]["rules"][0]["matches"][0]["path"]["value"]
    return (
        f"requests for {path} {hosts and f'on {hosts} '}at Gateway {gateways} are answered by ModelDeployment {models}, whose "
        "HTTPRoute is older: give this one a spec.serving.route.path of its own, or hostnames"
    )


def _is_older(route: Manifest, own: Manifest | None) -> bool:
    return own is None or (route["metadata"]["uid"] != own["metadata"]["uid"] and _age(route) < _age(own))


def _age(route: Manifest) -> tuple[str, str, str]:
    """The Gateway API's order of two routes with the same matches: by time of creation, then by namespace and name."""
    meta = route["metadata"]
    return str(meta.get("creationTimestamp", "")), meta["namespace"], meta["name"]


def _answers(route: Manifest, gateway: _Gateway, host: str) -> bool:
    """Whether a route is accepted for this host at this Gateway, and at every listener of it that is asked for."""
    there = any(one[:2] == gateway[:2] and one[2] in ("", gateway[2]) for one in observe.accepted_parents(route))
    return there and host in _hosts(route)


def _hosts(route: Manifest) -> list[str]:
    """An empty one where it names none."""
    return [str(host) for host in (route.get("spec") or {}).get("hostnames") or [""]]
