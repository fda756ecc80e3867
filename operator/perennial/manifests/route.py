"""The HTTPRoute of a ModelDeployment: <path>/predict, and nothing else, to the Services of its versions by weight.

`backendRefs` is an atomic list, so every apply names all backends; weight 0 entries stay, so that a version keeps its place.
A mirror is a filter of the same rule: the gateway sends it what stable gets, at the rewritten path, and throws its answers away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perennial.api.serving import Route
from perennial.core.inputs import version_name
from perennial.core.observed import Meta, Mirror
from perennial.manifests.common import MANAGED_BY, MODEL_LABEL, RENDERED_ANNOTATION, Manifest, deployment_owner, digest, metadata
from perennial_runtime.contract import MIRROR_SERVICE_PORT

KIND = "gateway.networking.k8s.io/v1"


def http_route(meta: Meta, route: Route, weights: Sequence[tuple[int, int]], mirror: Mirror | None = None) -> Manifest:
    """The route with these weights (version, weight), and the version that requests are mirrored to."""
    spec: Manifest = {
        "parentRefs": [parent.model_dump(by_alias=True, exclude_none=True) for parent in route.parent_refs or ()],
        "rules": [
            {
                "matches": [{"path": {"type": "Exact", "value": predict_path(route.path or "")}}],
                "filters": [
                    {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/predict"}}}
                ],
            }
        ],
    }
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    labels = {MODEL_LABEL: meta.name, **MANAGED_BY}
    manifest: Manifest = {
        "apiVersion": KIND,
        "kind": "HTTPRoute",
        "metadata": metadata(meta.name, meta.namespace, deployment_owner(meta), labels),
        "spec": spec,
    }
    manifest["metadata"]["annotations"] = {RENDERED_ANNOTATION: digest(manifest)}
    spec["rules"][0]["backendRefs"] = [
        {"kind": "Service", "name": version_name(meta.name, version), "port": 80, "weight": weight} for version, weight in weights
    ]
    if mirror is not None:
        spec["rules"][0]["filters"].append(_mirrored(version_name(meta.name, mirror.version), mirror.percent))
    return manifest


def _mirrored(service: str, percent: int) -> Manifest:
    """Without a percentage where it is all of them: gateways may mirror without knowing shares."""
    mirror: Manifest = {"backendRef": {"kind": "Service", "name": service, "port": MIRROR_SERVICE_PORT}}
    if percent < 100:
        mirror["percent"] = percent
    return {"type": "RequestMirror", "requestMirror": mirror}


def in_order(route: Manifest) -> Manifest:
    """The same with its backends by name: in which order they stand changes nothing for any request."""
    return _with_backends(route, lambda backends: sorted(backends, key=lambda one: str(one.get("name", ""))))


def turned(route: Manifest, live: Manifest) -> Manifest:
    """The same with its backends the other way round than they stand in the live one: a new generation that changes nothing."""
    stand = [one.get("name") for rule in (live.get("spec") or {}).get("rules") or () for one in rule.get("backendRefs") or ()]
    place = {name: index for index, name in enumerate(stand)}
    return _with_backends(route, lambda backends: sorted(backends, key=lambda one: -place.get(one["name"], -1)))


def _with_backends(route: Manifest, arrange: Callable[[list[Manifest]], list[Manifest]]) -> Manifest:
    rules = [
        {**rule, "backendRefs": arrange(rule["backendRefs"])} if rule.get("backendRefs") else rule
        for rule in route["spec"].get("rules") or ()
    ]
    return {**route, "spec": {**route["spec"], "rules": rules}}


def predict_path(path: str) -> str:
    """The one path that is routed."""
    return path.rstrip("/") + "/predict"
