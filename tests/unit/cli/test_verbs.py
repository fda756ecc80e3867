"""The verbs that ask a cluster: what they say, and how they end. The operator's plan answers; the API server is in memory."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml
from click.testing import CliRunner, Result

from perennial.adapters import kubeconfig
from perennial.adapters.kubeconfig import Forbidden, NoAnswer
from perennial.api.ledger import MOST_ENTRIES
from perennial.api.v1alpha1 import ReturnStatus
from perennial.cli import asking, reference, stored, watch
from perennial.cli.__main__ import VERBS, main
from perennial.cli.completion import complete
from perennial.cli.diff import _shown, differences
from perennial.cli.exits import Exit
from perennial.core import ledger
from perennial_runtime import chain
from perennial_runtime.contract import PrepareResult, decode_answer, encode_answer
from unit.cli.test_kubeconfig import api_server
from unit.cli.worldcluster import WorldCluster
from unit.core import test_existing_model as existing
from unit.core import test_reproducing as reproductions
from unit.core.test_watch import canary, watched
from unit.core.world import World, prepared, served, spec

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster

Ask = Callable[..., Result]
NOWHERE = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "flights"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "u", "user": {}}],
}
"""Nobody listens on the discard port."""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a verb on a world."""
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.001)

    def run(world: World, *arguments: str, is_down: bool = False, person: str = "jane", **traffic: Any) -> Result:
        cluster = WorldCluster(world, traffic, is_down=is_down, person=person)
        monkeypatch.setattr(kubeconfig, "KubeconfigCluster", lambda *where: cluster)
        return CliRunner().invoke(main, arguments)

    return run


def broken() -> World:
    """v1 serves; v2 did harm and is quarantined."""
    return canary().until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.2})


# ---- asking the operator for something ----


def test_promote_gives_the_candidate_all_requests_and_says_so(ask: Ask) -> None:
    world = canary()
    found = ask(world, "promote", "delays", "v2", rate=100)
    assert (found.exit_code, found.stdout) == (0, "delays: v2 is promoted\n")
    assert world.status.stable == 2
    assert "perennial.dev/promote" not in world.annotations


@pytest.mark.parametrize(
    ("person", "attested", "recorded"),
    [("jane", True, "jane"), ("jane", False, "unattested"), ("", True, "unattested")],
    ids=["checked", "not checked", "not told by the API server"],
)
def test_a_request_is_made_in_the_persons_own_name(ask: Ask, person: str, attested: bool, recorded: str) -> None:
    world = served()
    world.attested = attested
    told = json.loads(ask(world, "pause", "delays", "-o", "json", person=person).stdout)
    assert told["requestedBy"] == recorded
    assert re.search(rf"pause +\S+Z +{recorded} +nothing is started", ask(world, "history", "delays").stdout)
    assert world.annotations == ({"perennial.dev/requested-by": person} if person else {})


def test_a_request_that_the_operator_refuses_ends_with_5_and_its_words(ask: Ask) -> None:
    found = ask(canary(), "promote", "delays", "7", rate=100)
    assert (found.exit_code, found.stdout) == (Exit.REFUSED, "")
    assert "refused: the candidate is v2, not v7" in found.stderr


def test_a_request_that_the_api_server_refuses_ends_with_5_and_its_words(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: WorldCluster, name: str, annotations: Mapping[str, str]) -> None:
        raise Forbidden("modeldeployments is forbidden: ValidatingAdmissionPolicy denied request: jane may not ask for it")

    monkeypatch.setattr(WorldCluster, "annotate", denied)
    world = canary()
    found = ask(world, "promote", "delays", rate=100)
    assert (found.exit_code, found.stdout) == (Exit.REFUSED, "")
    assert "denied request: jane may not ask for it" in found.stderr
    assert not world.annotations


def test_abort_waits_until_the_candidate_has_no_requests(ask: Ask) -> None:
    world = canary()
    found = ask(world, "abort", "delays", "--wait", rate=100)
    assert (found.exit_code, found.stdout) == (0, "delays: v2 gets no requests\n")
    assert dict(world.route.weights if world.route else {}).get(2, 0) == 0


def test_rollback_waits_until_the_older_version_has_the_requests(ask: Ask) -> None:
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    found = ask(world, "rollback", "delays", "--to", "1", "--wait", rate=100)
    assert (found.exit_code, found.stdout) == (0, "delays: v1 has the requests\n")
    assert ask(world, "resume", "delays", rate=100).stdout.startswith("delays: new versions are rolled out again")


def test_rollback_with_nothing_to_go_back_to_is_refused(ask: Ask) -> None:
    found = ask(served(), "rollback", "delays", rate=100)
    assert found.exit_code == Exit.REFUSED
    assert "no version before this one" in found.stderr


@pytest.mark.parametrize(
    ("bad", "state", "code"),
    [(0.0, "Serving", Exit.DONE), (0.2, "RolledBack", Exit.ROLLED_BACK)],
    ids=["promoted", "rolled back"],
)
def test_retrain_that_waits_ends_by_the_verdict(ask: Ask, bad: float, state: str, code: Exit) -> None:
    world = served()
    found = ask(world, "retrain", "delays", "--because", "July is there", "--wait", rate=100, bad={2: bad})
    assert found.exit_code == code
    assert world.versions[2].status.state == state
    assert world.versions[2].spec.trigger.message == "retrain July is there"
    assert re.search(r"\[ *\d+s\] Canary 10 %", found.stderr)


def test_retrain_while_it_is_held_ends_with_3_and_says_what_it_waits_for(ask: Ask) -> None:
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    assert ask(world, "rollback", "delays", "--wait", rate=100).exit_code == 0
    found = ask(world, "retrain", "delays", "--wait", rate=100)
    assert found.exit_code == Exit.WAITING
    assert "v3 is Accepted and waits: a person returned to an older version" in found.stdout


def test_version_that_waits_for_approval_ends_a_wait_with_3_and_goes_on_when_it_is_approved(ask: Ask) -> None:
    world = served()
    world.wish = spec(approval={})
    found = ask(world, "retrain", "delays", "--wait", rate=100)
    assert found.exit_code == Exit.WAITING
    assert "v2 is Accepted and waits: nobody has approved it yet" in found.stdout
    assert re.search(r"Approved +ApprovalNeeded|Approved=False +ApprovalNeeded", ask(world, "describe", "delays").stdout)
    assert ask(world, "approve", "delays", "v3").exit_code == Exit.REFUSED
    approved = ask(world, "approve", "delays", "v2", "--wait", rate=100)
    assert (approved.exit_code, world.status.stable) == (0, 2)
    assert "v2 serves" in approved.stdout
    assert re.search(r"Approval\n  asked for at .*\n  approved at .* by unattested", ask(world, "explain", "delays", "v2").stdout)


def test_pause_and_retry_are_carried_out_or_refused(ask: Ask) -> None:
    world = served()
    assert "until a person types kubectl perennial resume delays -n ns\n" in ask(world, "pause", "delays").stdout
    refused = ask(world, "retrain", "delays")
    assert (refused.exit_code, "kubectl perennial resume delays -n ns" in refused.stderr) == (Exit.REFUSED, True)
    assert ask(world, "resume", "delays").exit_code == 0
    assert "v1 is Serving; there is nothing to try again" in ask(world, "retry", "delays").stderr


def test_quarantine_is_listed_and_lifted(ask: Ask) -> None:
    world = broken()
    assert re.search(r"v2 +CanaryWorse +2026-01-01T[\d:]{8}Z ", ask(world, "quarantine", "list", "delays").stdout)
    assert ask(world, "quarantine", "lift", "delays", "v2").stdout == "delays: v2 is out of quarantine\n"
    assert ask(world, "quarantine", "list", "delays").stdout == "delays: nothing is quarantined\n"
    assert json.loads(ask(world, "quarantine", "list", "delays", "-o", "json").stdout) == []


def test_without_an_operator_a_request_is_left_and_a_second_one_told_of_it(ask: Ask) -> None:
    world = served()
    found = ask(world, "pause", "delays", "--timeout", "1s", is_down=True)
    assert found.exit_code == Exit.WAITING
    assert "has not answered within 1 s" in found.stderr
    again = ask(world, "pause", "delays", "--timeout", "1s", is_down=True)
    assert again.exit_code == Exit.WAITING
    assert "was not carried out yet: does the operator run?" in again.stderr


def test_a_wait_that_is_too_short_ends_with_3_and_says_how_far_it_is(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.4)
    found = ask(served(), "retrain", "delays", "--wait", "--timeout", "1s", rate=100)
    assert found.exit_code == Exit.WAITING
    assert "not ended within 1 s: " in found.stdout


def test_the_answer_as_json_is_for_programs(ask: Ask) -> None:
    found = json.loads(ask(canary(), "promote", "delays", "-o", "json", rate=100).stdout)
    assert found["outcome"] == "v2 is promoted"
    assert (found["verb"], found["end"], found["namespace"]) == ("promote", "DONE", "ns")


# ---- reading ----


def test_get_shows_what_serves_and_what_is_happening(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(canary(), "get", rate=100).stdout.splitlines()
    assert found[0].split() == ["NAME", "SERVES", "NOW", "READY", "NEWEST", "AGE"]
    assert found[1].split()[:6] == ["delays", "v1", "Canary", "10", "%", "True"]
    wide = ask(canary(), "get", "delays", "-o", "wide", rate=100).stdout
    assert re.search(r"v2 +Canary +10 %", wide)
    assert re.search(r"v1 +Serving +90 %", wide)
    known = WorldCluster.model
    managed = lambda self, name: {**(one := known(self, name)), "metadata": {**one["metadata"], "managedFields": [{}]}}  # noqa: E731
    monkeypatch.setattr(WorldCluster, "model", managed)
    assert "managedFields" not in ask(canary(), "get", "delays", "-o", "json").stdout + ask(canary(), "get", "-o", "yaml").stdout
    kinds = [one["kind"] for one in yaml.safe_load(ask(canary(), "get", "delays", "-o", "yaml").stdout)]
    assert kinds == ["ModelDeployment", "ModelVersion", "ModelVersion"]


def test_explain_tells_of_a_version_that_was_taken_back_what_would_not_have_been_enough(ask: Ask) -> None:
    found = ask(broken(), "explain", "delays").stdout
    assert found.startswith("delays v2: RolledBack\n  CanaryWorse: errors: candidate ")
    assert "Requested: retrain now" in found
    assert re.search(r"alpha 0\.01, its share of falseRollbackRate, exact; 100 % of it is used up", found), found
    assert re.search(r"the same answers would not have been enough with an alpha under [\d.e-]+$", found, re.M)
    assert "kubectl perennial quarantine lift delays 2 -n ns" in found


def test_explain_tells_of_a_gate_which_limit_it_would_have_failed(ask: Ask) -> None:
    found = ask(served(), "explain", "delays", "1").stdout
    assert "Passed: roc_auc 0.7300 (from 0.7200 to 0.7400" in found
    assert "it would not have passed with minimum: more than 0.7200" in found
    sections = json.loads(ask(served(), "explain", "delays", "-o", "json").stdout)
    assert sections[0]["head"] == "delays v1: Serving"


def test_describe_tells_what_serves_what_is_under_way_and_how_far_it_is(ask: Ask) -> None:
    found = re.sub(" +\n", "\n", ask(canary(), "describe", "delays", rate=100).stdout)
    assert re.search(r"^What serves\n  v1 since 2026-\S+Z \(\S+\): the first .*\n  requests: v1 90 %, v2 10 %$", found, re.M)
    assert re.search(r"^What is under way\n  step 1 of 2, 10 %: .*answered\n  v2 is Canary: canary at 10 %$", found, re.M)
    assert re.search(r"^  Progressing=True +Canary +\S+ +v2: canary at 10 %$", found, re.M)
    assert re.search(r"^v2: Canary\n(.*\n)*?  evaluate +1 +Succeeded +2026-\S+Z +1s +Completed$", found, re.M)
    assert re.search(r"^Gates of v2\n  Passed: roc_auc 0\.7300", found, re.M)
    assert re.search(r"^Rollout of v2\n  errors: candidate 0 bad of ", found, re.M)
    assert re.search(r"^What people asked for\n  \S+Z retrain now \(by unattested\): v2 is being trained$", found, re.M)
    assert re.search(r"^  \S+Z CanaryStep v2: v2 gets 10 % of the requests$", found, re.M)


def test_describe_tells_what_begins_a_retrain_next_and_what_holds_it_back(ask: Ask) -> None:
    wish = spec(
        triggers={"schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin"}, "newData": {"interval": "1m"}},
        limits={"cooldown": "12h"},
    )
    world = served(World(wish=wish))
    world.live(3)
    found = ask(world, "describe", "delays").stdout
    assert re.search(r'^  the schedule "0 3 \* \* \*" \(Europe/Berlin\): next at 2026-01-01T02:00:00Z$', found, re.M)
    assert re.search(r"^  new data, looked for every 1m: 3 files, as they are since 2026-01-01T00:00:\d\dZ$", found, re.M)
    assert "2026-01-01T02:00:00Z" in ask(world, "get", "-o", "wide").stdout
    world.now += timedelta(hours=3)
    world.live(2)
    assert "due: the schedule" in ask(world, "describe", "delays").stdout
    assert "it waits: limits.cooldown 12h since v1 began at" in re.sub(r"\s+", " ", ask(world, "describe", "delays").stdout)


def test_explain_and_history_tell_why_a_trigger_made_a_version(ask: Ask) -> None:
    world = served(World(wish=spec(triggers={"schedule": {"cron": "0 3 * * *"}})))
    world.now += timedelta(hours=4)
    world.live(3)
    assert 'Schedule: the schedule "0 3 * * *" (UTC) was due at' in ask(world, "explain", "delays", "2").stdout
    assert 'the schedule "0 3 * * *" (UTC) was due at' in re.sub(
        r"\s+", " ", ask(world, "history", "delays", "-o", "wide").stdout
    )


def test_describe_tells_what_a_person_is_waited_for(ask: Ask) -> None:
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    ask(world, "rollback", "delays", "--wait", rate=100)
    ask(world, "retrain", "delays", "--wait", rate=100)
    found = ask(world, "describe", "delays").stdout
    assert "v3 is Accepted and waits: a person returned to an older version; resume rolls new ones out again" in found
    ask(world, "pause", "delays", "--timeout", "1s", is_down=True)
    assert "the request perennial.dev/pause=" in ask(world, "describe", "delays", is_down=True).stdout


def test_describe_shows_trouble_first_and_the_version_that_is_named(ask: Ask) -> None:
    world = canary()
    world.unreachable = True
    world.live(2, rate=100)
    for arguments in (("v1",), ("-v", "1"), ("--version", "v1")):
        found = ask(world, "describe", "delays", *arguments).stdout
        assert re.search(r"^  CONDITION .*\n  Measured=False +PodsUnreachable .*pod x: timed out", found, re.M)
        assert "Gates of v1" in found
        assert "Gates of v2" not in found
    assert ask(world, "describe", "delays", "1", "-v", "1").exit_code == Exit.USAGE
    assert "v9 is not there" in ask(world, "describe", "delays", "9").stderr


def test_describe_of_a_model_that_nobody_saw_yet_says_so(ask: Ask) -> None:
    found = ask(World(), "describe", "delays", is_down=True)
    assert found.exit_code == 0
    assert found.stdout.startswith("delays: not seen by the operator yet\n")
    assert "no version serves" in found.stdout


def test_describe_and_history_say_how_much_more_there_is(ask: Ask) -> None:
    world = broken()
    for index in range(36):
        world.annotations[f"perennial.dev/{'resume' if index % 2 else 'pause'}"] = f";id={index}"
        world.live(2)
    told, length = world.status.requests, world.status.ledger.length
    assert len(told) == 32
    found = ask(world, "describe", "delays", is_down=True).stdout
    assert "the last 8 of 32 that are remembered: kubectl perennial history delays -n ns" in found
    assert f"the last 8 of {length}: kubectl perennial history delays -n ns --all" in found
    words = ask(world, "history", "delays", is_down=True).stderr
    assert "older requests are not remembered here, but are among the decisions: --all" in words
    assert f"these are the last 12 of {length} decisions: -o wide lists those that the cluster has, --all every one" in words
    few = served()
    assert not ask(few, "history", "delays", "-o", "wide", is_down=True).stderr
    for verb in ("pause", "resume", "pause"):
        few.annotations[f"perennial.dev/{verb}"] = ""
        few.live(2)
    assert "older requests are not remembered here" in ask(few, "history", "delays", "-o", "wide", is_down=True).stderr


def test_describe_says_a_reason_once(ask: Ask) -> None:
    world = canary(onBreach="pause")
    world.versions[1] = replace(world.versions[1], spec=world.versions[1].spec.model_copy(update={"inputs_digest": "others"}))
    world.until(lambda w: bool(w.status.rollout and w.status.rollout.breach), rate=100, bad={2: 0.2})
    world.live(2, rate=100)
    found = ask(world, "describe", "delays", is_down=True).stdout
    assert re.search("^  Stalled, CanaryWorse: (?!CanaryWorse)", found, re.M), found


def test_a_retrain_without_a_reason_leaves_no_blank(ask: Ask) -> None:
    world = served()
    ask(world, "retrain", "delays", rate=100)
    assert re.search(r"^Why it was made\n  Requested: retrain$", ask(world, "explain", "delays", "2").stdout, re.M)


def test_describe_as_a_document_is_what_the_screen_shows(ask: Ask) -> None:
    world = broken()
    told = json.loads(ask(world, "describe", "delays", "-o", "json").stdout)
    assert told == yaml.safe_load(ask(world, "describe", "delays", "-o", "yaml", is_down=True).stdout)
    version = next(one for one in told if one["head"] == "v2: RolledBack")
    assert version["rows"][0] == world.versions[2].status.steps[0].model_dump(mode="json", by_alias=True)
    conditions = next(one["rows"] for one in told if one["head"] == "Conditions")
    assert all(re.fullmatch(r"2026-\S+Z", one["lastTransitionTime"]) for one in conditions)
    assert any("kubectl perennial quarantine lift delays 2" in line for line in version["lines"])


def test_explain_of_a_version_that_is_not_there_names_those_that_are(ask: Ask) -> None:
    found = ask(broken(), "explain", "delays", "9")
    assert found.exit_code == Exit.NO_ANSWER
    assert "v9 is not there (kept are v2, v1)" in found.stderr


def test_history_lists_versions_and_requests(ask: Ask) -> None:
    world = broken()
    ask(world, "quarantine", "lift", "delays", "2")
    found = ask(world, "history", "delays").stdout
    assert re.search(r"v2 .* Requested +RolledBack", found)
    assert re.search(r"lift 2 +2026-01-01T\S+Z +unattested +v2 is out of quarantine", found)
    told = json.loads(ask(world, "history", "delays", "-o", "json").stdout)
    assert [one["version"] for one in told["versions"]] == [2, 1]


def test_history_tells_decisions_and_whether_the_ledger_holds(ask: Ask) -> None:
    world = broken()
    assert re.search(r"RolledBack +2026-01-01T\S+Z +v2 +v2 is taken back and quarantined", ask(world, "history", "delays").stdout)
    wide = ask(world, "history", "delays", "-o", "wide").stdout
    assert "identity identity-2; bento bento-2" in wide
    assert re.search(r"the ledger holds: \d+ of its \d+ entries are here", ask(world, "history", "delays", "--verify").stdout)
    assert "\nWhat was decided\n" in ask(world, "explain", "delays").stdout
    assert "CanaryStep: v2 gets 10 % of the requests" in ask(world, "explain", "delays").stdout

    entries = list(world.status.ledger.entries)
    entries[3] = entries[3].model_copy(update={"message": "it was good"})
    world.status = world.status.model_copy(update={"ledger": world.status.ledger.model_copy(update={"entries": entries})})
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert found.exit_code == Exit.BROKEN
    assert "the ledger does not hold: entry 4 (StepBegun) was changed" in found.stderr


# ---- the ledger in the store ----


def rolled_out(folder: Path) -> World:
    """A world whose ledger is in a store that is a folder."""
    world = broken()
    while world.status.ledger.stored is None:
        world.annotations["perennial.dev/resume" if world.status.paused else "perennial.dev/pause"] = ""
        world.live(2)
    end = world.status.ledger.stored
    path = folder / chain.object_name(end.first)
    path.parent.mkdir(parents=True)
    path.write_bytes(chain.body_of([chain.link(line) for line in world.stored]))
    kept = world.status.ledger.model_copy(update={"stored": end.model_copy(update={"uri": f"file://{folder}"})})
    world.status = world.status.model_copy(update={"ledger": kept.model_copy(update={"entries": kept.entries[-MOST_ENTRIES:]})})
    return world


def dropped(world: World, number: int) -> World:
    """Entries up to this one are only in the store, as after many more of them."""
    kept = world.status.ledger
    entries = [one for one in kept.entries if one.number > number]
    world.status = world.status.model_copy(update={"ledger": kept.model_copy(update={"entries": entries})})
    return world


def test_history_reads_the_store_when_everything_is_asked_for(ask: Ask, tmp_path: Path) -> None:
    world = rolled_out(tmp_path)
    dropped(world, 20)
    here = json.loads(ask(world, "history", "delays", "-o", "json", is_down=True).stdout)["ledger"]["entries"]
    assert here[0]["number"] == 21
    told = json.loads(ask(world, "history", "delays", "--all", "-o", "json", is_down=True).stdout)["ledger"]["entries"]
    assert [one["number"] for one in told] == list(range(1, world.status.ledger.length + 1))
    assert "VersionCreated" in ask(world, "history", "delays", "--all", is_down=True).stdout


def test_verify_holds_over_store_and_cluster_and_finds_what_was_changed_in_either(ask: Ask, tmp_path: Path) -> None:
    world = rolled_out(tmp_path)
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert re.search(r"the ledger holds: (\d+) of its \1 entries are here, \d+ of them in the store", found.stdout), found.output
    path = tmp_path / chain.object_name(1)
    body = path.read_bytes()
    place = body.index(b"StepBegun")
    path.write_bytes(body[:place] + b"s" + body[place + 1 :])
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert found.exit_code == Exit.BROKEN
    assert "0000000001.jsonl, line 2: entry 2 (stepBegun) was changed" in found.stderr
    assert ask(world, "history", "delays", "--all", is_down=True).exit_code == Exit.BROKEN
    path.write_bytes(b"".join(body.splitlines(keepends=True)[:-1]))
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "is not in the store" in found.stderr) == (Exit.BROKEN, True)
    path.unlink()
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "is not in the store" in found.stderr) == (Exit.BROKEN, True)


def test_verify_finds_a_status_that_was_written_anew_behind_the_store(ask: Ask, tmp_path: Path) -> None:
    world = rolled_out(tmp_path)
    kept, forged = world.status.ledger, []
    for entry in kept.entries:
        previous = forged[-1].digest if forged else entry.previous
        made = entry.model_copy(update={"message": "it was good", "previous": previous})
        forged.append(made.model_copy(update={"digest": ledger.digest_of(made)}))
    world.status = world.status.model_copy(update={"ledger": kept.model_copy(update={"entries": forged})})
    world.versions.clear()
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "is another in the store than in the status" in found.stderr) == (Exit.BROKEN, True)


def test_downloaded_files_are_verified_without_a_cluster(ask: Ask, tmp_path: Path) -> None:
    world = rolled_out(tmp_path)
    folder = tmp_path / "ledger"
    found = CliRunner().invoke(main, ["history", "delays", "--verify", "--from", str(folder)])
    assert found.exit_code == Exit.DONE
    assert world.status.ledger.stored is not None
    assert (
        f"entries 1 to {world.status.ledger.stored.number}; digest of the last one: {world.status.ledger.stored.digest}"
        in found.stdout
    )
    assert found.stdout.startswith(f"{folder}: the files hold entries 1 to "), "nothing says whose they are"
    (folder / "0000000001.jsonl").write_bytes((folder / "0000000001.jsonl").read_bytes().replace(b"2026", b"2027", 1))
    found = CliRunner().invoke(main, ["history", "delays", "--verify", "--from", str(folder)])
    assert (found.exit_code, "line 1: entry 1 (VersionCreated) was changed" in found.stderr) == (Exit.BROKEN, True)
    found = CliRunner().invoke(main, ["history", "delays", "--verify", "--from", str(tmp_path)])
    assert (found.exit_code, "has no file named *.jsonl" in found.stderr) == (Exit.NO_ANSWER, True)
    found = CliRunner().invoke(main, ["history", "delays", "--from", str(folder)])
    assert (found.exit_code, "--from goes with --verify" in found.stderr) == (Exit.USAGE, True)


def in_store(world: World, number: int, **pin: str) -> None:
    """A version's evidence lies there."""
    version = world.versions[number]
    store = version.spec.store.model_copy(update=pin)
    world.versions[number] = replace(version, spec=version.spec.model_copy(update={"store": store}))


def untold(world: World) -> World:
    """The status says nothing of the store."""
    world.status = world.status.model_copy(update={"ledger": world.status.ledger.model_copy(update={"stored": None})})
    return world


def test_verify_looks_into_the_store_although_the_status_says_nothing_of_it(ask: Ask, tmp_path: Path) -> None:
    world = untold(rolled_out(tmp_path))
    in_store(world, max(world.versions), uri=f"file://{tmp_path}")
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert "in the store" in found.stdout, "the Job's answer may be about to be written"
    path = tmp_path / chain.object_name(1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_bytes(rewritten(lines, "it was another"))
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "is another in the store" in found.stderr) == (Exit.BROKEN, True)


def test_verify_of_what_was_never_stored_needs_no_store(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    found = ask(untold(rolled_out(tmp_path)), "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "the ledger holds" in found.stdout) == (Exit.DONE, True), found.output
    assert "nothing is said to be stored, and the store was not looked at" in found.stderr


def rewritten(entries: list[dict[str, Any]], message: str) -> bytes:
    """A whole new chain that holds."""
    previous, lines = "", []
    for entry in entries:
        told = {**entry, "message": message} | ({"previous": previous} if previous else {})
        told["digest"] = previous = chain.digest_of(told)
        lines.append(chain.line_of(told))
    return "".join(f"{line}\n" for line in lines).encode()


def test_entries_in_the_store_that_are_none_are_no_traceback(ask: Ask, tmp_path: Path) -> None:
    world = dropped(rolled_out(tmp_path), 20)
    path = tmp_path / chain.object_name(1)
    path.write_bytes(rewritten([json.loads(line) for line in path.read_text().splitlines()], "x" * 600))
    found = ask(world, "history", "delays", "--all", is_down=True)
    assert found.exit_code == Exit.BROKEN
    assert "entry 1 in the store is none that this release knows" in found.stderr


def test_what_others_put_beside_the_ledger_is_neither_read_whole_nor_taken_for_it(tmp_path: Path) -> None:
    world = rolled_out(tmp_path)
    (tmp_path / "ledger" / "inner").mkdir()
    (tmp_path / "ledger" / "inner" / "0000000001.jsonl").write_text("no entry")
    (tmp_path / chain.object_name(900)).write_bytes(b"x" * (stored.MOST_BYTES + 9))
    cluster = WorldCluster(world, is_down=True)
    found = stored.objects(cast("KubeconfigCluster", cluster), asking.read(cluster.model("delays"), cluster.versions("delays")))
    assert {name: len(body) > stored.MOST_BYTES for name, body in found.items()} == {
        chain.object_name(1): False,
        chain.object_name(900): True,
    }
    assert max(map(len, found.values())) == stored.MOST_BYTES + 1


def test_a_store_is_read_with_the_secret_of_a_version_that_lies_in_it(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    world = rolled_out(tmp_path)
    kept = world.status.ledger
    assert kept.stored is not None
    old = kept.model_copy(update={"stored": kept.stored.model_copy(update={"uri": "s3://old/shop/uid"})})
    world.status = world.status.model_copy(update={"ledger": old})
    in_store(world, 1, uri="s3://old/shop/uid", serving_secret_name="old-read")
    assert 'secrets "old-read" is forbidden' in ask(world, "history", "delays", "--verify", is_down=True).stderr


def test_files_of_a_ledger_that_begins_later_hold_from_there_on(tmp_path: Path) -> None:
    rolled_out(tmp_path)
    path = tmp_path / chain.object_name(1)
    (tmp_path / chain.object_name(4)).write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[3:]))
    path.unlink()
    words = ["history", "delays", "--verify", "--from", str(tmp_path / "ledger")]
    found = CliRunner().invoke(main, words)
    assert (found.exit_code, "entry 1 is missing; where status.ledger.begins is another" in found.stderr) == (Exit.BROKEN, True)
    assert "the files hold entries 4 to" in CliRunner().invoke(main, [*words, "--begins", "4"]).stdout
    found = CliRunner().invoke(main, ["history", "delays", "--verify", "--begins", "4"])
    assert (found.exit_code, "--begins goes with --from" in found.stderr) == (Exit.USAGE, True)


def test_a_store_that_a_person_may_not_read_says_what_to_do(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    world = rolled_out(tmp_path)
    kept = world.status.ledger
    assert kept.stored is not None
    elsewhere = kept.model_copy(update={"stored": kept.stored.model_copy(update={"uri": "s3://bucket/shop/uid"})})
    world.status = world.status.model_copy(update={"ledger": elsewhere})
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert found.exit_code == Exit.NO_ANSWER
    assert 'secrets "perennial-store-read" is forbidden: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY' in found.stderr
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, "AWS_ENDPOINT_URL is no URL" in found.stderr) == (Exit.NO_ANSWER, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((403, "InvalidAccessKeyId"), "does not take the access key or the secret key: set AWS_ACCESS_KEY_ID and"),
        ((403, "AccessDenied"), "refuses these keys: they need the right to list and get there"),
        ((404, "NoSuchBucket"), "cannot be read: there is no such bucket there"),
        ((400, "InvalidRequest"), "cannot be read: Server returned non-2xx status code: 400 Bad Request\n"),
        (None, "cannot be reached from here. A name inside the cluster leads nowhere outside"),
    ],
)
def test_what_is_wrong_with_a_store_is_told_in_plain_words(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str] | None, words: str
) -> None:
    code, said = answer or (200, "")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL": "http://minio.store.svc:9000"}
    monkeypatch.setattr(WorldCluster, "secret", lambda self, name: keys)
    world = rolled_out(tmp_path)
    kept = world.status.ledger
    assert kept.stored is not None
    elsewhere = kept.model_copy(update={"stored": kept.stored.model_copy(update={"uri": "s3://bucket/shop/uid"})})
    world.status = world.status.model_copy(update={"ledger": elsewhere})
    asked: list[tuple[str, Any]] = []
    with api_server(code, f"<?xml version='1.0'?><Error><Code>{said}</Code></Error>".encode(), asked) as server:
        at = server if answer else "http://127.0.0.1:9"
        monkeypatch.setenv("AWS_ENDPOINT_URL", at)  # alone: the keys stay the Secret's
        found = ask(world, "history", "delays", "--verify", is_down=True)
    assert (found.exit_code, bool(asked)) == (Exit.NO_ANSWER, answer is not None)
    assert f"Error: delays: the store s3://bucket/shop/uid at {at} {words}" in found.stderr
    assert "<" not in found.stderr


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("http://store.data.svc:8333", "`kubectl -n data port-forward service/store 8333:8333`"),
        ("http://store.data.svc:8333", "AWS_ENDPOINT_URL=http://localhost:8333; the keys stay the Secret's"),
        ("https://minio.s3.svc.cluster.local", "`kubectl -n s3 port-forward service/minio 9000:443`"),
        ("http://192.0.2.1:9000", "reach it by kubectl port-forward"),
        ("http://[broken", "reach it by kubectl port-forward"),
    ],
)
def test_how_a_store_in_the_cluster_is_reached_is_told_with_its_own_name(endpoint: str, words: str) -> None:
    assert words in stored.unreached(endpoint)


def test_a_bucket_that_is_not_there_is_no_log_that_was_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a")
    cluster = WorldCluster(served(), is_down=True)
    found = asking.read(cluster.model("delays"), cluster.versions("delays"))
    for said in ("NoSuchBucket", "NoSuchKey"):
        with api_server(404, f"<Error><Code>{said}</Code></Error>".encode(), []) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", server)
            if said == "NoSuchKey":
                assert stored.log_tail(cast("KubeconfigCluster", cluster), found, "s3://bucket/shop", "logs/x") is None
                continue
            with pytest.raises(stored.Unreadable, match="there is no such bucket there"):
                stored.log_tail(cast("KubeconfigCluster", cluster), found, "s3://bucket/shop", "logs/x")


def test_diff_shows_inputs_and_results_that_differ(ask: Ask) -> None:
    found = ask(broken(), "diff", "delays", "1", "2").stdout
    assert re.search(r"result\.state +Serving +RolledBack", found)
    assert "data.source" not in found
    assert ask(broken(), "diff", "delays", "1", "1").stdout == "delays: v1 and v1 do not differ\n"


def with_packages(world: World, folder: Path, **changed: str) -> World:
    """Both versions tell the packages that trained them, in a store in this folder; `changed` are those of v2."""
    for number in (1, 2):
        lines = {"numpy": "2.1.0", "onnx": "1.18.0", **(changed if number == 2 else {})}
        body = "# python 3.11.2\n" + "".join(f"{name}=={version}\n" for name, version in sorted(lines.items()))
        blob_in(world, number, folder, body, "environment")
    return world


def blob_in(world: World, number: int, folder: Path, body: str, field: str) -> str:
    """The version's store is in this folder, and the blob in it is the version's card or list of packages."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / "sha256" / digest).write_text(body)
    version = world.versions[number]
    in_store(world, number, uri=folder.as_uri())
    assert version.status.lineage is not None
    told = {"lineage": version.status.lineage.model_copy(update={field: digest})} if field == "environment" else {field: digest}
    status = version.status.model_copy(update=told)
    world.versions[number] = replace(world.versions[number], status=status)
    return digest


def test_diff_tells_data_and_split_that_the_steps_found(ask: Ask) -> None:
    found = ask(broken(), "diff", "delays", "1", "2").stdout
    assert re.search(r"lineage\.data +d1 +d2 *\n", found)
    assert "lineage.split" not in found, "it is the same"


def test_diff_names_packages_of_another_version(ask: Ask, tmp_path: Path) -> None:
    found = ask(with_packages(broken(), tmp_path, numpy="2.2.0", polars="1.30"), "diff", "delays", "1", "2").stdout
    assert re.search(r"lineage\.packages\.numpy +2\.1\.0 +2\.2\.0 *\n", found)
    assert re.search(r"lineage\.packages\.polars +- +1\.30 *\n", found)
    assert "onnx" not in found


def test_diff_says_that_packages_differ_where_the_store_cannot_be_read(ask: Ask, tmp_path: Path) -> None:
    world = with_packages(broken(), tmp_path, numpy="2.2.0")
    for blob in (tmp_path / "blobs" / "sha256").iterdir():
        blob.write_text("numpy==9\n")
    found = ask(world, "diff", "delays", "1", "2")
    assert found.exit_code == 0
    assert "lineage.environment" in found.stdout
    assert "it was altered" in found.stderr


def of_classes(*each: tuple[Sequence[str], int]) -> World:
    """v1 serves and v2 follows, both of several classes: those that prepare named of each, and how many there are."""

    def answer(step: str, version: int, action: Any) -> PrepareResult | None:
        names, count = each[version - 1]
        told = replace(prepared(version), schema=f"s{version}", classes=tuple(names), class_count=count)
        return told if step == "prepare" else None

    world = served(World(wish=spec(training={"recipe": {"task": "multiclass"}}), answer=answer))
    world.wish = spec(training={"recipe": {"task": "multiclass"}, "seed": 2})
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.gates != [], rate=100)


def test_describe_tells_the_classes_of_a_version(ask: Ask) -> None:
    world = of_classes((["'early'", "'late'", "'on time'"], 3), (["'a'", "'b'"], 50))
    assert "it tells apart 3 classes: 'early', 'late', 'on time'\n" in ask(world, "describe", "delays", "1").stdout
    assert "it tells apart 50 classes: 'a', 'b', 48 more\n" in ask(world, "describe", "delays", "2").stdout
    assert "tells apart" not in ask(served(), "describe", "delays").stdout


def test_diff_names_the_classes_that_only_one_of_two_versions_tells_apart(ask: Ask) -> None:
    world = of_classes((["'early'", "'late'", "'on time'"], 3), (["'early'", "'late '", "'on time'"], 3))
    found = ask(world, "diff", "delays", "1", "2").stdout
    assert re.search(r"result\.classes\.'late' +told apart +- *\n", found)
    assert re.search(r"result\.classes\.'late ' +- +told apart *\n", found)
    assert "early" not in found


def test_diff_reads_classes_that_the_status_has_not_all_of_from_their_schemas(ask: Ask, tmp_path: Path) -> None:
    world = of_classes((["'a'"], 4), ([], 0))
    for number, names in ((1, ["a", "b", "c", "d"]), (2, ["a", "b", "c", "e"])):
        body = json.dumps({"classes": names})
        digest = blob_in(world, number, tmp_path, body, "card")
        version = world.versions[number]
        answer = replace(decode_answer(version.status.steps[0].result), schema=digest)  # type: ignore[arg-type]
        record = version.status.steps[0].model_copy(update={"result": encode_answer(answer)})
        status = version.status.model_copy(update={"steps": [record, *version.status.steps[1:]]})
        world.versions[number] = replace(version, status=status)
    found = ask(world, "diff", "delays", "1", "2").stdout
    assert re.search(r"result\.classes\.'d' +told apart +- *\n", found)
    assert re.search(r"result\.classes\.'e' +- +told apart *\n", found)
    for blob in (tmp_path / "blobs" / "sha256").iterdir():
        blob.write_text("{}")
    unread = ask(world, "diff", "delays", "1", "2")
    assert (unread.exit_code, "result.classes" in unread.stdout) == (0, False)
    assert "which classes differ can't be told" in unread.stderr


# ---- a version trained again, and its card ----


def test_reproduce_waits_and_says_that_the_same_came_out(ask: Ask) -> None:
    world = served()
    world.reproduce = reproductions.answers(reproductions.EQUAL)
    found = ask(world, "reproduce", "delays", "v1", "--wait", rate=100)
    assert (found.exit_code, found.stdout) == (0, f"delays: v1: {reproductions.EQUAL.message}\n")
    assert "Trained again from its record" in ask(world, "explain", "delays", "1").stdout


def test_reproduce_ends_with_a_code_of_its_own_when_another_model_came_out(ask: Ask) -> None:
    world = served()
    world.reproduce = reproductions.answers(reproductions.OTHER)
    found = ask(world, "reproduce", "delays", "1", "--wait", rate=100)
    assert (found.exit_code, found.stdout) == (Exit.BROKEN, f"delays: v1: {reproductions.OTHER.message}\n")


def test_reproduce_that_could_not_be_compared_has_failed_and_says_what_helps(ask: Ask) -> None:
    world = served()
    world.reproduce = reproductions.failing
    found = ask(world, "reproduce", "delays", "1", "--wait", rate=100)
    assert found.exit_code == Exit.FAILED
    assert "ask again: kubectl perennial reproduce delays 1 -n ns" in found.stdout


def test_reproduce_without_waiting_ends_with_the_operator_s_answer(ask: Ask) -> None:
    found = ask(served(), "reproduce", "delays", "1", rate=100)
    assert (found.exit_code, found.stdout.partition(",")[0]) == (0, "delays: v1 is trained again from its record")
    assert ask(served(), "reproduce", "delays", "7").exit_code == Exit.REFUSED
    assert ask(served(), "reproduce", "delays").exit_code == Exit.USAGE


def test_describe_tells_what_is_trained_again(ask: Ask) -> None:
    world = served()
    ask(world, "reproduce", "delays", "1", rate=100)
    found = ask(world, "describe", "delays", rate=100).stdout
    assert re.search(r"v1 is trained again, to compare; asked for .+ ago\n", found)


CARD = json.dumps({"markdown": "# Model card: delays-v1\n", "html": "<h1>Model card</h1>"})


def test_card_is_printed_as_markdown_and_written_as_a_page(ask: Ask, tmp_path: Path) -> None:
    world = served()
    blob_in(world, 1, tmp_path / "store", CARD, "card")
    assert ask(world, "card", "delays").stdout == "# Model card: delays-v1\n"
    page = tmp_path / "card.html"
    found = ask(world, "card", "delays", "v1", "--html", "-o", str(page))
    assert (found.exit_code, found.stdout, page.read_text()) == (0, "", "<h1>Model card</h1>")
    assert f"the model card of v1 is in {page}" in found.stderr
    nowhere = ask(world, "card", "delays", "-o", str(tmp_path / "no" / "card.md"))
    assert (nowhere.exit_code, "can't be written" in nowhere.stderr) == (Exit.NO_ANSWER, True)


def test_card_that_was_altered_or_is_gone_is_not_shown(ask: Ask, tmp_path: Path) -> None:
    world = served()
    blob = tmp_path / "blobs" / "sha256" / blob_in(world, 1, tmp_path, CARD, "card")
    blob.write_text(CARD.replace("Model", "Modified"))
    found = ask(world, "card", "delays")
    assert (found.exit_code, found.stdout) == (Exit.NO_ANSWER, "")
    assert "it was altered" in found.stderr
    blob.unlink()
    assert "has no blob sha256:" in ask(world, "card", "delays").stderr


def test_version_without_a_card_says_how_it_stands(ask: Ask) -> None:
    found = ask(served(), "card", "delays")
    assert found.exit_code == Exit.NO_ANSWER
    assert "v1 has no model card: it is Serving" in found.stderr


def test_lists_of_objects_are_told_apart() -> None:
    gates = [{"metric": "roc_auc", "minimum": 0.7}, {"metric": "pr_auc", "minimum": 0.2}]
    assert _shown(gates) == "[{metric: roc_auc, minimum: 0.7}, {metric: pr_auc, minimum: 0.2}]"


def test_differences_are_told_by_the_names_of_a_list_s_objects() -> None:
    before = {"columns": [{"name": "a", "role": "feature"}, {"name": "b", "role": "id"}], "seed": 1}
    after = {"columns": [{"name": "b", "role": "label"}], "seed": 1, "more": [1]}
    assert list(differences(before, after)) == [
        ("columns.a", {"role": "feature"}, None),
        ("columns.b.role", "id", "label"),
        ("more", None, [1]),
    ]


# ---- watching ----


def test_watch_tells_each_change_and_ends_by_the_verdict(ask: Ask) -> None:
    found = ask(canary(), "watch", "delays", rate=100, bad={2: 0.1})
    assert found.exit_code == Exit.ROLLED_BACK
    lines = found.stdout.splitlines()
    assert re.search(r"^\d\d:\d\d:\d\d Canary 10 %; step 1 of 2, 10 %; errors: v2 ", lines[0])
    assert lines[-1].startswith("delays: v2 is RolledBack: CanaryWorse")
    assert len(set(lines)) == len(lines)


def test_watch_tells_a_condition_that_appears_and_why_it_still_waits(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.3)
    world = canary()
    world.unreachable = True
    found = ask(world, "watch", "delays", "--timeout", "1s", rate=100)
    assert found.exit_code == Exit.WAITING
    assert len(re.findall(r"^\d\d:\d\d:\d\d Measured=False PodsUnreachable: pod x: timed out", found.stdout, re.M)) == 1
    assert re.search(r"^delays: still under way: (.*; )?PodsUnreachable: pod x: timed out", found.stdout, re.M)


def test_watch_tells_a_deadline_that_passes_and_a_condition_that_is_over() -> None:
    world, told = canary(deadline="30s"), watch._Told()

    def news() -> list[str]:
        cluster = WorldCluster(world, is_down=True)
        return list(told.news(asking.read(cluster.model("delays"), cluster.versions("delays")), world.now))

    world.unreachable = True
    world.live(2, rate=100)
    assert any(one.startswith("Measured=False PodsUnreachable: pod x: timed out") for one in news())
    assert news() == []
    world.unreachable = False
    world.live(2)
    assert "Measured PodsUnreachable is over" in news()
    world.live(90)
    assert any(one.startswith("Inconclusive=True StepDeadline: ") for one in news())
    world, told = served(), watch._Told()
    world.annotations["perennial.dev/pause"] = ""
    world.live(2)
    changed(world)
    world.live(2)
    assert any(one.startswith("Stalled=True Paused: ") and "resume delays -n ns" in one for one in news())


def test_watch_of_a_version_that_serves_and_is_not_reached_ends_with_3(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "READY_SECONDS", 0.05)
    world = served()
    conditions = [
        one.model_copy(update={"status": "False", "reason": "RouteNotAccepted", "message": "no such gateway"})
        if one.type == "Ready"
        else one
        for one in world.status.conditions
    ]
    world.status = world.status.model_copy(update={"conditions": conditions})
    found = ask(world, "watch", "delays", is_down=True)
    assert found.exit_code == Exit.WAITING
    assert "delays: v1 serves" in found.stdout
    assert "; but it is not Ready: RouteNotAccepted: no such gateway\n" in found.stdout
    assert "\n  not Ready, RouteNotAccepted: no such gateway\n" in ask(world, "describe", "delays", is_down=True).stdout


def test_what_goes_on_is_told_with_the_version_whose_words_they_are(ask: Ask) -> None:
    world = broken()

    def progress() -> str:
        cluster = WorldCluster(world, is_down=True)
        return asking.read(cluster.model("delays"), cluster.versions("delays")).progress

    assert progress().startswith("Serving (v2 RolledBack); v2: CanaryWorse: errors: candidate ")
    world = served()
    assert progress() == "Serving"
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.status.summary == "Training")
    assert progress() == "Training; v2: train 1 started"
    world = canary().until(lambda w: w.status.stable == 2, rate=100)
    returning = ReturnStatus.model_validate({"version": 1, "reason": "Requested", "since": "2026-01-01T00:00:00Z"})
    world.status = world.status.model_copy(update={"returning": returning, "summary": "Returning to v1"})
    assert progress() == "Returning to v1 (Requested)"


def test_advice_of_the_operator_is_told_in_verbs() -> None:
    cluster = WorldCluster(served(), is_down=True)
    found = asking.read(cluster.model("delays"), cluster.versions("delays"))
    for words, expected in (
        ("kubectl annotate mdep delays perennial.dev/resume=", "kubectl perennial resume delays -n ns"),
        (
            "waits: kubectl annotate mdep delays perennial.dev/approve=3 (or perennial.dev/abort=3); it",
            "waits: kubectl perennial approve delays 3 -n ns (or kubectl perennial abort delays 3 -n ns); it",
        ),
        ("type perennial.dev/lift=2, then retrain", "type kubectl perennial quarantine lift delays 2 -n ns, then retrain"),
        ("perennial.dev/rollback-to=1", "kubectl perennial rollback delays --to 1 -n ns"),
        ("perennial.dev/retrain=<why> to", "kubectl perennial retrain delays --because <why> -n ns to"),
        ("the annotation perennial.dev/requested-by", "the annotation perennial.dev/requested-by"),
    ):
        assert asking.as_verbs(words, found) == expected


def test_watch_goes_on_until_the_watch_after_the_promotion_is_over(ask: Ask) -> None:
    world = watched()
    found = ask(world, "watch", "delays", rate=100)
    assert found.exit_code == 0
    assert "watch of v2 beside v1" in found.stdout
    assert world.status.rollout is None


def test_watch_ends_where_only_a_person_can_go_on(ask: Ask) -> None:
    found = ask(canary(onBreach="pause"), "watch", "delays", rate=100, bad={2: 0.2})
    assert found.exit_code == Exit.WAITING
    assert "v2 waits for promote or abort" in found.stdout


def test_watch_that_lasts_too_long_ends_with_3(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.4)
    assert ask(canary(), "watch", "delays", "--timeout", "1s", rate=100).exit_code == Exit.WAITING


def test_an_api_server_that_is_away_for_a_while_is_waited_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = WorldCluster.model, [0]

    def away(self: WorldCluster, name: str) -> dict[str, Any]:
        asked[0] += 1
        if asked[0] in (4, 5, 6):
            raise NoAnswer("storage is (re)initializing", passes=True)
        return known(self, name)

    monkeypatch.setattr(WorldCluster, "model", away)
    found = ask(canary(), "watch", "delays", rate=100)
    assert found.exit_code == 0
    assert found.stderr == "storage is (re)initializing; trying again\n"


def test_an_api_server_that_stays_away_ends_a_watch(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = WorldCluster.model, [0]

    def away(self: WorldCluster, name: str) -> dict[str, Any]:
        asked[0] += 1
        if asked[0] > 3:
            raise NoAnswer("no answer", passes=True)
        return known(self, name)

    monkeypatch.setattr(WorldCluster, "model", away)
    found = ask(canary(), "watch", "delays", "--timeout", "1s", rate=100)
    assert found.exit_code == Exit.NO_ANSWER
    assert found.stderr == "no answer; trying again\nError: no answer\n"


def test_watch_does_not_end_by_the_version_before_a_change_or_a_request_that_was_not_seen_yet(ask: Ask) -> None:
    for begin in (changed, wanted):
        world = served()
        begin(world)
        found = ask(world, "watch", "delays", rate=100)
        assert (found.exit_code, world.status.stable) == (0, 2)
        assert found.stdout.splitlines()[-1].startswith("delays: v2 serves")


def changed(world: World) -> None:
    world.wish = spec(training={"recipe": {"algorithm": "logistic-regression"}})
    world.generation += 1


def wanted(world: World) -> None:
    world.annotations["perennial.dev/retrain"] = "now"


def test_watch_of_a_change_that_is_not_carried_out_ends_with_3_and_says_why(ask: Ask) -> None:
    world = broken()
    world.wish = spec(pin=2)
    world.generation += 1
    found = ask(world, "watch", "delays", rate=100)
    assert found.exit_code == Exit.ROLLED_BACK
    world.wish = spec(paused=True, training={"recipe": {"algorithm": "logistic-regression"}})
    world.generation += 1
    assert ask(world, "watch", "delays", "--timeout", "1s", rate=100).exit_code in (Exit.ROLLED_BACK, Exit.WAITING)


def test_promote_and_abort_wait_for_the_version_that_was_named(ask: Ask) -> None:
    world = watched()
    world.annotations["perennial.dev/retrain"] = "more"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    found = ask(world, "abort", "delays", "v2", "--wait", rate=100)
    assert (found.exit_code, found.stdout) == (0, "delays: v2 gets no requests\n")
    assert world.versions[2].status.state == "RolledBack"


def test_a_version_that_is_paused_in_its_training_is_waited_for_no_longer(ask: Ask) -> None:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Training")
    world.annotations["perennial.dev/pause"] = ""
    found = ask(world, "watch", "delays")
    assert found.exit_code == Exit.WAITING


def test_words_of_people_are_no_markup(ask: Ask) -> None:
    world = served()
    ask(world, "retrain", "delays", "--because", "see [/data/july] :warning: [july]", rate=100)
    for arguments in (("history", "delays", "-o", "wide"), ("get", "delays", "-o", "wide")):
        found = ask(world, *arguments)
        assert found.exit_code == 0
        assert "see [/data/july] :warning: [july]" in found.stdout


def test_a_fault_of_the_program_is_no_verdict(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorldCluster, "versions", lambda self, name: 1 / 0)
    found = ask(served(), "history", "delays")
    assert found.exit_code == 70
    assert "a fault of this program: ZeroDivisionError" in found.stderr


def test_a_request_that_another_one_replaced_is_told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(self: WorldCluster, name: str, annotations: Mapping[str, str]) -> None:
        self.world.annotations.update(dict.fromkeys(annotations, "x"))

    monkeypatch.setattr(WorldCluster, "annotate", replaced)
    found = ask(served(), "retrain", "delays", "--timeout", "1s", is_down=True)
    assert found.exit_code == Exit.WAITING
    assert "the request was replaced by another one of perennial.dev/retrain: ask again" in found.stderr


def test_a_context_is_enough_where_the_kubeconfig_has_no_current_one(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump({key: value for key, value in NOWHERE.items() if key != "current-context"}))
    found = CliRunner().invoke(main, ["get", "--kubeconfig", str(file), "--context", "here"])
    assert "no answer from the API server http://127.0.0.1:9" in found.stderr
    cluster = kubeconfig.KubeconfigCluster(str(file), "here")
    assert cluster.namespace == "flights"


def completed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    monkeypatch.setattr("sys.argv", ["kubectl_complete-perennial", *words])
    complete()
    return capsys.readouterr().out.splitlines()


def test_kubectl_completes_verbs_and_options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.partition("\t")[0] for one in completed(capsys, monkeypatch, "ret")] == ["retrain", "retry", ":4"]
    assert [one.partition("\t")[0] for one in completed(capsys, monkeypatch, "quarantine", "")] == ["lift", "list", ":4"]
    assert "--verify" in [one.partition("\t")[0] for one in completed(capsys, monkeypatch, "history", "delays", "--v")]
    assert completed(capsys, monkeypatch, "history", "delays", "--verify", "--from", "")[-1] == ":0"
    script = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["scripts"]
    assert script["kubectl_complete-perennial"] == f"{complete.__module__}:{complete.__name__}"


# ---- what is wrong ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote",), "Missing argument 'NAME'"),
        (("promote", "delays", "three"), "'three' is no number of a version: write 3 or v3"),
        (("explain", "delays", "0"), "'0' is no number of a version"),
        (("retrain", "delays", "--because", "a;b"), "leave it out"),
        (("watch", "delays", "--timeout", "soon"), "'soon' is not a duration"),
        (("get", "delays", "-A"), "leave out --all-namespaces"),
        (("undo",), "No such command 'undo'"),
    ],
)
def test_a_wrong_command_line_ends_with_64_and_what_is_wrong(arguments: tuple[str, ...], words: str) -> None:
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == Exit.USAGE
    assert words in found.stderr


def test_a_model_that_is_not_there_is_told(ask: Ask) -> None:
    found = ask(served(), "explain", "deleys")
    assert (found.exit_code, found.stdout) == (Exit.NO_ANSWER, "")
    assert "there is no ModelDeployment 'deleys' in namespace ns" in found.stderr


def test_an_api_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(NOWHERE))
    found = CliRunner().invoke(main, ["get", "--kubeconfig", str(file)])
    assert found.exit_code == Exit.NO_ANSWER
    assert "no answer from the API server http://127.0.0.1:9" in found.stderr


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "apiVersion: v1\nkind: Config\n",
        yaml.safe_dump({**NOWHERE, "contexts": []}),
        yaml.safe_dump({**NOWHERE, "contexts": 3}),
        yaml.safe_dump({**NOWHERE, "current-context": ["here"]}),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_told(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    found = CliRunner().invoke(main, ["get", "--kubeconfig", str(file)])
    assert found.exit_code == Exit.NO_ANSWER
    assert f"Error: {file} is no kubeconfig that can be used: " in found.stderr
    assert ".;" not in found.stderr
    unknown = CliRunner().invoke(main, ["get", "--kubeconfig", str(file), "--context", "there"])
    assert unknown.exit_code == Exit.NO_ANSWER


def test_an_object_of_another_release_is_told(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    known = WorldCluster.model

    def newer(self: WorldCluster, name: str) -> dict[str, Any]:
        found = known(self, name)
        return {**found, "spec": {**found["spec"], "drift": {}}}

    monkeypatch.setattr(WorldCluster, "model", newer)
    found = ask(served(), "explain", "delays")
    assert found.exit_code == Exit.NO_ANSWER
    assert "drift: Extra inputs are not permitted: the cluster has another release" in found.stderr
    assert re.search("delays +- +cannot be read by this release", ask(served(), "get").stdout)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    found = CliRunner().invoke(main, [verb, "--help"], terminal_width=80)
    assert found.exit_code == 0
    assert "Usage:" in found.stdout
    assert "Examples:" in found.stdout
    assert [line for line in found.stdout.splitlines() if len(line) > 80] == []
    assert not re.search(r"^  [a-z].*\.\.\.$", found.stdout, re.M), "a verb's words are cut"


def test_the_program_calls_itself_as_kubectl_s_users_do() -> None:
    words = "import sys; sys.argv[0] = '/usr/bin/kubectl-perennial'; from perennial.cli.__main__ import main; main()"
    found = subprocess.run([sys.executable, "-c", words, "get", "--help"], capture_output=True, text=True, check=True)
    page = reference.page()
    assert found.stdout.splitlines()[0] == "Usage: kubectl perennial get [OPTIONS] [NAME]"
    assert "Usage: kubectl perennial get [OPTIONS] [NAME]" in page
    assert "  -h, --help  " in found.stdout
    assert "  -h, --help  " in page
    assert "\n  --help" not in page


def test_the_ends_of_a_request_are_documented_as_they_are(ask: Ask) -> None:
    told = json.loads(ask(canary(), "promote", "delays", "-o", "json", rate=100).stdout)
    documented = next(line for line in reference.page().splitlines() if line.startswith("| `promote`"))
    assert all(f"`{field}`" in documented for field in told)
    assert "DONE (0), ROLLED_BACK (1), REJECTED (2), WAITING (3), FAILED (4), REFUSED (5)" in documented


# ---- what a version was trained with -----------------------------------------------------------------------------------------

SBOM = '{"bomFormat": "CycloneDX"}'


def with_sbom(folder: Path) -> World:
    """v1's measurements name its SBOM, and both lie in the store in this folder."""
    world = served()
    body = json.dumps({"sbom": blob_in(world, 1, folder, SBOM, "card")})
    blob_in(world, 1, folder, body, "measurements")
    return world


def test_sbom_is_printed_and_written_as_it_was_stored(ask: Ask, tmp_path: Path) -> None:
    world = with_sbom(tmp_path / "store")
    assert ask(world, "sbom", "delays").stdout == f"{SBOM}\n"
    file = tmp_path / "v1.cdx.json"
    found = ask(world, "sbom", "delays", "v1", "-o", str(file))
    assert (found.exit_code, found.stdout, file.read_text()) == (0, "", SBOM)
    assert f"the SBOM of v1 is in {file}" in found.stderr
    nowhere = ask(world, "sbom", "delays", "-o", str(tmp_path / "no" / "v1.json"))
    assert (nowhere.exit_code, "can't be written" in nowhere.stderr) == (Exit.NO_ANSWER, True)


def test_sbom_that_was_altered_is_not_shown(ask: Ask, tmp_path: Path) -> None:
    world = with_sbom(tmp_path)
    (tmp_path / "blobs" / "sha256" / hashlib.sha256(SBOM.encode()).hexdigest()).write_text(SBOM.replace("DX", "XD"))
    found = ask(world, "sbom", "delays")
    assert (found.exit_code, found.stdout) == (Exit.NO_ANSWER, "")
    assert "it was altered" in found.stderr


def test_version_without_an_sbom_says_why(ask: Ask, tmp_path: Path) -> None:
    world = served()
    blob_in(world, 1, tmp_path, json.dumps({"sbom": None}), "measurements")
    found = ask(world, "sbom", "delays")
    assert found.exit_code == Exit.NO_ANSWER
    assert "v1 has no SBOM: its trainer did not tell its packages" in found.stderr
    brought = ask(existing.serving(), "sbom", "delays", "1")
    assert "v1 has no SBOM: it was there already, and nobody told what trained it" in brought.stderr
