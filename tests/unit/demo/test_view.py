"""The demo's words: objects of the cluster as rows, verdicts and evidence."""

from __future__ import annotations

from typing import Any

from demo import view
from demo.traffic import Tally


def version(number: int, **status: Any) -> dict[str, Any]:
    return {
        "kind": "ModelVersion",
        "metadata": {"name": f"delays-v{number}"},
        "spec": {"number": number, "modelDeployment": "delays"},
        "status": status,
    }


def gate(kind: str, estimate: float, lower: float, upper: float, verdict: str = "Passed") -> dict[str, Any]:
    return {
        "metric": "roc_auc",
        "kind": kind,
        "estimate": estimate,
        "lower": lower,
        "upper": upper,
        "verdict": verdict,
        "message": "m",
    }


def answer(name: str, done: float, *, ok: bool = True) -> dict[str, Any]:
    return {"version": name, "done": done, "ok": ok}


def test_a_row_joins_the_version_its_traffic_and_what_the_client_saw() -> None:
    tally = Tally()
    tally.add(answer("delays-v2", 1.0))
    tally.add(answer("delays-v2", 2.0, ok=False))
    deployment = {"status": {"weights": [{"version": 1, "weight": 75}, {"version": 2, "weight": 25}]}}
    gates = [gate("minimum", 0.9123, 0.91, 0.9146), gate("notWorseThanServingBy", 0.0041, 0.0032, 0.005)]
    row = view.rows(deployment, [version(2, state="Canary", rows=188971, holdoutRows=37797, gates=gates)], tally)[0]
    assert row == view.Row(
        version="v2",
        state="Canary",
        trained_on="188,971 rows, 37,797 kept aside",
        score="roc_auc 0.912 (0.910 to 0.915)",
        against="+0.0041 (+0.0032 to +0.0050)",
        weight="25 %",
        requests="2",
        failures="1",
    )


def test_versions_stand_in_order_and_unknown_things_are_dashes() -> None:
    found = view.rows(None, [version(10), version(2, state="Training")], Tally())
    assert [row.version for row in found] == ["v2", "v10"]
    assert found[1] == view.Row("v10", "Pending", "-", "-", "-", "-", "-", "-")


def test_a_plain_line_leaves_out_what_is_not_known_yet() -> None:
    row = view.rows(None, [version(1, state="Serving", rows=100)], Tally())[0]
    assert view.line(row) == "v1 Serving | trained on 100 rows"


def test_the_evidence_names_both_sides_and_the_threshold() -> None:
    entry = {
        "name": "errors", "candidateTotal": 90, "candidateBad": 7, "stableTotal": 810, "stableBad": 0,
        "oddsRatio": "44 (9 to 300)", "e": 4200.0, "threshold": 250.0,
    }  # fmt: skip
    (words,) = view.evidence_lines(version(3, evidence=[entry]))
    assert words == (
        "errors: new version 7 bad of 90, serving version 0 bad of 810, odds ratio 44 (9 to 300), E 4.2e+03 (rolled back at 250)"
    )


def test_the_operators_own_words_go_before_ours() -> None:
    assert view.evidence_lines(version(3, evidence=[{"name": "slow", "e": 1.0, "message": "0 of 9"}])) == ["slow: 0 of 9"]


def test_exposure_is_the_time_from_the_first_to_the_last_bad_answer_a_client_saw() -> None:
    tally = Tally()
    for done, ok in ((10.0, False), (11.0, True), (14.5, False)):
        tally.add(answer("delays-v3", done, ok=ok))
    assert view.exposure(tally, "delays-v3").startswith("4.5 s passed from the first bad answer of delays-v3")
    assert view.exposure(tally, "delays-v2") == "no client saw a bad answer of delays-v2"


def test_the_headline_says_why_nothing_serves() -> None:
    deployment = {
        "status": {"summary": "Training", "conditions": [{"type": "Ready", "status": "False", "message": "v1 is Training"}]}
    }
    assert view.headline(deployment) == "Training: v1 is Training"
    assert view.headline(None) == "not applied yet"


def test_bounds_are_told_outwards_as_the_status_does() -> None:
    gate = {"metric": "roc_auc", "kind": "minimum", "estimate": 0.9081, "lower": 0.9029, "upper": 0.9131}
    compared = {"metric": "roc_auc", "kind": "notWorseThanServingBy", "estimate": 0.0086, "lower": 0.00759, "upper": 0.00971}
    assert view.score({"gates": [gate]}) == "roc_auc 0.908 (0.902 to 0.914)"
    assert view.against({"gates": [compared]}) == "+0.0086 (+0.0075 to +0.0098)"
