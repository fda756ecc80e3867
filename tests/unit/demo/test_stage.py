"""Waits of the story: they end when the objects say so, and otherwise say what was seen."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from demo.kubectl import Kubectl, KubectlError
from demo.stage import Stage, State, StoryError

VERSION = {
    "kind": "ModelVersion",
    "metadata": {"name": "delays-v1"},
    "spec": {"number": 1, "modelDeployment": "delays"},
    "status": {"state": "Failed", "message": "TooFewRows: 12 rows"},
}
DEPLOYMENT = {
    "kind": "ModelDeployment",
    "metadata": {"name": "delays"},
    "status": {"summary": "Failed", "weights": [{"version": 1, "weight": 100}]},
}


def stage(tmp_path: Path, *found: object, code: int = 0) -> tuple[Stage, io.StringIO]:
    """A stage whose kubectl is a program that always prints these objects."""
    listing = tmp_path / "found.json"
    listing.write_text(json.dumps({"items": found}))
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\ncat {listing}\necho 'server says no' >&2\nexit {code}\n")
    program.chmod(0o755)
    out = io.StringIO()
    return Stage(Kubectl(str(program), tmp_path / "config"), "delays", Console(file=out, width=120)), out


def test_a_wait_ends_with_the_state_that_was_waited_for(tmp_path: Path) -> None:
    shown, out = stage(tmp_path, DEPLOYMENT, VERSION)
    state = shown.until("an end", lambda seen: seen.state(1) == "Failed" and seen.weight(1) == 100, seconds=5)
    assert state.version(1)["message"] == "TooFewRows: 12 rows"
    assert "v1 Failed" in out.getvalue()


def test_a_wait_stops_at_once_when_it_can_never_end(tmp_path: Path) -> None:
    shown, _ = stage(tmp_path, DEPLOYMENT, VERSION)
    with pytest.raises(StoryError, match="While waiting for v1 to serve: v1 is Failed"):
        shown.until("v1 to serve", lambda seen: False, seconds=60, never=lambda seen: f"v1 is {seen.state(1)}")


def test_a_wait_in_vain_tells_what_was_last_seen(tmp_path: Path) -> None:
    shown, _ = stage(tmp_path, DEPLOYMENT, VERSION)
    with pytest.raises(StoryError, match=r"v1 to serve did not happen within 0 s. Last seen: Failed"):
        shown.until("v1 to serve", lambda seen: False, seconds=0.2, every=0.05)


def test_an_api_server_that_does_not_answer_is_waited_for_and_named(tmp_path: Path) -> None:
    shown, _ = stage(tmp_path, code=1)
    with pytest.raises(StoryError, match="server says no"):
        shown.until("v1 to serve", lambda seen: True, seconds=0.2, every=0.05)


def test_versions_of_other_models_are_not_looked_at(tmp_path: Path) -> None:
    other = {**VERSION, "spec": {"number": 1, "modelDeployment": "other"}}
    shown, _ = stage(tmp_path, DEPLOYMENT, other)
    state = shown.until("anything", lambda seen: True, seconds=5)
    assert state.versions == []
    assert state.state(1) == ""


def test_kubectls_words_are_the_error(tmp_path: Path) -> None:
    shown, _ = stage(tmp_path, code=1)
    with pytest.raises(KubectlError, match="kubectl get mdep x: server says no"):
        shown.kubectl.run("get", "mdep", "x")


def test_a_state_without_objects_is_empty_and_not_an_error() -> None:
    from demo.traffic import Tally

    state = State(None, [], Tally())
    assert (state.status, state.state(1), state.weight(1)) == ({}, "", 0)
