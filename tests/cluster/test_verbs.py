"""Every verb of `kubectl perennial` that asks a cluster, on the real one: what it says, and how it ends."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS, traffic
from cluster_support.verbs import Ended, ask, ask_inside
from perennial.cli.exits import Exit


def ends(found: Ended, code: Exit, words: str) -> None:
    """It ended so, and said so: on standard error when the cluster or the operator refused."""
    assert found.returncode == code, found.stdout + found.stderr
    where = found.stderr if code in (Exit.REFUSED, Exit.NO_ANSWER) else found.stdout
    assert re.search(words, where), found.stdout + found.stderr


def canary(place: Place, number: int) -> None:
    place.until(f"v{number} to be a canary", lambda state: state.state(number) == "Canary", name=NAME, seconds=180)


def test_a_person_drives_a_model_by_its_verbs_alone(place: Place) -> None:
    place.upload(synthetic.table(ROWS), "january.parquet")
    rollout = {"steps": [{"weight": 20, "hold": "20s"}], "minimumRequests": 20, "watch": {"for": "10m", "holdBack": 10}}
    place.apply(place.manifest(NAME, rollout=rollout, approval={}))
    first = ask(place, "watch", NAME, "--timeout", "4m")
    # the model's status tells it a moment before the version's
    waits = "v1 is Accepted and waits: nobody has approved it yet|ApprovalNeeded: v1 has passed its gates"
    ends(first, Exit.WAITING, f"^\\d\\d:\\d\\d:\\d\\d (.|\n)*{NAME}: ({waits})")
    ends(ask(place, "approve", NAME, "v2"), Exit.REFUSED, "the candidate is v1, not v2")
    ends(ask(place, "approve", NAME, "v1", "--wait", "--timeout", "2m"), Exit.DONE, "v1 serves")
    place.apply(place.manifest(NAME, rollout=rollout))
    with traffic(place, rate=50):
        promoted_and_aborted(place)
        ended_and_tried_again(place)
    read_back(place)
    returned(place)


def promoted_and_aborted(place: Place) -> None:
    """v2 is promoted out of its canary, taken back out of its watch, and let out of quarantine."""
    ends(ask(place, "pause", NAME), Exit.DONE, "nothing is started or promoted")
    ends(ask(place, "retrain", NAME), Exit.REFUSED, "refused: a person paused it")
    ends(ask(place, "resume", NAME), Exit.DONE, "rolled out again")

    place.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    ends(ask(place, "retrain", NAME, "--because", "February is there"), Exit.DONE, "v2 is being trained")
    canary(place, 2)
    ends(ask(place, "describe", NAME), Exit.DONE, r"step 1 of 1, 20 %: (.|\n)*\nv2: Canary\n(.|\n)*  evaluate +1 +Succeeded")
    ends(ask(place, "promote", NAME, "3"), Exit.REFUSED, "the candidate is v2, not v3")
    ends(ask(place, "promote", NAME, "v2", "--wait"), Exit.DONE, "v2 has the requests")
    ends(ask(place, "get"), Exit.DONE, f"{NAME} +v2 +Watching v2 +True")
    ends(ask(place, "watch", NAME, "--timeout", "3s"), Exit.WAITING, "watch of v2 beside v1")
    ends(ask(place, "abort", NAME, "--wait"), Exit.DONE, "v2 gets no requests")

    ends(ask(place, "get", NAME, "-o", "wide"), Exit.DONE, r"v2 +RolledBack +0 % .* Requested: retrain February is there")
    ends(ask(place, "explain", NAME, "v2"), Exit.DONE, "v2: RolledBack\n  Aborted: a person asked for it in its watch")
    ends(
        ask(place, "explain", NAME, "v2"),
        Exit.DONE,
        r"Passed: .*\n +it would not have passed with minimum: more than 0\.",
    )
    ends(ask(place, "diff", NAME, "1", "2"), Exit.DONE, r"result\.state +Serving +RolledBack")
    ends(ask(place, "quarantine", "list", NAME), Exit.DONE, "v2 +Aborted")
    ends(ask(place, "quarantine", "lift", NAME, "2"), Exit.DONE, "v2 is out of quarantine")
    ends(ask(place, "quarantine", "lift", NAME, "2"), Exit.REFUSED, "v2 is not quarantined")


def ended_and_tried_again(place: Place) -> None:
    """v3 is ended in its training, tried again, and promoted by its steps, while somebody watches."""
    place.upload(synthetic.table(ROWS, first=2 * ROWS), "march.parquet")
    ends(ask(place, "retrain", NAME), Exit.DONE, "v3 is being trained")
    ends(ask(place, "abort", NAME), Exit.DONE, "v3 is ended")
    ends(ask(place, "watch", NAME), Exit.FAILED, "v3 is Superseded")
    tried = ask(place, "retry", NAME, "--wait", "--timeout", "4m")
    ends(tried, Exit.DONE, "v3 serves: no evidence of harm in any step")
    assert re.search(r"\[ *\d+s\] Canary 20 %", tried.stderr)
    ends(ask(place, "promote", NAME), Exit.DONE, "the watch of v3 is over")


def read_back(place: Place) -> None:
    """What the containers of v1's steps wrote, while their pods are there and when they are gone."""
    ends(ask(place, "logs", NAME, "1", "--step", "prepare"), Exit.DONE, '"event":"sides"')
    ends(ask(place, "logs", NAME, "1", "--step", "train"), Exit.DONE, r"^\[pod/.*/fetch\] (.|\n)*/reporter\] (.|\n)*/train\] ")
    ends(ask(place, "logs", NAME, "3", "--step", "serve", "-c", "server", "--tail", "3"), Exit.DONE, "")
    place.kubectl.run("delete", "pod", "--selector=perennial.dev/version=1,perennial.dev/step=train", "--wait=true")
    gone = ask_inside(place, "logs", NAME, "1", "--step", "train")
    ends(gone, Exit.DONE, r'(?m)^\[store/fetch\] .*"event":"fetched"')
    ends(gone, Exit.DONE, r'(?m)^\[store/train\] .*"event":"trained"')
    ends(gone, Exit.DONE, r'(?m)^\[store/reporter\] .*"event":"answer"')
    assert re.search(r"its pod is gone, and its log with it\nit ended at \S+ as Succeeded", gone.stderr)


def returned(place: Place) -> None:
    """v1 comes back, its pods from nothing, and the requests of a person are told."""
    ends(ask(place, "rollback", NAME, "--to", "1", "--wait", "--timeout", "2m"), Exit.DONE, "v1 has the requests")
    ends(ask(place, "rollback", NAME, "--to", "9"), Exit.REFUSED, "v9")
    ends(ask_inside(place, "history", NAME, "--verify"), Exit.DONE, r"the ledger holds: (\d+) of its \1 entries are here")
    ends(ask(place, "history", NAME), Exit.DONE, r"rollback-to 9 +\S+Z +unattested +refused: ")
    ends(ask(place, "explain", NAME, "9"), Exit.NO_ANSWER, r"v9 is not there \(kept are v3, v2, v1\)")
    ends(ask(place, "get", "nothing"), Exit.NO_ANSWER, f"no ModelDeployment 'nothing' in namespace {place.namespace}")


def test_a_person_without_rights_is_told_in_the_api_server_s_words(place: Place, tmp_path: Path) -> None:
    kubectl = place.kubectl
    kubectl.run("create", "serviceaccount", "nobody")
    token = kubectl.run("create", "token", "nobody").strip()
    server = kubectl.run("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}").strip()
    config = tmp_path / "config"
    environment = {**os.environ, "KUBECONFIG": str(config)}
    for words in (
        ("set-cluster", "c", f"--server={server}", "--insecure-skip-tls-verify=true"),
        ("set-credentials", "u", f"--token={token}"),
        ("set-context", "here", "--cluster=c", "--user=u"),
        ("use-context", "here"),
    ):
        subprocess.run([kubectl.program, "config", *words], env=environment, check=True, capture_output=True)
    found = ask(place, "get", "--kubeconfig", str(config))
    ends(found, Exit.NO_ANSWER, r"modeldeployments.* is forbidden: User .*:nobody")
    assert "Traceback" not in found.stderr
