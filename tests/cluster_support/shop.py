"""The shop of the stories on the cluster: its versions' names, its clients, and what a version that was taken back leaves.

v1 and v2 are months of data; v3 is the harmful one, which fails on a kind of shop that only live traffic has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cluster_support import synthetic
from cluster_support.place import Load, Place
from demo.traffic import Tally

ROWS = 2400
"""Of a month."""
NAME = "shop"
V1, V2, V3 = (f"{NAME}-v{number}" for number in (1, 2, 3))
NEW_KIND = "market"
"""A kind of shop that only live traffic has: v3 fails on it."""
PUT_BACK_SECONDS = 5.0
"""Within so long what somebody changes by hand is as it was."""
MOST_SECONDS = 15.0
"""From the first to the last bad answer of v3 that a client may see."""


@contextmanager
def traffic(place: Place, *, rate: float = 100, new_every: int = 0, headers: Sequence[str] = ()) -> Iterator[Load]:
    """Requests for as long as the block lasts, from before its first line on; one in `new_every` asks about NEW_KIND."""
    bodies = synthetic.bodies(synthetic.table(3000, first=2 * ROWS), new_kind=NEW_KIND, new_every=new_every)
    with place.load(bodies, name=NAME, rate=rate, headers=headers) as load:
        yield load


def routed(place: Place) -> dict[str, int]:
    """Shares of the traffic by backend as the HTTPRoute itself has them, without those that get none."""
    route = place.kubectl.get("httproute", NAME) or {}
    backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    return {backend["name"]: backend["weight"] for backend in backends if backend["weight"]}


def assert_taken_back(place: Place, tally: Tally) -> None:
    """v3 is quarantined and v2 serves; every failure that a client saw was v3's, and all came within MOST_SECONDS."""
    assert tally.failures_but(V3) == {}
    seen = tally.versions[V3]
    assert seen.first_failure is not None
    assert seen.last_failure is not None
    assert seen.last_failure - seen.first_failure <= MOST_SECONDS
    state = place.state(NAME)
    assert (state.status["stable"], state.state(2)) == (2, "Serving")
    assert [entry["version"] for entry in state.status["quarantined"]] == [3]
