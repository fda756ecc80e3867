"""What a user's HTTPRoute says of one of its rules: whether it can be borrowed, what of it is ours, and the URL that leads to it.

Pure; called by `perennial.gathering`. The other way round, writing it: `perennial.manifests.borrowed`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from perennial.adapters import observe
from perennial.adapters.surroundings import GatewayState
from perennial.api.serving import ParentReference, RuleReference
from perennial.core.observed import Borrowed, Meta
from perennial.manifests import borrowed
from perennial.ports import Manifest

PREDICT = "/predict"
"""The one path that serving pods answer."""
REWRITE = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /predict}}}"


def rule_of(
    route: Manifest | None, meta: Meta, wish: RuleReference, gateway: GatewayState, gone: Collection[str] = ()
) -> Borrowed:
    """The rule as the route has it, or why it cannot be borrowed. `gone`: UIDs of ModelDeployments that left their claims."""
    found = Borrowed(wish.name, wish.rule)
    where = f"HTTPRoute {meta.namespace}/{wish.name}"
    if route is None or "deletionTimestamp" in route["metadata"]:
        fix = "create it, or correct spec.serving.route.httpRoute.name"
        return replace(found, refused=("HTTPRouteMissing", f"{where} {'does not exist' if route is None else 'is going'}: {fix}"))
    if owner := _model_that_owns(route):
        words = f"{where} was made for ModelDeployment {owner}: name one that is yours"
        return replace(found, refused=("HTTPRouteNotYours", words))
    claim = borrowed.claim_of(route, meta)
    found = replace(found, held=claim is not None and wish.rule in claim.rules)
    places = borrowed.places(route, wish.rule)
    if len(places) != 1:
        return replace(found, refused=_not_one(route, wish.rule, where, len(places)))
    rule = route["spec"]["rules"][places[0]]
    state = observe.route_state(
        route,
        borrowed.weights(rule, meta.name, meta.namespace),
        borrowed.mirror(rule, meta.name, meta.namespace),
        gateway.problem,
    )
    found = replace(found, state=state, address=_address(route, rule, gateway.address))
    others = borrowed.rivals(route, wish.rule, meta)
    living = sorted(one.model for one in others if one.uid not in gone)
    found = replace(found, stale=tuple(sorted(one.uid for one in others if one.uid in gone)))
    if living:
        return replace(found, refused=_claimed(wish, where, living[0]))
    if not any(path is not None for path in _paths(rule)):
        return replace(found, refused=("PathNotRouted", _unreachable(wish, where)))
    return found


def held_rules(route: Manifest, meta: Meta) -> tuple[Borrowed, ...]:
    """Every rule of a route that the ModelDeployment holds, whatever its spec says now."""
    claim = borrowed.claim_of(route, meta)
    if claim is None:
        return ()
    name = route["metadata"]["name"]
    nowhere = GatewayState("", "")
    rules = (rule_of(route, meta, RuleReference.model_construct(name=name, rule=rule), nowhere) for rule in claim.rules)
    return tuple(replace(rule, held=True, refused=None) for rule in rules)


def parents(route: Manifest) -> list[ParentReference]:
    """The Gateways that a user's route hangs on."""
    return [
        ParentReference.model_construct(name=ref["name"], namespace=ref.get("namespace"), section_name=ref.get("sectionName"))
        for ref in (route.get("spec") or {}).get("parentRefs") or ()
        if ref.get("kind", "Gateway") == "Gateway"
    ]


def _model_that_owns(route: Manifest) -> str:
    owners = route["metadata"].get("ownerReferences") or ()
    return next((str(one["name"]) for one in owners if one.get("controller") and one.get("kind") == "ModelDeployment"), "")


def _not_one(route: Manifest, rule: str, where: str, number: int) -> tuple[str, str]:
    names = [str(one["name"]) for one in (route.get("spec") or {}).get("rules") or () if one.get("name")]
    if number:
        return "RuleAmbiguous", f"{where} has {number} rules named {rule}: give each rule a name of its own"
    if names:
        fix = "name one of them in spec.serving.route.httpRoute.rule, or give the rule this name"
        return "RuleMissing", f"{where} has no rule named {rule}, but {', '.join(names)}: {fix}"
    fix = (
        f"give the rule the name {rule}; a Gateway API before 1.4 (1.2 in its experimental channel) drops names: upgrade its CRDs"
    )
    return "RuleMissing", f"no rule of {where} has a name: {fix}"


def _claimed(wish: RuleReference, where: str, holder: str) -> tuple[str, str]:
    fix = "name another rule, or take it out there; it is taken as soon as it is given back"
    return "RouteClaimed", f"rule {wish.rule} of {where} is held by ModelDeployment {holder}: {fix}"


def _unreachable(wish: RuleReference, where: str) -> str:
    return (
        f"no POST that rule {wish.rule} of {where} matches reaches {PREDICT}, the one path that a model answers: "
        f"add to its filters {REWRITE}"
    )


# ---- the path ----------------------------------------------------------------------------------------------------------------


def _address(route: Manifest, rule: Manifest, gateway: str) -> str:
    """URL of the predict API; empty where the rule asks for more than a path, or leaves host or path open."""
    names = [str(name) for name in (route.get("spec") or {}).get("hostnames") or ()]
    host = next((name for name in names if not name.startswith("*")), "") if names else gateway
    plain = [
        path
        for match, path in zip(_matches(rule), _paths(rule), strict=True)
        if path and not match.get("headers") and not match.get("queryParams")
    ]
    return f"http://{host}{plain[0]}" if host and plain else ""


def _matches(rule: Manifest) -> list[Manifest]:
    return list(rule.get("matches") or [{}])


def _paths(rule: Manifest) -> list[str | None]:
    """For each match a path at which a POST reaches /predict; empty: that cannot be told; None: there is none."""
    found = [_path(match, rule) for match in _matches(rule)]
    extended = any(one.get("type") == "ExtensionRef" for one in rule.get("filters") or ())
    inner = any(ref.get("filters") for ref in rule.get("backendRefs") or ())
    return [path if path or not (extended or inner) else "" for path in found]


def _path(match: Manifest, rule: Manifest) -> str | None:
    if match.get("method") not in (None, "POST"):
        return None
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), str(path.get("value", "/"))
    rewrite = next((one["urlRewrite"].get("path") for one in rule.get("filters") or () if one.get("type") == "URLRewrite"), None)
    if rewrite and rewrite.get("type") == "ReplaceFullPath":
        if rewrite.get("replaceFullPath", "/") != PREDICT:
            return None
        return "" if kind == "RegularExpression" else value
    if rewrite and kind == "PathPrefix":
        return _behind(value, str(rewrite.get("replacePrefixMatch", "/")))
    if kind == "RegularExpression":
        return ""
    return PREDICT if value == PREDICT or (kind == "PathPrefix" and value.rstrip("/") in ("", PREDICT)) else None


def _behind(prefix: str, replaced: str) -> str | None:
    """The path that becomes /predict when its prefix is replaced."""
    start = replaced.rstrip("/")
    if start not in ("", PREDICT):
        return None
    return prefix.rstrip("/") + PREDICT[len(start) :] or "/"
