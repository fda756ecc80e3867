"""`kubectl perennial backtest`: what it says of a recorded rollout, and how it ends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from perennial.adapters import kubeconfig
from perennial.cli.__main__ import main
from perennial.cli.exits import Exit
from unit.cli.worldcluster import WorldCluster
from unit.core.recorded_world import RecordedWorld, rolling_out

ERRORS = {"name": "errors", "errors": {}}
POLICY: dict[str, Any] = {
    "steps": [{"weight": 20, "hold": "6s"}, {"weight": 50, "hold": "6s"}],
    "minimumRequests": 20,
    "metrics": [ERRORS],
}


@cache
def world(share_bad: float = 0.3) -> RecordedWorld:
    """v2 was rolled out, and promoted or taken back."""
    made = rolling_out(1, POLICY, share_bad=share_bad)
    made.rolled_out()
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The recording of a bad candidate."""
    path = tmp_path / "v2.jsonl.gz"
    path.write_bytes(world().kept[2])
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["backtest", *map(str, arguments)])


def of_cluster(monkeypatch: pytest.MonkeyPatch, rolled_out: RecordedWorld, *arguments: object) -> Result:
    cluster = WorldCluster(rolled_out, is_down=True)
    monkeypatch.setattr(kubeconfig, "KubeconfigCluster", lambda *where: cluster)
    return run("delays", *arguments)


def test_a_recorded_rollback_is_reproduced_and_told_in_words(file: Path) -> None:
    found = run("--file", file)
    assert found.exit_code == Exit.ROLLED_BACK, found.output
    for words in (
        "delays v2 beside v1",
        "replayed: the same verdict in the same pass, on the same evidence to the last bit",
        "CanaryWorse: errors: candidate",
        "With another falseRollbackRate",
        "<- 0.01",
        "With another minimumRequests",
        "at most 1 % of candidates as good as stable are taken back by chance (exact)",
    ):
        assert words in found.output


def changed(of: RecordedWorld, change: Callable[[list[Any]], None]) -> Path:
    """The recording with other lines, as a file that was made by hand."""
    lines = [json.loads(text) for text in gzip.decompress(of.kept[2]).splitlines()]
    change(lines)
    path = Path(mkdtemp()) / "changed.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_verdict_that_is_not_reproduced_ends_with_its_own_code_and_nothing_is_called_exact() -> None:
    def other_evidence(lines: list[Any]) -> None:
        lines[-1]["outcome"]["logE"]["errors"] += 1e-9

    found = run("--file", changed(world(), other_evidence), "--minimum-requests", "21")
    assert found.exit_code == Exit.BROKEN, found.output
    assert "NOT the same: breach: E is another" in found.output
    assert "exact: in every pass" not in found.output
    assert "not to be relied on" in found.output

    def cut_as_well(lines: list[Any]) -> None:
        other_evidence(lines)
        lines.insert(-1, {"truncated": True})
        lines[1]["place"]["weight"] = 21

    assert run("--file", changed(world(), cut_as_well)).exit_code == Exit.BROKEN


def test_where_no_verdict_was_recorded_none_is_said_to_be_the_same() -> None:
    def ended(lines: list[Any]) -> None:
        del lines[-2]
        lines[-1]["outcome"] |= {"what": "ended", "reason": "", "message": "\x1b[2Jv2 is Serving\nreally"}
        lines[-1]["outcome"].pop("logE")

    found = run("--file", changed(world(), ended), "--no-sweep")
    assert found.exit_code == Exit.WAITING, found.output
    assert "no verdict of the analysis was recorded to compare it with" in found.output
    assert "the same verdict" not in found.output
    assert "[2Jv2 is Serving really" in " ".join(found.output.split())
    assert "\x1b" not in found.output


def test_a_stricter_rate_leaves_it_undecided_at_the_end_of_the_recording(file: Path) -> None:
    swept = json.loads(run("--file", file, "-o", "json").stdout)["sweeps"]["falseRollbackRate"]
    assert [span["outcome"] for span in swept] == ["undecided", "rolled back"]
    found = run("--file", file, "--no-sweep", "--false-rollback-rate", swept[0]["last"])
    assert found.exit_code == Exit.WAITING, found.output
    assert "undecided at the end of the recording" in found.output


def test_the_cluster_is_asked_for_the_newest_recording_and_it_can_be_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.gz"
    found = of_cluster(monkeypatch, world(), "--no-sweep", "--save", saved)
    assert found.exit_code == Exit.ROLLED_BACK, found.output
    assert saved.read_bytes() == world().kept[2]
    assert run("--no-sweep", "--file", saved).output == found.output
    first = of_cluster(monkeypatch, world(), "v1")
    assert first.exit_code == Exit.NO_ANSWER
    assert "there is no recording of v1" in first.output


def test_a_healthy_candidate_ends_with_nought_and_documents_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_cluster(monkeypatch, world(0.0), "v2", "--no-sweep", "-o", "yaml", "--minimum-requests", "1")
    assert found.exit_code == Exit.DONE, found.output
    told = yaml.safe_load(found.stdout)
    assert (told["reproduced"], told["policy"]["outcome"], told["policy"]["given"]) == (True, "promoted", True)
    assert told["policy"]["minimumRequests"] == 1
    assert told["falseAlarms"] == {"atMost": 0.01, "guarantee": "exact", "outside": []}


@pytest.mark.parametrize("shape", ["model", "rollout", "fields"])
def test_a_policy_is_read_as_a_manifest_or_as_its_rollout(file: Path, tmp_path: Path, shape: str) -> None:
    rollout = {**POLICY, "onBreach": "pause"}
    whole = {"apiVersion": "perennial.dev/v1alpha1", "kind": "ModelDeployment", "spec": {"rollout": rollout}}
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({"model": whole, "rollout": {"rollout": rollout}, "fields": rollout}[shape]))
    found = run("--file", file, "--policy", path, "--no-sweep")
    assert found.exit_code == Exit.WAITING, found.output
    assert "left to a person: CanaryWorse" in found.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: [{weight: 50, hold: 1m}, {weight: 20, hold: 1m}]", "each must be more than the one before it"),
        ("falseRollbackRate: 0.9", "spec.rollout.falseRollbackRate"),
        ("metrics: [{name: errors, errors: {}, margin: 0.5}]", "must be more than the tolerance"),
        ("surprise: 1", "surprise"),
        ("shadow: {hold: 10s}", "no mirrored request was recorded"),
        ("[1, 2]", "a policy is a ModelDeployment"),
        ("- [", "no YAML"),
        ("", "one policy is needed"),
    ],
)
def test_a_policy_that_cannot_be_taken_is_refused_in_words(file: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    found = run("--file", file, "--policy", path)
    assert found.exit_code == Exit.USAGE, found.output
    assert words in found.output


def test_what_is_no_recording_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_text("hello\n")
    for arguments, words in (
        (("--file", path), "no recording that can be read: the first line is not the head"),
        (("--file", tmp_path / "none"), "No such file"),
        (("--file", tmp_path), "Is a directory"),
        ((), "give the NAME of a model, or a recording by --file"),
        (("delays", "--file", path), "and not both"),
        (("--file", path, "--save", path), "no use with --file"),
        (("--file", path, "--false-rollback-rate", "2"), "--false-rollback-rate"),
    ):
        found = run(*arguments)
        assert found.exit_code == Exit.USAGE, found.output
        assert words in found.output


def test_a_recording_whose_verdict_does_not_follow_from_it_ends_with_7(file: Path) -> None:
    text = gzip.decompress(file.read_bytes()).decode().replace('"what":"breach"', '"what":"abort"')
    file.write_text(text)
    found = run("--file", file)
    assert found.exit_code == Exit.BROKEN, found.output
    assert "NOT the same: it came to breach, and the recorded one to abort" in found.output
