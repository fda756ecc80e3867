"""Somebody else's HTTPRoute with one rule borrowed, and given back: pure functions from the route as read to that as wanted.

Only our own backends and our mirror in that rule differ between the two, and our claim: the annotation
perennial.dev/claim.<name>, which says who holds which rule and what its backends were before. `changes` makes of the difference a
JSON patch that tests all that it rests on, so that it fails where somebody else wrote meanwhile. Carried out by
`perennial.lending`, read by `perennial.adapters.lent`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from perennial.core.actions import BorrowRule
from perennial.core.inputs import version_name
from perennial.core.observed import Meta, Mirror
from perennial.manifests.common import CLAIM_PREFIX, Manifest, pointer
from perennial_runtime.contract import MIRROR_SERVICE_PORT

PORT = 80
Operations = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one ModelDeployment holds of a route."""

    model: str
    uid: str
    rules: Mapping[str, Manifest] = field(default_factory=dict)
    """By name, the lists of the rule as found: `backendRefs`, and `filters` if that was empty; absent: there was none."""

    @property
    def annotation(self) -> str:
        """Its key."""
        return f"{CLAIM_PREFIX}{self.model}"

    def as_text(self) -> str:
        """The annotation's value."""
        return json.dumps({"uid": self.uid, "rules": self.rules}, separators=(",", ":"))


# ---- reading -----------------------------------------------------------------------------------------------------------------


def claims(route: Manifest) -> tuple[Claim, ...]:
    """All claims on a route; an annotation that cannot be read is none."""
    annotations = route["metadata"].get("annotations") or {}
    found = (_claim(key.removeprefix(CLAIM_PREFIX), text) for key, text in annotations.items() if key.startswith(CLAIM_PREFIX))
    return tuple(claim for claim in found if claim is not None)


def _claim(model: str, text: str) -> Claim | None:
    try:
        said = json.loads(text)
        rules = {str(name): dict(lists) for name, lists in said["rules"].items()}
        readable = all(
            isinstance(each, list) and all(map(_is_named, each)) for lists in rules.values() for each in lists.values()
        )
        return Claim(model, str(said["uid"]), rules) if readable else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_named(one: object) -> bool:
    return isinstance(one, dict) and isinstance(one.get("name"), str)


def claim_of(route: Manifest, meta: Meta) -> Claim | None:
    """The ModelDeployment's own claim."""
    return next((claim for claim in claims(route) if (claim.model, claim.uid) == (meta.name, meta.uid)), None)


def rivals(route: Manifest, rule: str, meta: Meta) -> tuple[Claim, ...]:
    """Claims of others that have to go before the rule is claimed: those on it, and that of an object of our name that was there
    before, on whatever rule, for ours would be written over it."""
    others = (claim for claim in claims(route) if (claim.model, claim.uid) != (meta.name, meta.uid))
    return tuple(claim for claim in others if rule in claim.rules or claim.model == meta.name)


def places(route: Manifest, rule: str) -> list[int]:
    """Where rules of this name stand."""
    return [index for index, one in enumerate((route.get("spec") or {}).get("rules") or ()) if one.get("name") == rule]


def weights(rule: Manifest, model: str, namespace: str) -> tuple[tuple[int, int], ...]:
    """(version, weight) of the backends that are the model's, in order."""
    numbered = ((version_of(ref, model, namespace), ref) for ref in rule.get("backendRefs") or ())
    return tuple((number, int(ref.get("weight", 1))) for number, ref in numbered if number is not None)


def mirror(rule: Manifest, model: str, namespace: str) -> Mirror | None:
    """Our own mirror."""
    for one in rule.get("filters") or ():
        number = _mirrored(one, model, namespace)
        if number is not None:
            return Mirror(number, int(one["requestMirror"].get("percent", 100)))
    return None


def version_of(ref: Manifest, model: str, namespace: str) -> int | None:
    """The version whose Service a backend names; None for everybody else's."""
    number = str(ref.get("name", "")).removeprefix(f"{model}-v")
    ours = not ref.get("group") and ref.get("kind", "Service") == "Service" and ref.get("namespace") in (None, namespace)
    return int(number) if ours and number.isdecimal() and ref.get("name") == version_name(model, int(number)) else None


def _mirrored(one: Manifest, model: str, namespace: str) -> int | None:
    """The version that a filter mirrors to, if it is ours: no other has this port."""
    ref = (one.get("requestMirror") or {}).get("backendRef") or {}
    ours = one.get("type") == "RequestMirror" and ref.get("port") == MIRROR_SERVICE_PORT
    return version_of(ref, model, namespace) if ours else None


# ---- what is wanted ----------------------------------------------------------------------------------------------------------


def borrowed(route: Manifest, meta: Meta, action: BorrowRule, known: Collection[tuple[int, int]]) -> Manifest:
    """The route as `action` wants it; unchanged where the rule is not there once, or another holds it.

    `known`: (version, weight) that we have given. A backend of ours that has another weight was there before us, and comes back.
    """
    others = rivals(route, action.rule, meta)
    if any(claim.uid not in action.stale for claim in others) or len(places(route, action.rule)) != 1:
        return route
    wanted = copy.deepcopy(route)
    for stale in others:
        wanted = returned(wanted, stale, *stale.rules)
    rule = wanted["spec"]["rules"][places(wanted, action.rule)[0]]
    claim = claim_of(wanted, meta) or Claim(meta.name, meta.uid)
    if action.rule not in claim.rules:
        claim = Claim(meta.name, meta.uid, {**claim.rules, action.rule: _as_found(rule, meta, known)})
        wanted["metadata"]["annotations"] = {**(wanted["metadata"].get("annotations") or {}), claim.annotation: claim.as_text()}
    if action.weights:
        rule["backendRefs"] = _weighed(rule.get("backendRefs") or (), meta, dict(action.weights))
        _put_mirror(rule, meta.name, meta.namespace, action.mirror, claim.rules[action.rule])
    return wanted


def returned(route: Manifest, claim: Claim, *names: str) -> Manifest:
    """The route without what a claim stands for in these rules, and without it; what others have changed since stays."""
    given = copy.deepcopy(route)
    for name in names:
        for index in places(given, name)[:1]:
            _return_rule(given["spec"]["rules"][index], claim, claim.rules.get(name, {}), route["metadata"]["namespace"])
    rest = {rule: lists for rule, lists in claim.rules.items() if rule not in names}
    annotations = {key: text for key, text in (given["metadata"].get("annotations") or {}).items() if key != claim.annotation}
    if rest:
        annotations[claim.annotation] = Claim(claim.model, claim.uid, rest).as_text()
    given["metadata"]["annotations"] = annotations
    return given


def _return_rule(rule: Manifest, claim: Claim, found: Manifest, namespace: str) -> None:
    refs = _restored(rule.get("backendRefs") or [], found.get("backendRefs"), claim.model, namespace)
    if refs or "backendRefs" in found:
        rule["backendRefs"] = refs
    else:
        rule.pop("backendRefs", None)
    _put_mirror(rule, claim.model, namespace, None, found)


def _as_found(rule: Manifest, meta: Meta, known: Collection[tuple[int, int]]) -> Manifest:
    """The rule's lists without what is ours already: a claim may have been lost."""
    refs = rule.get("backendRefs")
    kept = [ref for ref in refs or () if (version_of(ref, meta.name, meta.namespace), int(ref.get("weight", 1))) not in known]
    found: Manifest = {} if refs is None or (refs and not kept) else {"backendRefs": kept}
    return {**found, "filters": []} if rule.get("filters") == [] else found


def _weighed(refs: Sequence[Manifest], meta: Meta, left: dict[int, int]) -> list[Manifest]:
    """Others' backends as they are, ours with their weights; new ones at the end."""
    kept: list[Manifest] = []
    for ref in refs:
        number = version_of(ref, meta.name, meta.namespace)
        if number is None:
            kept.append(ref)
        elif number in left:
            kept.append({**ref, "port": PORT, "weight": left.pop(number)})
    service = {"group": "", "kind": "Service"}
    return kept + [
        {**service, "name": version_name(meta.name, number), "port": PORT, "weight": weight} for number, weight in left.items()
    ]


def _restored(refs: Sequence[Manifest], found: list[Manifest] | None, model: str, namespace: str) -> list[Manifest]:
    """The backends as found; where others changed theirs since, theirs as they are now, with what we took the place of."""

    def others(some: Sequence[Manifest]) -> list[Manifest]:
        return [ref for ref in some if version_of(ref, model, namespace) is None]

    now = others(refs)
    if found is None or now == others(found):
        return found or now
    for index, ref in enumerate(found):
        if version_of(ref, model, namespace) is not None:
            now.insert(index, ref)
    return now


def _put_mirror(rule: Manifest, model: str, namespace: str, wanted: Mirror | None, found: Manifest) -> None:
    """Our mirror behind the filters of others, or none."""
    if mirror(rule, model, namespace) == wanted:
        return
    filters = [one for one in rule.get("filters") or () if _mirrored(one, model, namespace) is None]
    if wanted is not None:
        ref = {"group": "", "kind": "Service", "name": version_name(model, wanted.version), "port": MIRROR_SERVICE_PORT}
        share = {"percent": wanted.percent} if wanted.percent < 100 else {}
        filters.append({"type": "RequestMirror", "requestMirror": {"backendRef": ref, **share}})
    if filters or "filters" in found:
        rule["filters"] = filters
    else:
        rule.pop("filters", None)


# ---- the difference ----------------------------------------------------------------------------------------------------------


def changes(before: Manifest, after: Manifest) -> Operations:
    """A JSON patch from one to the other, of rules' backends and filters and of annotations; [] where nothing differs.

    It tests what was read of all that it changes. Where something must not be there (a claim, a list), only the resourceVersion
    tells.
    """
    tests: Operations = []
    moves: Operations = []
    absent = False
    for index, (old, new) in enumerate(zip(before["spec"].get("rules") or (), after["spec"].get("rules") or (), strict=True)):
        path = f"/spec/rules/{index}"
        for name in ("backendRefs", "filters"):
            if old.get(name) != new.get(name):
                absent = absent or name not in old
                tests += [_test(f"{path}/name", old["name"]), *_tests(path, name, old)]
                moves += _of_list(f"{path}/{name}", old.get(name), new.get(name))
    claimed = list(_of_annotations(before, after))
    if not moves and not claimed:
        return []
    if absent or claimed:
        tests.append(_test("/metadata/resourceVersion", before["metadata"]["resourceVersion"]))
    annotations = before["metadata"].get("annotations") or {}
    tests += [
        _test(f"/metadata/annotations/{pointer(key)}", annotations[key]) for key in annotations if key.startswith(CLAIM_PREFIX)
    ]
    return [*tests, *moves, *claimed]


def _test(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def _tests(path: str, name: str, rule: Manifest) -> Operations:
    return [_test(f"{path}/{name}", rule[name])] if name in rule else []


def _of_list(path: str, old: list[Manifest] | None, new: list[Manifest] | None) -> Operations:
    """One list becomes another: entries that stay are not touched but for their weight."""
    if old is None:
        return [{"op": "add", "path": path, "value": new}]
    if new is None:
        return [{"op": "remove", "path": path}]
    found: Operations = []
    # from the end, so that places in front of a change still hold
    for tag, start, end, other, last in reversed(SequenceMatcher(None, _keys(old), _keys(new), autojunk=False).get_opcodes()):
        if tag == "equal":
            pairs = zip(range(start, end), range(other, last), strict=True)
            found += [
                {"op": "replace" if "weight" in old[a] else "add", "path": f"{path}/{a}/weight", "value": new[b].get("weight", 1)}
                for a, b in pairs
                if old[a] != new[b]
            ]
            continue
        found += [{"op": "remove", "path": f"{path}/{index}"} for index in reversed(range(start, end))]
        found += [{"op": "add", "path": f"{path}/{start + index}", "value": one} for index, one in enumerate(new[other:last])]
    return found


def _keys(entries: Sequence[Manifest]) -> list[str]:
    return [json.dumps({name: value for name, value in entry.items() if name != "weight"}, sort_keys=True) for entry in entries]


def _of_annotations(before: Manifest, after: Manifest) -> Iterator[dict[str, Any]]:
    old, new = before["metadata"].get("annotations"), after["metadata"].get("annotations") or {}
    if old is None and new:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    for key in sorted({*(old or {}), *new}):
        path = f"/metadata/annotations/{pointer(key)}"
        if key not in new:
            yield {"op": "remove", "path": path}
        elif (old or {}).get(key) != new[key]:
            yield {"op": "add", "path": path, "value": new[key]}
