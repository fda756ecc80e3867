"""A rule of a user's HTTPRoute, borrowed and given back: what a patch changes, what it tests, and that all the rest stays."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fakes.shop_route import HEADERS, LEGACY, REWRITE, backend, rule, shop_route
from perennial.core.actions import BorrowRule
from perennial.core.observed import Meta, Mirror
from perennial.manifests.borrowed import borrowed, changes, claim_of, claims, mirror, returned, rivals, weights
from perennial.ports import Manifest

META = Meta("shop", "delays", "u1", 1, "1")
OTHER = Meta("shop", "rides", "u2", 1, "1")
NEW = {"group": "", "kind": "Service", "name": "new", "port": 80, "weight": 3}


def stored(route: Manifest) -> Manifest:
    """As the API server has it: no two places are one object."""
    found = dict(json.loads(json.dumps(route)))
    found["metadata"] |= {"uid": "r", "resourceVersion": "7"}
    return found


def written(route: Manifest, wanted: Manifest) -> Manifest:
    """What the patch makes of the route, by an independent reading of RFC 6902."""
    return dict(json.loads(json.dumps(jsonpatch.apply_patch(route, changes(route, wanted)))))


def borrow(route: Manifest, *given: tuple[int, int], meta: Meta = META, at: str = "predict", **fields: Any) -> Manifest:
    """The route after one write."""
    return written(route, borrowed(route, meta, BorrowRule("shop", at, given, **fields), set(given)))


def give_back(route: Manifest, at: str = "predict", meta: Meta = META) -> Manifest:
    claim = claim_of(route, meta)
    assert claim is not None
    return written(route, returned(route, claim, at))


def refs(route: Manifest, at: str = "predict") -> list[Manifest]:
    return next(list(one["backendRefs"]) for one in route["spec"]["rules"] if one["name"] == at)


def test_our_versions_come_behind_the_backends_that_are_there() -> None:
    route = borrow(stored(shop_route()), (1, 90), (2, 10))
    assert refs(route) == [LEGACY, backend(1, 90), backend(2, 10)]
    assert refs(route, "pages") == [LEGACY]


def test_claim_alone_changes_no_backend() -> None:
    before = stored(shop_route())
    route = borrow(before)
    assert route["spec"] == before["spec"]
    assert claims(route)[0].rules == {"predict": {"backendRefs": [LEGACY]}}


def test_only_weights_are_replaced_when_weights_move() -> None:
    route = borrow(stored(shop_route()), (1, 100), (2, 0))
    wanted = borrowed(route, META, BorrowRule("shop", "predict", ((1, 90), (2, 10))), set())
    assert [(one["op"], one["path"]) for one in changes(route, wanted) if one["op"] != "test"] == [
        ("replace", "/spec/rules/1/backendRefs/1/weight"),
        ("replace", "/spec/rules/1/backendRefs/2/weight"),
    ]


def test_patch_tests_the_rules_name_its_backends_and_the_claim() -> None:
    route = borrow(stored(shop_route()), (1, 100))
    operations = changes(route, borrowed(route, META, BorrowRule("shop", "predict", ((1, 0), (2, 100))), set()))
    tested = {one["path"]: one["value"] for one in operations if one["op"] == "test"}
    assert tested == {
        "/spec/rules/1/name": "predict",
        "/spec/rules/1/backendRefs": refs(route),
        "/metadata/annotations/perennial.dev~1claim.delays": route["metadata"]["annotations"]["perennial.dev/claim.delays"],
    }


def test_claiming_and_giving_back_test_the_resource_version() -> None:
    route = stored(shop_route())
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert test in changes(route, borrowed(route, META, BorrowRule("shop", "predict", ()), set()))
    held = borrow(route, (1, 100))
    claim = claim_of(held, META)
    assert claim is not None
    assert test in changes(held, returned(held, claim, "predict"))


def test_unchanged_wish_is_no_patch() -> None:
    route = borrow(stored(shop_route()), (1, 100), mirror=Mirror(2, 20))
    action = BorrowRule("shop", "predict", ((1, 100),), Mirror(2, 20))
    assert changes(route, borrowed(route, META, action, set())) == []


@pytest.mark.parametrize(
    "lists",
    [
        {},
        {"backendRefs": None},
        {"backendRefs": []},
        {"filters": None},
        {"filters": []},
        {"backendRefs": [backend(1, 1), LEGACY, backend(2, 5)]},
        {"backendRefs": [{**backend(1, 1), "port": 8080}]},
        {"backendRefs": [{**LEGACY, "filters": [HEADERS]}, {**backend(1, 7), "namespace": "elsewhere"}]},
    ],
    ids=["usual", "no backends", "empty backends", "no filters", "empty filters", "of ours already", "another port", "foreign"],
)
def test_what_is_given_back_is_what_was_found(lists: Manifest) -> None:
    before = stored(shop_route(rule("pages"), rule(**lists)))
    route = borrow(before)
    route = borrow(route, (1, 100))
    route = borrow(route, (1, 100), mirror=Mirror(2, 100))
    route = borrow(route, (1, 50), (2, 50))
    route = give_back(borrow(route, (2, 100)))
    assert route == before


def test_what_others_changed_meanwhile_is_kept_when_the_rule_is_given_back() -> None:
    route = borrow(stored(shop_route(rule(backendRefs=[backend(1, 1), LEGACY]))), (1, 100))
    here = route["spec"]["rules"][0]
    here["backendRefs"] = [NEW, *here["backendRefs"][:1], {**LEGACY, "weight": 9}]
    here["timeouts"] = {"request": "1s"}
    route["spec"]["hostnames"] = ["other.example.com"]
    given_back = give_back(route)
    assert given_back["spec"]["rules"][0]["backendRefs"] == [backend(1, 1), NEW, {**LEGACY, "weight": 9}]
    assert given_back["spec"]["rules"][0]["timeouts"] == {"request": "1s"}
    assert given_back["spec"]["hostnames"] == ["other.example.com"]


def test_rule_that_is_gone_takes_only_the_claim_with_it() -> None:
    route = borrow(stored(shop_route()), (1, 100))
    del route["spec"]["rules"][1]
    given_back = give_back(route)
    assert given_back["spec"] == route["spec"]
    assert given_back["metadata"]["annotations"] == {"team": "shop"}


def test_mirror_stands_behind_the_filters_of_others_and_goes_alone() -> None:
    route = borrow(stored(shop_route()), (1, 100), mirror=Mirror(2, 20))
    filters = route["spec"]["rules"][1]["filters"]
    assert filters[:2] == [REWRITE, HEADERS]
    service = {"group": "", "kind": "Service", "name": "delays-v2", "port": 81}
    assert filters[2:] == [{"type": "RequestMirror", "requestMirror": {"backendRef": service, "percent": 20}}]
    assert mirror(route["spec"]["rules"][1], "delays", "shop") == Mirror(2, 20)
    assert borrow(route, (1, 100))["spec"]["rules"][1]["filters"] == [REWRITE, HEADERS]


def test_mirror_of_others_is_never_ours() -> None:
    theirs = {"type": "RequestMirror", "requestMirror": {"backendRef": {**backend(1, 1), "port": 80}}}
    route = borrow(stored(shop_route(rule(filters=[REWRITE, theirs]))), (1, 100), mirror=Mirror(2, 100))
    assert route["spec"]["rules"][0]["filters"][:2] == [REWRITE, theirs]
    assert borrow(route, (1, 100))["spec"]["rules"][0]["filters"] == [REWRITE, theirs]


def test_second_claimant_changes_nothing_on_a_held_rule_and_has_its_own_on_another() -> None:
    route = borrow(stored(shop_route()), (1, 100))
    assert [one.model for one in rivals(route, "predict", OTHER)] == ["delays"]
    assert borrow(route, (1, 100), meta=OTHER) == route
    both = borrow(route, (4, 100), meta=OTHER, at="pages")
    assert refs(both, "pages") == [LEGACY, backend(4, 100, "rides")]
    assert give_back(give_back(both), "pages", OTHER) == stored(shop_route())


def test_claim_of_one_that_is_gone_is_given_back_in_the_same_write() -> None:
    before = stored(shop_route())
    route = borrow(borrow(before, (1, 100)), (4, 100), meta=OTHER, stale=("u1",))
    assert refs(route) == [LEGACY, backend(4, 100, "rides")]
    assert give_back(route, meta=OTHER) == before


def test_claim_of_an_earlier_object_of_the_same_name_is_another_ones() -> None:
    before = stored(shop_route())
    again = Meta("shop", "delays", "u9", 1, "1")
    route = borrow(before, (7, 100))
    assert borrow(route, (1, 100), meta=again) == route
    route = borrow(route, (1, 100), meta=again, stale=("u1",))
    assert refs(route) == [LEGACY, backend(1, 100)]
    assert give_back(route, meta=again) == before


def test_claim_of_an_earlier_object_of_the_same_name_on_another_rule_is_not_written_over() -> None:
    before = stored(shop_route(rule("pages"), rule()))
    again = Meta("shop", "delays", "u9", 1, "1")
    route = borrow(before, (7, 100))
    assert borrow(route, (1, 100), meta=again, at="pages") == route
    route = borrow(route, (1, 100), meta=again, at="pages", stale=("u1",))
    assert (refs(route), refs(route, "pages")) == ([LEGACY], [LEGACY, backend(1, 100)])
    assert give_back(route, "pages", again) == before


def test_claim_is_known_to_be_left_by_its_uid_not_by_the_name_of_its_model() -> None:
    route = borrow(stored(shop_route()), (1, 100))
    assert borrow(route, (4, 100), meta=OTHER, stale=("u0", "delays")) == route


def test_claim_that_lost_a_weight_by_hand_is_given_back_all_the_same() -> None:
    route = borrow(stored(shop_route(rule(backendRefs=[backend(1, 5)]))), (1, 100))
    (key,) = (name for name in route["metadata"]["annotations"] if "claim" in name)
    said = json.loads(route["metadata"]["annotations"][key])
    del said["rules"]["predict"]["backendRefs"][0]["weight"]
    route["metadata"]["annotations"][key] = json.dumps(said)
    assert refs(give_back(route)) == [backend(1, 1)]


def test_two_rules_of_one_route_are_held_in_one_claim() -> None:
    before = stored(shop_route())
    route = borrow(borrow(before, (1, 100)), (1, 100), at="pages")
    assert refs(route) == refs(route, "pages") == [LEGACY, backend(1, 100)]
    first = give_back(route)
    assert refs(first) == [LEGACY]
    assert refs(first, "pages") == [LEGACY, backend(1, 100)]
    assert give_back(first, "pages") == before


def test_lost_claim_is_made_again_without_taking_our_own_backends_for_theirs() -> None:
    before = stored(shop_route())
    route = borrow(before, (1, 100))
    del route["metadata"]["annotations"]["perennial.dev/claim.delays"]
    assert give_back(borrow(route, (1, 100))) == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"uid": 1}', '{"uid": "u1", "rules": []}', '{"uid": "u1", "rules": {"predict": {"backendRefs": 3}}}'],
)
def test_claim_that_cannot_be_read_is_none(text: str) -> None:
    assert claims(stored(shop_route(annotations={"perennial.dev/claim.delays": text}))) == ()


def test_claim_tells_who_holds_what_and_what_was_there() -> None:
    text = borrow(stored(shop_route()), (1, 100))["metadata"]["annotations"]["perennial.dev/claim.delays"]
    assert json.loads(text) == {"uid": "u1", "rules": {"predict": {"backendRefs": [LEGACY]}}}


@pytest.mark.parametrize(
    "ref",
    [
        {"name": "delays-v1", "namespace": "elsewhere"},
        {"name": "delays-v1", "kind": "Backend", "group": "x.io"},
        {"name": "delays-v01"},
        {"name": "delays-v"},
        {"name": "delays-v1-old"},
        {"name": "my-delays-v1"},
    ],
)
def test_backend_that_only_looks_like_ours_is_not(ref: Manifest) -> None:
    assert weights({"backendRefs": [ref]}, "delays", "shop") == ()


BACKENDS = st.lists(st.sampled_from([LEGACY, NEW, {**LEGACY, "weight": 1}, backend(1, 4), backend(3, 0)]), max_size=5)
WEIGHTS = st.dictionaries(st.integers(1, 4), st.integers(0, 100), min_size=1, max_size=3)
MIRRORS = st.sampled_from([None, Mirror(1, 100), Mirror(2, 10)])


@settings(deadline=None)
@example([{**LEGACY, "weight": 1}, backend(3, 0), LEGACY], None, [({1: 0}, None), ({3: 0}, None)])
@given(BACKENDS | st.none(), st.sampled_from([None, [], [REWRITE], [HEADERS, REWRITE]]), st.lists(st.tuples(WEIGHTS, MIRRORS)))
def test_whatever_is_asked_for_foreign_parts_stay_and_the_rule_comes_back(
    found: list[Manifest] | None, filters: list[Manifest] | None, asked: list[tuple[dict[int, int], Mirror | None]]
) -> None:
    before = stored(shop_route(rule("pages"), rule(backendRefs=found, filters=filters)))
    route = borrow(before)
    for wanted, mirrored in asked:
        route = borrow(route, *wanted.items(), mirror=mirrored)
        here = route["spec"]["rules"][1]
        assert dict(weights(here, "delays", "shop")) == wanted
        assert mirror(here, "delays", "shop") == mirrored
        foreign = [ref for ref in here["backendRefs"] if not ref["name"].startswith("delays-v")]
        assert foreign == [ref for ref in found or () if not ref["name"].startswith("delays-v")]
        assert route["spec"]["rules"][0] == before["spec"]["rules"][0]
    assert give_back(route) == before
