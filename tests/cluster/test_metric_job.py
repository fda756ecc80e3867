"""A metric that a Job measures, on the real cluster: a broken one holds the step, a good one passes, a bad one takes back."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Manifest, Place
from cluster_support.shop import NAME, ROWS, V2, V3, traffic
from demo import view

ASK = """
import json, os, sys, urllib.error, urllib.request

def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code

candidate, stable = os.environ["PERENNIAL_CANDIDATE_URL"], os.environ["PERENNIAL_STABLE_URL"]
said = [ask(url, {"instances": [ROW]}) for url in (candidate, stable)]
nonsense = {ask(candidate, {"instances": "nonsense"}) for _ in range(200)}
"""
GOOD = 'open("/dev/termination-log", "w").write(f"answers {said}, to nonsense {sorted(nonsense)}")'
BAD = 'open("/dev/termination-log", "w").write(os.environ["PERENNIAL_CANDIDATE"] + " is not good enough"); sys.exit(1)'
BROKEN = "raise RuntimeError('the warehouse is away')"


def manifest(place: Place, end: str, **spec: Any) -> Manifest:
    """Errors, and a Job that asks both versions and then does `end`."""
    row = next(synthetic.table(1).select(synthetic.FEATURES).iter_rows(named=True))
    script = ASK.replace("ROW", repr(row)) + end
    job = {"image": place.images.training, "command": ["python3", "-c", script], "timeout": "1m"}
    rollout = {
        "steps": [{"weight": 20, "hold": "4s"}, {"weight": 50, "hold": "4s"}],
        "minimumRequests": 30,
        "metrics": [{"name": "errors", "errors": {}}, {"name": "acceptance", "job": job}],
    }
    return place.manifest(NAME, rollout=rollout, training=place.light(), **spec)


def jobs(place: Place) -> list[str]:
    return sorted(one["metadata"]["name"] for one in place.kubectl.list("jobs") if "-metric-" in one["metadata"]["name"])


@pytest.fixture(scope="module")
def first(shared_place: Place) -> Place:
    """v1 serves; the Job is a broken one."""
    shared_place.upload(synthetic.table(ROWS), "january.parquet")
    shared_place.apply(manifest(shared_place, BROKEN))
    shared_place.serving(1, name=NAME)
    return shared_place


def test_job_that_breaks_holds_the_step_and_one_that_is_mended_lets_the_version_through(first: Place) -> None:
    first.upload(synthetic.table(ROWS, first=ROWS), "february.parquet")
    with traffic(first) as load:
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
        broke = first.until(
            "the Job to break",
            lambda state: view.condition(state.deployment, "MetricsAnswered").get("reason") == "NothingSaid",
            name=NAME,
            seconds=180,
        )
        assert "write what is bad to /dev/termination-log" in view.condition(broke.deployment, "MetricsAnswered")["message"]
        assert (broke.state(2), broke.weight(2)) == ("Canary", 20)
        first.apply(manifest(first, GOOD))
        first.serving(2, name=NAME)
        tally = load.end()
    assert tally.failures_but() == {}
    evidence = {one["name"]: one for one in (first.kubectl.get("mver", V2) or {})["status"]["evidence"]}
    assert (evidence["acceptance"]["candidateTotal"], evidence["acceptance"]["candidateBad"]) == (2, 0)
    assert "answers [200, 200], to nonsense [422]" in evidence["acceptance"]["message"]
    assert evidence["errors"]["candidateBad"] == 0, "what the Job asked is no evidence"
    assert len(jobs(first)) == 1


def test_version_that_its_job_finds_bad_is_taken_back_in_its_words(first: Place) -> None:
    first.upload(synthetic.table(ROWS, first=2 * ROWS), "march.parquet")
    with traffic(first) as load:
        first.apply(manifest(first, BAD))
        first.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "march")
        first.until("v3 to be taken back", lambda state: state.state(3) == "RolledBack", name=NAME, seconds=180)
        load.all_from(2)
        tally = load.end()
    assert tally.failures_but() == {}
    state = first.state(NAME)
    assert "MetricJobFailed: acceptance: " in state.version(3)["message"]
    assert f"{V3} is not good enough" in state.version(3)["message"]
    assert [(entry["version"], entry["reason"]) for entry in state.status["quarantined"]] == [(3, "MetricJobFailed")]
