"""A ModelDeployment that has what it asks for costs the API server nothing: counted in the API server's own audit log."""

from __future__ import annotations

import time

from cluster_support import audit, synthetic
from cluster_support.place import Place

NAME = "shop"
QUIET_SECONDS = 60.0


def test_a_converged_model_under_traffic_causes_no_write_in_a_minute(place: Place) -> None:
    began = audit.now()
    place.upload(synthetic.table(2000))
    place.apply(place.manifest(NAME, training=place.light()))
    state = place.serving(1, name=NAME)
    made = audit.writes(place.ground.cluster, began, place.namespace)
    assert any(line.startswith("create jobs") for line in made), "the audit log does not show what the operator wrote"
    with place.client(str(state.status["address"]), synthetic.bodies(synthetic.table(500, first=2000)), rate=20) as client:
        settled(place)
        since = audit.now()
        time.sleep(QUIET_SECONDS)
        written = audit.writes(place.ground.cluster, since, place.namespace)
        tally = client.stop()
    assert written == []
    assert tally.requests > QUIET_SECONDS * 15
    assert tally.failures_but() == {}


def settled(place: Place, *, quiet: float = 5.0, seconds: float = 60.0) -> None:
    """Waits until the operator has written nothing for a while: the gateway and the pods told their last news."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        since = audit.now()
        time.sleep(quiet)
        if not audit.writes(place.ground.cluster, since, place.namespace):
            return
    raise AssertionError(f"the operator still writes {seconds:.0f} s after the model serves: {written_last(place)}")


def written_last(place: Place) -> list[str]:
    """The newest writes, for the message."""
    return audit.writes(place.ground.cluster, audit.now().replace(second=0, microsecond=0), place.namespace)[-10:]
