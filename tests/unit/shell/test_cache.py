"""The cache: newest state wins, whatever order events and answers come in."""

from __future__ import annotations

from itertools import permutations

from perennial.adapters.cache import Cache, slim
from perennial.adapters.kinds import JOBS, PODS
from perennial.ports import Manifest

KEY = ("shop", "delays")


def job(version: int, name: str = "delays-v1-train-1", uid: str = "u1", **status: str) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {"perennial.dev/model": "delays"},
        },
        "spec": {"template": {}},
        "status": status,
    }


def state(cache: Cache) -> dict[str, str] | None:
    found = cache.get(JOBS, "shop", "delays-v1-train-1")
    return found["status"] if found else None


def test_an_older_event_never_overwrites_a_newer_state() -> None:
    for order in permutations([1, 2, 10]):
        cache = Cache()
        for version in order:
            cache.put(job(version, at=str(version)))
        assert state(cache) == {"at": "10"}


def test_news_wakes_the_model_and_old_news_does_not() -> None:
    cache = Cache()
    assert cache.put(job(2, at="2")) == {KEY}
    assert not cache.put(job(2, at="2"))
    assert not cache.put(job(1, at="1"))


def test_a_change_that_no_pass_reads_wakes_nobody_but_moves_the_version() -> None:
    cache = Cache()
    cache.put(job(2, at="2"))
    touched = job(3, at="2")
    touched["metadata"]["managedFields"] = [{"manager": "somebody"}]
    assert not cache.put(touched)
    found = cache.get(JOBS, "shop", "delays-v1-train-1")
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "3"


def test_a_late_event_of_a_deleted_object_does_not_bring_it_back() -> None:
    cache = Cache()
    cache.put(job(2))
    assert cache.remove(job(5), 5) == {KEY}
    assert not cache.put(job(4))
    assert state(cache) is None


def test_an_object_of_the_same_name_may_be_made_again() -> None:
    cache = Cache()
    cache.put(job(2))
    cache.remove(job(3), 3)
    assert cache.put(job(9, uid="u2", again="yes")) == {KEY}
    assert not cache.remove(job(3), 3)
    assert state(cache) == {"again": "yes"}


def test_an_object_whose_label_was_taken_away_and_given_back_is_seen_again() -> None:
    cache = Cache()
    cache.put(job(2))
    cache.remove(job(3), 3)
    assert cache.put(job(4, back="yes")) == {KEY}


def test_what_we_deleted_ourselves_does_not_come_back_by_a_late_event() -> None:
    cache = Cache()
    cache.put(job(2))
    cache.remove(job(2))
    assert not cache.put(job(3))


def test_a_list_takes_away_what_it_no_longer_has() -> None:
    cache = Cache()
    cache.put(job(2))
    assert cache.refill(JOBS, [], "7") == {KEY}
    assert state(cache) is None


def test_a_list_older_than_an_object_does_not_take_it_away() -> None:
    cache = Cache()
    cache.put(job(9))
    assert cache.refill(JOBS, [], "7") == set()
    assert state(cache) == {}


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    cache = Cache()
    cache.put(job(2))
    cache.refill(JOBS, [], "7", "elsewhere")
    assert state(cache) == {}


def test_objects_without_our_label_are_not_kept() -> None:
    cache = Cache()
    foreign = job(2)
    foreign["metadata"]["labels"] = {}
    assert not cache.put(foreign)
    assert state(cache) is None


def test_pods_are_kept_without_what_no_pass_reads() -> None:
    cache = Cache()
    pod = job(2) | {"apiVersion": "v1", "kind": "Pod"}
    pod["spec"] = {
        "nodeName": "node1",
        "volumes": [{"name": "large"}],
        "containers": [{"name": "train", "env": [{"name": "LONG"}], "resources": {"limits": {"memory": "1Gi"}}}],
    }
    cache.put(pod)
    kept = cache.get(PODS, "shop", "delays-v1-train-1")
    assert kept is not None
    assert kept["spec"] == {
        "initContainers": [],
        "containers": [{"name": "train", "limits": {"memory": "1Gi"}}],
    }
    assert slim(kept) == kept
