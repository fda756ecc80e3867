"""The whole loop on the real cluster, small: v1 served, v2 promoted, v3 caught and taken back, and a person's return to v1.

The plot is the demo's own (`demo.story`); each test looks at one part of how it ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from cluster_support import synthetic
from cluster_support.place import Place
from demo import view
from demo.kubectl import KubectlError, diagnosis
from demo.stage import Stage, State, StoryError
from demo.story import Plot, play
from demo.traffic import Client

ROWS = 2400
NAME = "shop"
NEW_KIND = "market"
"""A kind of shop that only live traffic has."""


def plot_in(place: Place) -> Plot:
    """The demo's plot on the small data."""
    bodies = list(synthetic.bodies(synthetic.table(4000, first=2 * ROWS), new_kind=NEW_KIND, new_every=12))

    def first_data() -> str:
        place.upload(synthetic.table(ROWS), "january.parquet")
        return f"{ROWS} rows"

    def more_data() -> str:
        place.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
        return f"{ROWS} more rows"

    def start_client(url: str) -> Client:
        return place.client(url, bodies, rate=80)

    return Plot(
        manifest=place.manifest(NAME, data={"minimumRows": 1000}),
        harmful={"recipe": None, "image": place.images.trainer},
        first_data=first_data,
        more_data=more_data,
        start_client=start_client,
        quiet_seconds=3,
    )


@pytest.fixture(scope="module")
def ended(shared_place: Place) -> Iterator[State]:
    """The story, played once."""
    stage = Stage(shared_place.kubectl, NAME, Console(width=160))
    try:
        yield play(stage, plot_in(shared_place))
    except (StoryError, KubectlError) as error:
        pytest.fail(f"{error}\n\n{diagnosis(shared_place.kubectl, NAME)}", pytrace=False)
    finally:
        if stage.client is not None:
            stage.client.stop()


def test_every_version_ended_as_the_story_tells(ended: State) -> None:
    assert {number: ended.state(number) for number in (1, 2, 3)} == {1: "Serving", 2: "Retired", 3: "RolledBack"}
    assert (ended.status["stable"], ended.weight(1)) == (1, 100)


def test_nobody_but_the_harmful_version_failed_a_request(ended: State) -> None:
    assert ended.tally.failures_but(f"{NAME}-v3") == {}
    assert ended.tally.versions[f"{NAME}-v3"].failures > 0
    assert ended.tally.requests > 1000


def test_the_harmful_version_passed_its_gates_and_was_caught_by_the_evidence(ended: State) -> None:
    third = ended.version(3)
    assert {gate["verdict"] for gate in third["gates"]} == {"Passed"}
    (errors,) = third["evidence"]
    assert errors["e"] >= errors["threshold"]
    assert errors["candidateBad"] > 0 == errors["stableBad"]
    assert [entry["version"] for entry in ended.status["quarantined"]] == [3]


def test_the_second_version_was_compared_with_the_first_on_rows_neither_was_trained_on(ended: State) -> None:
    second = ended.version(2)
    kinds = [gate["kind"] for gate in second["gates"]]
    assert kinds == ["minimum", "notWorseThanServingBy"]
    assert second["rows"] + second["holdoutRows"] == 2 * ROWS
    # 20 % of the first rows, which keep their side for ever, and 20 % of the new ones
    assert 0.18 * 2 * ROWS < second["holdoutRows"] < 0.22 * 2 * ROWS
    assert view.against(second) != "-"


def test_a_person_can_pin_the_second_version_and_it_serves(ended: State, shared_place: Place) -> None:
    shared_place.kubectl.patch("mdep", NAME, {"spec": {"pin": 2}})
    state = shared_place.until(
        "v2 to serve everything", lambda seen: seen.weight(2) == 100 and seen.status.get("stable") == 2, name=NAME
    )
    assert view.condition(state.deployment, "Pinned")["status"] == "True"
