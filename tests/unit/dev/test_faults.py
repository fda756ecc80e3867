"""Points at which the operator is killed: named by what a write says, drawn by a seed; and evidence beside clients' answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cluster_support import faultkept
from cluster_support.faultkept import Kept
from cluster_support.faults import Counted, Point, Told, changes, chosen, counting, decisions, entered, part, points, weights
from cluster_support.faulty import ARMED, Gate, label
from cluster_support.watching import Seen
from perennial.api.ledger import LedgerEntry

ROOT = Path(__file__).resolve().parents[3]
REFERENCES = {
    story: Told(None, writes=[f"{story} {number} #1" for number in range(6)] + [f"{story} 0 #2"])
    for story in ("promotion", "return", "rollback")
}


def seen(kind: str, at: float, **manifest: Any) -> Seen:
    return Seen(at, "MODIFIED", kind, manifest, None)


def route(*shares: tuple[str, int]) -> dict[str, Any]:
    return {"rules": [{"backendRefs": [{"name": name, "weight": weight} for name, weight in shares]}]}


def test_every_write_has_two_points() -> None:
    every = points(REFERENCES)
    assert len(every) == 2 * 3 * 7
    assert Point("return", "return 3 #1", "before") in every
    assert Point("return", "return 0 #2", "after") in every


def test_a_seed_draws_the_same_points_of_every_story_and_only_writes_that_are_surely_made() -> None:
    every = points(REFERENCES)
    drawn = chosen(every, 7, 8)
    assert drawn == chosen(list(reversed(every)), 7, 8)
    assert drawn != chosen(every, 8, 8)
    assert len(set(drawn)) == 8
    assert {point.story for point in drawn} == set(REFERENCES)
    assert all(point.is_first for point in drawn)


def test_no_more_points_are_drawn_than_there_are() -> None:
    assert len(chosen(points(REFERENCES), 1, 1000)) == 2 * 3 * 6


def told(number: int, problem: str = "") -> Told:
    return Told(
        Point("return", f"return {number} #1", "after"),
        killed=True,
        problem=problem,
        seconds=1.5,
        left={"b", "a"},
        events=Counter({"Promoted": 1}),
        counted=[Counted("v1", 3, 4, 25.0)],
    )


def test_a_run_that_was_cut_short_goes_on_with_what_came_to_its_end(tmp_path: Path) -> None:
    kept = Kept("first", tmp_path, "code")
    kept.begin(REFERENCES)
    kept.add(told(1))
    kept.add(told(2, problem="did not come to its end"))
    with (tmp_path / "code.jsonl").open("ab") as file:
        file.write(b'{"point":{"story":"return","wri')  # where the run was killed
    again, others = Kept("second", tmp_path, "code"), {"return": Told(None, weights=["of another run"])}
    again.begin(others)
    again.add(told(3))
    assert again.of(points(REFERENCES)) == [(told(1), REFERENCES["return"]), (told(3), others["return"])]
    assert again.of([Point("return", "return 2 #1", "after"), Point("return", "return 1 #1", "before")]) == []
    assert Kept("third", tmp_path, "other code").of(points(REFERENCES)) == []
    again.put_by()
    assert again.of(points(REFERENCES)) == []
    assert (tmp_path / "code.told").read_bytes().count(b'"run":"first"') == 4


def test_a_telling_whose_reference_is_not_known_is_told_again(tmp_path: Path) -> None:
    kept = Kept("first", tmp_path, "code")
    kept.add(told(1))
    assert kept.of(points(REFERENCES)) == []


def test_code_is_another_when_any_of_its_files_or_the_cluster_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in faultkept.CODE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.delenv("PERENNIAL_KUBECONFIG", raising=False)
    before = faultkept.digest(tmp_path)
    assert faultkept.digest(tmp_path) == before
    monkeypatch.setenv("PERENNIAL_KUBECONFIG", str(tmp_path / "theirs"))
    assert faultkept.digest(tmp_path) != before
    monkeypatch.delenv("PERENNIAL_KUBECONFIG")
    assert faultkept.digest(tmp_path) == before
    for name in ("uv.lock", "crds", "dev/demo"):
        (tmp_path / name).write_text("2")
        assert faultkept.digest(tmp_path) != before
        (tmp_path / name).write_text("1")


SAID = {
    "create Event Promoted": {"kind": "Event", "metadata": {"name": "x.1"}, "reason": "Promoted"},
    "apply Service m-v2": {"kind": "Service", "metadata": {"name": "m-v2"}, "spec": {}},
    "apply Deployment m-v2 replicas 0": {"kind": "Deployment", "metadata": {"name": "m-v2"}, "spec": {"replicas": 0}},
    "apply HTTPRoute m v1:80 v2:20": {"kind": "HTTPRoute", "metadata": {"name": "m"}, "spec": route(("m-v1", 80), ("m-v2", 20))},
    "status ModelVersion m-v2 Canary": {"kind": "ModelVersion", "metadata": {"name": "m-v2"}, "status": {"state": "Canary"}},
    "status ModelDeployment m stable=1 step=0 settled=True": {
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "status": {"stable": 1, "rollout": {"step": 0, "settled": True, "savedAt": "now", "weight": 20}},
    },
}


@pytest.mark.parametrize("said", SAID)
def test_a_write_is_named_by_what_it_decides(said: str) -> None:
    assert label(said.split(" ", maxsplit=1)[0], SAID[said]) == said


def test_a_write_that_was_made_before_has_the_next_number(tmp_path: Path) -> None:
    for number in (1, 2):
        gate = Gate(tmp_path, "apply Service m-v2")
        assert gate.name == f"apply Service m-v2 #{number}"
        gate.note()
    assert Gate(tmp_path, "apply Service m-v1").name == "apply Service m-v1 #1"


def test_nobody_dies_at_another_write_or_side(tmp_path: Path) -> None:
    (tmp_path / ARMED).write_text(json.dumps({"write": "apply Service m-v2 #1", "side": "after"}))
    Gate(tmp_path, "apply Service m-v2").pass_by("before")
    Gate(tmp_path, "apply Service m-v1").pass_by("after")
    assert (tmp_path / ARMED).exists()


def test_at_the_write_and_side_that_are_armed_the_process_is_killed_once(tmp_path: Path) -> None:
    (tmp_path / ARMED).write_text(json.dumps({"write": "apply Service m-v2 #1", "side": "before"}))
    passing = "Gate(Path(sys.argv[1]), sys.argv[2]).pass_by('before')"
    program = f"import sys; from pathlib import Path; from cluster_support.faulty import Gate; {passing}"
    python_path = ":".join(str(ROOT / name) for name in ("operator", "serving", "tests"))
    command = [sys.executable, "-c", program, str(tmp_path), "apply Service m-v2"]
    environment = {**os.environ, "PYTHONPATH": python_path, "FAULTS_HOLD": "0"}
    ends = [subprocess.run(command, env=environment, check=False).returncode for _ in range(2)]
    assert ends == [-signal.SIGKILL, 0]


def test_entries_are_compared_without_counts_and_without_what_an_outage_repeats() -> None:
    said = [("CanaryStep", "v2 gets 10 %"), ("CanaryWithheld", "v2 gets 0 %"), ("CanaryStep", "v2 gets 10 %"), ("Waits", "x")]
    said += [("Promoted", "v2: 3 of 5"), ("Promoted", "v2: 3 of 5")]
    made = [LedgerEntry(number=n, at="", what=what, version=2, message=words, digest="") for n, (what, words) in enumerate(said)]
    assert entered(made) == ["v2 CanaryStep v2 gets 10 %", "v2 Promoted v2", "v2 Promoted v2"]


def test_shares_of_the_points_are_all_of_them_together() -> None:
    every = [Point("s", f"w #{number}", side) for number in range(5) for side in ("before", "after")]
    assert part(every, "") == every
    assert sorted(point for number in range(1, 4) for point in part(every, f"{number}/3")) == sorted(every)


@pytest.mark.parametrize("words", ["2", "0/3", "4/3", "a/b", "1/", "/"])
def test_what_is_no_share_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match="is no share"):
        part([], words)


def test_decisions_and_weights_are_told_when_they_become_others() -> None:
    rollouts = [{"step": 0}, {"step": 0, "settled": True}]
    status = [{"stable": 1}, *({"stable": 1, "rollout": rollout} for rollout in rollouts), {"stable": 2}]
    assert decisions([seen("ModelDeployment", 0.0, status=one) for one in status]) == ["stable=1", "stable=1 step=0", "stable=2"]
    specs = [route(("a", 100), ("b", 0)), route(("a", 100)), route(("b", 20), ("a", 80))]
    assert weights([seen("HTTPRoute", 0.0, spec=spec) for spec in specs]) == ["a:100", "a:80 b:20"]
    assert changes(["x", "x", "y", "x"]) == ["x", "y", "x"]


def test_answers_count_from_the_reading_before_settled_to_the_last_one_before_it_ends() -> None:
    status = "status ModelDeployment m stable=1"
    said = {1.5: status, 2.5: f"{status} settled=True", 2.6: f"{status} settled=True", 3.0: "apply HTTPRoute m v1:50"}
    said |= {4.5: f"{status} step=1", 5.5: f"{status} settled=True", 6.5: "status ModelDeployment m stable=2"}
    writes = [{"said": words, "at": at} for at, words in said.items()]
    assert counting(writes, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == [(2.0, 4.0), (5.0, 6.0)]


def test_in_a_shadow_answers_of_clients_do_not_count() -> None:
    writes = [{"said": f"status ModelDeployment m phase=Shadow{more}", "at": 1.0} for more in (" settled=True", "")]
    assert counting(writes, [0.5]) == []


@pytest.mark.parametrize(("evidence", "fits"), [(100, True), (110, True), (90, True), (111, False), (89, False)])
def test_evidence_is_off_when_more_than_a_second_of_traffic_is_missing_or_counted_twice(evidence: int, fits: bool) -> None:
    assert Counted("v2", evidence, 100, 10.0).fits is fits
