"""Splits that are not by time, and synthetic rows: what prepare is asked for, and what came out of it as people are told it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest

from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.cli import explanation
from perennial.cli.asking import Version
from perennial.core import lineage
from perennial.core.actions import CreateJob
from perennial.core.inputs import store_owner, store_uri
from perennial_runtime.contract import Answer, Column, PrepareSpec, decode_answer, encode
from unit.core.world import World, prepared, served, spec

BY_GROUP = {"fraction": 0.25, "by": "group"}
HOUSEHOLD, MADE, CARD = (
    {"name": "household", "role": "group"},
    {"name": "made", "role": "synthetic"},
    {"name": "card", "role": "sensitive"},
)
FOUND = {"key": "household", "groups": 1_200, "held_out_groups": 290, "cutoff": ""}


def wish(holdout: dict[str, Any] | None = None, *columns: dict[str, str]) -> ModelDeploymentSpec:
    data = spec().data.model_dump(by_alias=True, exclude_none=True)
    return spec(data={**data, "columns": [*data["columns"], *columns], "holdout": holdout or data["holdout"]})


def world(wanted: ModelDeploymentSpec, **found: Any) -> tuple[World, list[PrepareSpec]]:
    """A world that serves a version of which prepare found this, and what prepare was given."""
    asked: list[PrepareSpec] = []

    def told(step: str, version: int, action: CreateJob) -> Answer | None:
        if isinstance(action.input, PrepareSpec):
            asked.append(action.input)
            return replace(prepared(version), **found)
        return None

    return served(World(wish=wanted, answer=told)), asked


def card(there: World) -> list[str]:
    """What the first version's card says of the split."""
    version = there.versions[1]
    return [value for what, value in lineage.words(version.spec, version.status) if what == "Split"]


def explained(there: World) -> list[str]:
    """What `kubectl perennial explain` says of the first version's data."""
    version = there.versions[1]
    return explanation._data(Version({}, version.spec, version.status))


def test_prepare_is_told_how_rows_are_held_out_and_whose_they_are() -> None:
    _, asked = world(wish(BY_GROUP, HOUSEHOLD, CARD), **FOUND)
    assert (asked[0].holdout_by, asked[0].holdout_fraction) == ("group", 0.25)
    assert asked[0].store.endswith(f"/{asked[0].salt}")
    assert Column("household", "group") in asked[0].columns
    assert Column("card", "sensitive") in asked[0].columns


def test_the_salt_is_the_uid_of_the_model_deployment() -> None:
    assert store_owner(store_uri("s3://store/perennial/", "shop", "0b4c-11")) == "0b4c-11"


def test_a_split_by_time_is_asked_for_as_it_was_before_there_were_others() -> None:
    there, asked = world(wish())
    assert not {"holdout_by", "salt"} & json.loads(encode(asked[0])).keys()
    assert there.versions[1].status.split is None
    assert there.versions[1].status.cutoff == "2013-03-01T00:00:00Z"
    assert card(there) == []


def test_a_version_tells_its_groups_and_the_share_that_came_out() -> None:
    there, _ = world(wish(BY_GROUP, HOUSEHOLD, CARD), **FOUND)
    status = there.versions[1].status
    assert status.split is not None
    assert (status.split.by, status.split.column, status.split.share) == ("group", "household", 0.2)
    assert status.cutoff is None
    said = [
        "held out by group of column household: 290 of 1,200 groups, 20.0% of the rows, 25.0% were asked for",
        "sensitive, never read: card",
    ]
    assert card(there) == said
    assert explained(there)[1:] == said


@pytest.mark.parametrize(("key", "words"), [("flight_id", "a hash of column flight_id"), ("", "a hash of whole rows")])
def test_a_version_tells_whose_hash_decides(key: str, words: str) -> None:
    there, _ = world(wish({"by": "hash"}), key=key, cutoff="")
    assert card(there) == [f"held out by {words}: 20.0% of the rows, 20.0% were asked for"]


def test_a_version_tells_its_synthetic_rows_which_do_not_count_for_the_share() -> None:
    there, _ = world(wish(None, MADE), synthetic=3_500, left_out=1_500)
    status = there.versions[1].status
    assert status.split is not None
    assert status.split.share == 0.25, "2,000 of 8,000 - 2,000 + 2,000"
    assert status.cutoff == "2013-03-01T00:00:00Z"
    said = "3,500 rows are synthetic: 2,000 are trained on, 1,500 on the holdout's side are left out, none is judged by"
    assert card(there) == [said]


def test_the_answer_of_an_older_prepare_still_reads() -> None:
    older = {name: value for name, value in dataclasses.asdict(prepared(1)).items() if name not in ("key", "groups", "left_out")}
    assert decode_answer(json.dumps({"prepare": older})) == prepared(1)
