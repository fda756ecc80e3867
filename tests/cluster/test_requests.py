"""pause, resume and retry by plain kubectl, on the real cluster."""

from __future__ import annotations

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS
from demo import view


def outcome(place: Place, verb: str, argument: str = "") -> str:
    """What became of a request."""
    place.kubectl.annotate("mdep", NAME, f"perennial.dev/{verb}", argument)

    def told() -> str:
        found = [one for one in place.state(NAME).status.get("requests", []) if one["verb"] == verb and not one.get("pending")]
        return str(found[-1]["outcome"]) if found else ""

    place.until(f"{verb} to be carried out", lambda state: bool(told()), name=NAME, seconds=30)
    return told()


def test_version_that_found_no_data_is_tried_again_once_the_data_is_there_and_a_pause_holds_the_next(place: Place) -> None:
    place.apply(place.manifest(NAME, training={**place.light(), "retries": 0}))
    place.until("v1 to fail", lambda state: state.state(1) == "Failed", name=NAME, seconds=180)
    place.upload(synthetic.table(ROWS), "january.parquet")
    assert outcome(place, "retry") == "v1 is tried again"
    place.serving(1, name=NAME)
    assert [one["metadata"]["name"] for one in place.kubectl.list("mver")] == [f"{NAME}-v1"]

    assert "until a person types perennial.dev/resume" in outcome(place, "pause")
    assert place.state(NAME).status["summary"] == "Paused"
    assert outcome(place, "retrain", "february").startswith("refused: a person paused it")
    assert "rolled out again" in outcome(place, "resume")
    place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "march")
    place.until("v2 to be made", lambda state: state.state(2) != "", name=NAME, seconds=60)
    assert view.condition(place.state(NAME).deployment, "Ready")["status"] == "True"
