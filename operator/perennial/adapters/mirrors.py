"""Whether the Gateways of a class can mirror requests: by what the class lists, or by what is known of its controller.

Used by `perennial.adapters.surroundings`.
"""

from __future__ import annotations

from perennial.ports import Manifest

MIRROR, PERCENTAGE_MIRROR = "HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"
MIRRORS_UNSAID = frozenset({"gateway.envoyproxy.io/gatewayclass-controller"})
"""Controllers that list no features and are known to mirror: tests/cluster/test_shadow.py proves it of Envoy Gateway."""


def mirror_problem(gateway_class: Manifest, percent: int) -> str:
    """Why Gateways of this class cannot mirror `percent` of the requests, as far as it says; empty when they can."""
    name = f"GatewayClass {gateway_class['metadata']['name']}"
    listed = (gateway_class.get("status") or {}).get("supportedFeatures") or ()
    features = {str(one.get("name", "")) if isinstance(one, dict) else str(one) for one in listed}
    controller = str((gateway_class.get("spec") or {}).get("controllerName", ""))
    fix = "remove spec.rollout.shadow, or name a Gateway of another class"
    if not features:
        unsaid = (
            f"rollout.shadow: {name} lists no supportedFeatures, and its controller {controller} is not known to mirror requests"
        )
        return "" if controller in MIRRORS_UNSAID else f"{unsaid}: {fix}"
    if MIRROR not in features:
        return f"rollout.shadow: {name} does not have {MIRROR} among its supportedFeatures: {fix}"
    if percent < 100 and PERCENTAGE_MIRROR not in features:
        return f"rollout.shadow.percent is {percent}, and {name} does not have {PERCENTAGE_MIRROR}: set percent to 100, or {fix}"
    return ""
