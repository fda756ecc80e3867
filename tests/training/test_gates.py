"""Dishonest training on the real cluster: what looks better than it is never gets to serve, and a person is told the numbers.

Everything is applied at once, beside one another; each test looks at its own. Nothing of them is ever served, so that the file
takes as long as six trainings of a few seconds on one node.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster_support import bad_inputs, dishonest
from cluster_support.bad_inputs import Case
from cluster_support.dishonest import CASES, WORSE
from cluster_support.place import Place
from demo import view
from demo.stage import State

PATIENCE = 300.0
"""Seconds: all of it shares the CPUs of one node."""
ENDED = ("Failed", "Rejected")


@pytest.fixture(scope="module")
def applied(shared_place: Place) -> Place:
    """Every case, applied."""
    place = shared_place
    place.ground.upload("tests", [(f"{place.namespace}/{name}", body) for name, body in dishonest.data()])
    place.kubectl.apply(*(_manifest(place, case) for case in CASES))
    return place


def _manifest(place: Place, case: Case) -> dict[str, Any]:
    given = {"evaluation": {"gates": dishonest.GATES}, **case.spec}
    return bad_inputs.manifest(place, replace(case, spec=given))


def ended(place: Place, name: str) -> State:
    """The version ended, served nobody and says why."""
    case = next(one for one in CASES if one.name == name)

    def never(state: State) -> str:
        return f"v1 is {state.state(1)}" if state.state(1) in ("Accepted", "Deploying", "Serving") else ""

    state = place.until(f"{name} to be refused", lambda seen: seen.state(1) in ENDED, name=name, seconds=PATIENCE, never=never)
    assert state.state(1) == case.state
    said = state.version(1)["message"]
    for word in (*case.words, case.fix):
        assert any(choice in said for choice in word.split("|")), f"{word!r} is not in: {said}"
    assert said[:200] in view.condition(state.deployment, "Ready")["message"]
    assert not place.kubectl.list("deployments,services,httproutes", f"perennial.dev/model={name}")
    return state


@pytest.mark.parametrize("name", ["tells", "copies", "row-number"])
def test_a_dataset_that_gives_the_answer_away_is_refused_before_training_with_the_numbers(applied: Place, name: str) -> None:
    state = ended(applied, name)
    assert [record["step"] for record in state.version(1)["steps"]] == ["prepare"]


def test_an_overfit_trainer_that_claims_99_of_100_is_refused_by_what_the_holdout_says(applied: Place) -> None:
    (gate,) = ended(applied, "by-heart").version(1)["gates"]
    assert gate["verdict"] == "Failed"
    assert gate["lower"] < gate["estimate"] < gate["upper"] < 0.6


def test_a_model_that_is_worse_on_one_slice_is_refused_and_the_slice_is_named(applied: Place) -> None:
    whole, sliced = ended(applied, "one-slice").version(1)["gates"]
    assert (whole["verdict"], sliced["verdict"]) == ("Passed", "Failed")
    worst, *others = sliced["slices"]["worst"]
    assert worst["name"] == f"kind={WORSE}"
    assert worst["p"] <= 0.05 < min(one["p"] for one in others)
    assert sliced["slices"]["judged"] == 3


def test_every_number_behind_a_verdict_lies_in_the_store_under_the_digest_in_the_status(applied: Place) -> None:
    version = ended(applied, "one-slice").version(1)
    spec = (applied.kubectl.get("mver", "one-slice-v1") or {})["spec"]
    evidence = bad_inputs.stored(applied, f"{spec['store']['uri']}/blobs/sha256/{version['measurements']}")
    assert f'"slice":"kind={WORSE}"' in evidence


def test_an_isotonic_calibration_that_onnx_gets_wrong_is_refused_though_its_labels_are_right(applied: Place) -> None:
    state = ended(applied, "isotonic")
    off = float(state.version(1)["message"].split("by up to ")[1].split()[0])
    assert off > 0.01
