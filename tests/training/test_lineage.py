"""Lineage on the real cluster: a recipe's version is made again bit by bit, a trainer that rolls dice is told what differs, and
the model card is fetched from the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS
from cluster_support.verbs import ask, ask_inside
from perennial.cli.exits import Exit

DICE = "dice"
ROLLS = """
import json, pathlib, random
from perennial_runtime.recipes.train import train
params = json.loads(pathlib.Path("/perennial/params.json").read_text())
params["hyperparameters"] = {"C": random.uniform(0.5, 2.0)}
told = pathlib.Path("/tmp/params.json")
told.write_text(json.dumps(params))
train("logistic-regression", told, pathlib.Path("/perennial/data/train.parquet"), pathlib.Path("/perennial/out"))
"""
PROVENANCE = {"owner": "shop@example.com", "licence": "CC0-1.0", "description": "Rows that a seed made."}


def objects(place: Place) -> set[str]:
    """By kind and name; a pod that serves has the same name as long as nobody touched it."""
    return {one for one in place.left() if one.partition("/")[0] in ("ModelVersion", "Job", "Pod", "Deployment", "HTTPRoute")}


def status(place: Place, version: str) -> dict[str, Any]:
    found = place.kubectl.get("mver", version)
    assert found is not None
    return dict(found["status"])


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 of a recipe serves, and v1 of a trainer that rolls dice."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(shared_place.manifest(NAME, data={"provenance": PROVENANCE}))
    training = {"recipe": None, "image": shared_place.images.training, "command": ["python3", "-c", ROLLS]}
    shared_place.apply(shared_place.manifest(DICE, training=training))
    shared_place.serving(1, name=NAME)
    shared_place.serving(1, name=DICE)
    return shared_place


def test_version_says_where_it_comes_from(first: Place) -> None:
    version = first.kubectl.get("mver", f"{NAME}-v1")
    assert version is not None
    assert version["spec"]["data"]["provenance"] == PROVENANCE
    found = version["status"]["lineage"]
    assert re.search(r"@sha256:[0-9a-f]{64}$", found["image"]), "as the kubelet resolved it"
    for name in ("data", "split", "model", "environment"):
        assert re.fullmatch("[0-9a-f]{64}", found[name]), name


def test_version_of_a_recipe_is_made_again_bit_by_bit_and_nothing_else_is_left(first: Place) -> None:
    before = objects(first)
    found = ask(first, "reproduce", NAME, "v1", "--wait", "--timeout", "4m")
    assert found.returncode == Exit.DONE, found.stdout + found.stderr
    assert re.search(r"v1: model\.onnx is bit-equal \(sha256:[0-9a-f]{12}\)", found.stdout)
    assert [(one["attempt"], one["outcome"]) for one in status(first, f"{NAME}-v1")["reproduced"]] == [(1, "Equal")]
    first.until("the Job to be gone", lambda state: objects(first) == before, name=NAME)
    assert (first.state(NAME).status["stable"], first.state(NAME).state(1)) == (1, "Serving")


def test_trainer_that_rolls_dice_is_told_what_differs(first: Place) -> None:
    before = objects(first)
    found = ask(first, "reproduce", DICE, "v1", "--wait", "--timeout", "4m")
    assert found.returncode == Exit.BROKEN, found.stdout + found.stderr
    for words in (
        r"model\.onnx is sha256:[0-9a-f]{12} instead of sha256:[0-9a-f]{12}",
        r"tensors and attributes have other values, numbers by up to \d",
        r"of 512 rows of the parity sample have another score, by up to 0\.",
        "the packages are the same",
    ):
        assert re.search(words, found.stdout), found.stdout
    assert [one["outcome"] for one in status(first, f"{DICE}-v1")["reproduced"]] == ["Different"]
    first.until("the Job to be gone", lambda state: objects(first) == before, name=DICE)


def test_card_is_fetched_from_the_store(first: Place, tmp_path: Path) -> None:
    found = ask_inside(first, "card", NAME)
    assert found.returncode == Exit.DONE, found.stderr
    assert found.stdout.startswith(f"# Model card: {NAME}-v1\n")
    assert "| Licence | CC0-1.0 |" in found.stdout
    page = tmp_path / "card.html"
    written = ask_inside(first, "card", NAME, "v1", "--html", "-o", str(page))
    assert written.returncode == Exit.DONE, written.stderr
    text = page.read_text()
    assert text.count("<svg") == 4, "ROC, precision, calibration and scores; there is no parent to compare with"
    assert "bakery" not in text, "a value of the data"
