"""Pictures of the verbs, drawn from a recording as the API server would give it."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

import pictures
from perennial.cli import asking
from perennial.cli.asking import Model
from pictures import looks_of, main, recorded
from unit.cli.worldcluster import WorldCluster
from unit.core.test_watch import canary
from unit.core.world import World, served


def recording(world: World, **traffic: object) -> str:
    """Of a rollout from its first look to its end."""
    cluster = WorldCluster(world, dict(traffic))

    def looks() -> Iterator[Model]:
        for _ in range(200):
            yield asking.read(cluster.model("delays"), cluster.versions("delays"))

    return json.dumps(list(recorded(looks(), lambda: world.now)))


@pytest.fixture(scope="module")
def harmful() -> str:
    """v2 answers twice as many requests badly as v1."""
    return recording(canary(steps=[{"weight": 10, "hold": "60s"}]), rate=1000, bad={1: 0.01, 2: 0.02})


def words(svg: str) -> str:
    """The text of an SVG, as it is read."""
    return html.unescape(svg).replace("\xa0", " ")


def test_a_recorded_rollout_becomes_a_picture_of_each_verb(harmful: str, tmp_path: Path) -> None:
    file = tmp_path / "rollout.json"
    file.write_text(harmful)
    done = CliRunner().invoke(main, ["render", "--recording", str(file), "--out", str(tmp_path / "img")])
    assert (done.exit_code, done.stderr) == (0, "")
    drawn = {path.stem: words(path.read_text()) for path in (tmp_path / "img").iterdir()}
    assert set(drawn) == {"watch", "describe", "explain"}
    assert all(text.startswith("<svg") for text in drawn.values())
    assert "kubectl perennial watch delays" in drawn["watch"]
    assert "step 1 of 1, 10 %" in drawn["watch"]
    assert "What is under way" in drawn["describe"]
    assert "delays v2: RolledBack" in drawn["explain"]
    assert "the same answers would not have been enough" in drawn["explain"]


def test_the_picture_of_watch_is_of_the_moment_with_the_most_evidence(harmful: str) -> None:
    looks = looks_of(harmful)
    strengths = [pictures._strength(one) for one in looks if one.model.status.rollout]
    assert max(strengths) > 0.2
    shown = words(pictures.pictures(looks)["watch"])
    best = max(strengths)
    at = next(one for one in looks if pictures._strength(one) == best)
    assert f"{pictures.evidence(at.model)[0].candidate_bad:,} of " in shown


def test_drawn_again_a_recording_gives_the_same_bytes(harmful: str) -> None:
    assert pictures.pictures(looks_of(harmful)) == pictures.pictures(looks_of(harmful))


def test_a_recording_holds_only_looks_that_differ(harmful: str) -> None:
    looks = json.loads(harmful)
    assert all({**one, "at": ""} != {**after, "at": ""} for one, after in pairwise(looks))
    assert looks[-1]["versions"][0]["status"]["state"] == "RolledBack"


@pytest.mark.parametrize("text", ["", "{}", '[{"at": "2026-01-01T00:00:00Z"}]', "[]"])
def test_what_is_no_recording_is_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rollout.json"
    file.write_text(text)
    done = CliRunner().invoke(main, ["render", "--recording", str(file)])
    assert done.exit_code == 1
    assert "recording" in done.stderr
    assert "Traceback" not in done.output


def test_a_recording_without_a_rollout_is_told() -> None:
    with pytest.raises(Exception, match="no rollout is under way in the recording"):
        looks_of(recording(served(), rate=100))
