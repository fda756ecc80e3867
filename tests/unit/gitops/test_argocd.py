"""Argo CD's health and actions, run by a Lua interpreter on what the operator writes; no action touches the spec."""

from __future__ import annotations

import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import argocd
from perennial.api.base import REQUESTED_BY
from perennial.api.version import VersionState
from perennial.core.requests import VERBS, found
from unit.cli.worldcluster import WorldCluster
from unit.core.world import World
from unit.gitops import lua, states
from unit.gitops.states import RATE, STATES, State, manifest

FOLDER = argocd.ROOT / argocd.FOLDER
DEPLOYMENT = FOLDER / "perennial.dev" / "ModelDeployment"
HEALTH = (DEPLOYMENT / "health.lua").read_text()
VERSION_HEALTH = (FOLDER / "perennial.dev" / "ModelVersion" / "health.lua").read_text()
DISCOVERY = (DEPLOYMENT / "actions" / "discovery.lua").read_text()
ACTIONS = {path.parent.name: path.read_text() for path in sorted(DEPLOYMENT.glob("actions/*/action.lua"))}


def enabled(world: World) -> set[str]:
    """Actions that Argo CD offers."""
    return {name for name, action in lua.run(DISCOVERY, manifest(world)).items() if not action["disabled"]}


def press(world: World, action: str) -> str:
    """What became of an action, as the operator tells it; only annotations of the object are changed by it."""
    before = manifest(world)
    after = lua.acted(ACTIONS[action], before)
    annotations = after["metadata"].pop("annotations")
    before["metadata"].pop("annotations")
    assert after == before
    world.annotations |= annotations
    (request,) = found(annotations)
    world.live(2, rate=RATE)
    assert request.key not in world.annotations
    record = next(one for one in reversed(world.status.requests) if one.verb == request.verb)
    assert record.argument == request.argument
    return record.outcome


# ---- health ----


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_health_is_what_a_person_has_to_see(state: State) -> None:
    told = lua.run(HEALTH, manifest(state.make()))
    assert told["status"] == state.health, told["message"]
    assert told["message"]


def test_object_without_any_status_is_progressing() -> None:
    bare = manifest(World())
    del bare["status"]
    assert lua.run(HEALTH, bare)["status"] == "Progressing"


def test_health_says_where_it_answers_or_why_it_does_not() -> None:
    assert "answers at http://198.18.0.9/delays/predict" in lua.run(HEALTH, manifest(states.serving()))["message"]
    assert "v2: CanaryWorse: errors: " in lua.run(HEALTH, manifest(states.rolled_back()))["message"]
    assert "perennial.dev/resume" in lua.run(HEALTH, manifest(states.ask(states.serving(), "pause")))["message"]


def versions(world: World) -> dict[str, str]:
    """Health of each ModelVersion, by its name."""
    cluster = WorldCluster(world, is_down=True)
    return {one["metadata"]["name"]: lua.run(VERSION_HEALTH, one)["status"] for one in cluster.versions("delays")}


@pytest.mark.parametrize(
    ("make", "health"),
    [
        (states.promoted, {"delays-v1": "Healthy", "delays-v2": "Healthy"}),
        (states.training, {"delays-v1": "Healthy", "delays-v2": "Progressing"}),
        (states.rolled_back, {"delays-v1": "Healthy", "delays-v2": "Degraded"}),
        (states.rejected, {"delays-v1": "Healthy", "delays-v2": "Degraded"}),
        (states.newest_failed, {"delays-v1": "Healthy", "delays-v2": "Degraded"}),
        (states.accepted, {"delays-v1": "Healthy", "delays-v2": "Suspended"}),
    ],
)
def test_health_of_a_version_is_that_of_its_state(make: Any, health: dict[str, str]) -> None:
    assert versions(make()) == health


def test_every_state_of_a_version_has_a_health() -> None:
    expected = {
        **dict.fromkeys(("Pending", "Preparing", "Training", "Evaluating", "Deploying", "Canary"), "Progressing"),
        **dict.fromkeys(("Serving", "Retired", "Superseded", "Passed"), "Healthy"),
        **dict.fromkeys(("Failed", "Rejected", "RolledBack"), "Degraded"),
        "Accepted": "Suspended",
    }
    found = {state: lua.run(VERSION_HEALTH, {"status": {"state": state}})["status"] for state in get_args(VersionState)}
    assert found == expected


def test_health_of_a_version_has_its_state_and_its_words() -> None:
    bare = {"metadata": {"name": "delays-v1"}}
    assert lua.run(VERSION_HEALTH, bare) == {"status": "Progressing", "message": "Pending"}
    told = lua.run(VERSION_HEALTH, {**bare, "status": {"state": "Failed", "message": "TrainerFailed: exit code 3"}})
    assert told == {"status": "Degraded", "message": "Failed: TrainerFailed: exit code 3"}


# ---- actions ----


@pytest.mark.parametrize(
    ("make", "offered"),
    [
        (World, set()),
        (states.being_made, {"abort", "retrain", "pause"}),
        (states.serving, {"retrain", "pause"}),
        (states.training, {"abort", "retrain", "pause"}),
        (states.unapproved, {"approve", "abort", "retrain", "pause"}),
        (states.shadow, {"promote", "abort", "retrain", "pause"}),
        (states.canary, {"promote", "abort", "retrain", "pause"}),
        (states.breached, {"promote", "abort", "retrain", "pause"}),
        (states.inconclusive, {"promote", "abort", "retrain", "pause"}),
        (states.promoted, {"rollback", "retrain", "pause"}),
        (lambda: states.promoted(watch={"for": "60s"}), {"promote", "abort", "rollback", "retrain", "pause"}),
        (states.rolled_back, {"retrain", "pause"}),
        (states.rejected, {"retrain", "pause"}),
        (states.first_failed, {"retrain", "retry", "pause"}),
        (states.newest_failed, {"retrain", "retry", "pause"}),
        (lambda: states.ask(states.training(), "abort"), {"retrain", "retry", "pause"}),
        (states.held, {"retrain", "resume", "pause"}),
        (states.stopped, {"retrain", "resume", "pause"}),
        (lambda: states.ask(states.canary(), "pause"), {"abort", "resume"}),
        (lambda: states.passed(states.commit(states.canary(), paused=True)), {"abort"}),
        (lambda: states.pin(states.promoted(), 2), {"retrain", "pause"}),
    ],
)
def test_action_is_offered_where_it_makes_sense(make: Any, offered: set[str]) -> None:
    assert enabled(make()) == offered


def test_model_that_is_being_deleted_offers_nothing() -> None:
    going = manifest(states.canary())
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert all(action["disabled"] for action in lua.run(DISCOVERY, going).values())


def test_actions_name_the_version_that_they_are_about() -> None:
    offered = lua.run(DISCOVERY, manifest(states.canary()))
    assert (offered["promote"]["displayName"], offered["abort"]["displayName"]) == ("Promote v2", "Abort v2")
    assert lua.run(DISCOVERY, manifest(states.newest_failed()))["retry"]["displayName"] == "Retry v2"


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_no_action_that_is_offered_is_refused_or_touches_anything_but_annotations(state: State) -> None:
    world = state.make()
    for action in sorted(enabled(world)):
        assert not press(deepcopy(world), action).startswith("refused"), action


def test_return_that_has_no_target_is_refused_with_the_reason() -> None:
    world = states.first_failed()
    world.answer = None
    states.other_data(world).until(lambda w: w.status.stable == 2, rate=RATE)
    assert press(world, "rollback") == "refused: there is no version before this one that served and was not taken back"


@pytest.mark.parametrize(
    ("make", "action", "verb", "argument"),
    [
        (states.canary, "promote", "promote", "2"),
        (states.canary, "abort", "abort", "2"),
        (states.training, "abort", "abort", "2"),
        (states.promoted, "rollback", "rollback-to", ""),
        (states.serving, "retrain", "retrain", "asked for in Argo CD"),
        (states.newest_failed, "retry", "retry", "2"),
        (states.serving, "pause", "pause", ""),
        (states.held, "resume", "resume", ""),
    ],
)
def test_action_is_the_request_that_it_says(make: Any, action: str, verb: str, argument: str) -> None:
    before = manifest(make())
    before["metadata"]["annotations"] = {"owner": "us"}
    annotations = lua.acted(ACTIONS[action], before)["metadata"]["annotations"]
    assert annotations == {"owner": "us", f"perennial.dev/{verb}": argument}
    (request,) = found(annotations)
    assert (request.verb, request.argument, request.unknown) == (verb, argument, "")


@pytest.mark.parametrize("action", ["abort", "promote", "approve"])
def test_action_on_a_version_that_ended_while_the_menu_was_open_asks_for_nothing(action: str) -> None:
    before = manifest(states.serving())
    assert lua.acted(ACTIONS[action], before) == before


def test_canary_is_promoted_by_its_action() -> None:
    world = states.canary()
    assert press(world, "promote") == "v2 is promoted"
    assert world.status.stable == 2


def test_watched_version_is_taken_back_by_abort_though_a_newer_one_is_trained() -> None:
    world = states.promoted(watch={"for": "60s"})
    world.answer = states.runs
    states.other_data(world, rows=8).live(2, rate=RATE)
    assert world.status.candidate == 3
    assert press(world, "abort") == "v2 is taken back and quarantined"


def test_model_returns_and_resumes_by_its_actions() -> None:
    world = states.promoted()
    assert press(world, "rollback").startswith("returning to v1")
    world.until(lambda w: w.status.stable == 1, rate=RATE)
    assert press(world, "resume").startswith("new versions are rolled out again")
    assert not world.status.held


def test_paused_model_goes_on_by_its_action() -> None:
    world = states.canary()
    press(world, "pause")
    assert world.status.paused
    press(world, "resume")
    world.until(lambda w: w.status.stable == 2, rate=RATE)


# ---- the ConfigMap ----


def test_config_map_is_what_the_lua_files_say() -> None:
    assert argocd.main(["--check"]) == 0


def test_stale_config_map_is_named_with_the_command_that_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / argocd.FOLDER / "perennial.dev" / "ModelDeployment"
    folder.mkdir(parents=True)
    (folder / "health.lua").write_text("return {status = 'Healthy'}\n")
    assert argocd.main(["--check", "--root", str(tmp_path)]) == 1
    assert "argocd-cm.yaml is stale: run `make crds`" in capsys.readouterr().out
    assert argocd.main(["--root", str(tmp_path)]) == 0
    assert argocd.main(["--check", "--root", str(tmp_path)]) == 0


def test_config_map_holds_the_scripts_under_the_keys_that_argo_cd_reads() -> None:
    body = yaml.safe_load((FOLDER / argocd.FILE).read_text())
    assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", "argocd-cm")
    health = "resource.customizations.health.perennial.dev_"
    actions = "resource.customizations.actions.perennial.dev_ModelDeployment"
    assert set(body["data"]) == {f"{health}ModelDeployment", f"{health}ModelVersion", actions}
    assert body["data"][f"{health}ModelDeployment"] == HEALTH
    held = yaml.safe_load(body["data"][actions])
    assert held["discovery.lua"] == DISCOVERY
    assert {one["name"]: one["action.lua"] for one in held["definitions"]} == ACTIONS


def test_actions_name_the_account_that_makes_them_as_the_page_says_it_is_done_under_the_policy() -> None:
    (script,) = re.findall(r"^sed '(.+)' \\$", (argocd.ROOT / "docs" / "gitops.md").read_text(), re.MULTILINE)
    edited = subprocess.run(["sed", script, FOLDER / argocd.FILE], capture_output=True, text=True, check=True).stdout
    data = yaml.safe_load(edited)["data"]
    held = yaml.safe_load(data["resource.customizations.actions.perennial.dev_ModelDeployment"])
    assert held["discovery.lua"] == DISCOVERY
    before = manifest(states.canary())
    for one in held["definitions"]:
        plain = lua.acted(ACTIONS[one["name"]], before)["metadata"]["annotations"]
        made = lua.acted(one["action.lua"], before)["metadata"]["annotations"]
        assert made == {**plain, REQUESTED_BY: "system:serviceaccount:argocd:argocd-server"}


def test_every_action_is_discovered_and_every_discovered_one_is_there() -> None:
    assert set(lua.run(DISCOVERY, manifest(World()))) == set(ACTIONS)
    assert {"rollback-to" if name == "rollback" else name for name in ACTIONS} == set(VERBS) - {"lift", "reproduce"}, (
        "these want a number"
    )
