"""`kubectl perennial smoke`: a manifest trained fast and judged beside the model, and nothing left of it, however it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from crd_cases import MODEL
from perennial.adapters import kubeconfig
from perennial.adapters.kubeconfig import KubeconfigCluster, NoAnswer, Refused
from perennial.api.base import seconds
from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.cli import asking, smoke, validation
from perennial.cli.__main__ import main
from perennial.cli.exits import Exit
from perennial.core.actions import CreateJob
from perennial.core.observed import Job
from unit.cli.test_kubeconfig import api_server
from unit.cli.worldcluster import Manifest, WorldCluster
from unit.core.test_smoke import broken
from unit.core.world import SPEC, World, evaluated, usual

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
TRAINING = {"recipe": {"hyperparameters": {"max_iter": 300}}, "smoke": {"hyperparameters": {"max_iter": 5}}}


def manifest(name: str = "delays", **changes: Any) -> Manifest:
    """A model in earnest, as it stands in Git."""
    return {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/instance": "prod", "perennial.dev/operator": "trial"}},
        "spec": SPEC | {"training": TRAINING} | changes,
    }


@dataclass
class SmokeCluster(WorldCluster):
    """A cluster that takes one smoke run."""

    made: Manifest = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    refuses: Exception | None = None
    keeps: bool = False
    """Nothing may be removed."""

    def create(self, made: Manifest) -> Manifest:
        if self.refuses is not None:
            raise self.refuses
        self.made = made
        self.world.wish = ModelDeploymentSpec.model_validate(made["spec"])
        return made

    def delete(self, name: str) -> None:
        if self.keeps:
            raise NoAnswer("no answer from the API server")
        self.removed.append(name)

    def model(self, name: str) -> Manifest:
        assert name == self.made["metadata"]["name"]
        found = super().model("delays")
        return {**found, "metadata": {**found["metadata"], "name": name}}


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs the verb on a cluster with a file."""
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.001)

    def carry_out(cluster: WorldCluster, *arguments: str, file: object = None) -> Result:
        def found(kubeconfig: str | None, context: str | None, namespace: str | None) -> WorldCluster:
            cluster.namespace = namespace or "ns"
            return cluster

        monkeypatch.setattr(kubeconfig, "KubeconfigCluster", found)
        path = tmp_path / "mdep.yaml"
        text = file if isinstance(file, str) else yaml.safe_dump(file or manifest())
        path.write_text(text)
        return CliRunner().invoke(main, ["smoke", "-f", str(path), *arguments])

    before = signal.getsignal(signal.SIGTERM)
    yield carry_out
    assert signal.getsignal(signal.SIGTERM) == before


def weak(step: str, number: int, action: CreateJob) -> Any:
    return evaluated(number, None, lower=0.5) if step == "evaluate" else usual(action)


def test_run_that_passes_ends_with_0_prints_the_evidence_and_leaves_nothing(run: Run) -> None:
    cluster = SmokeCluster(World())
    found = run(cluster)
    assert found.exit_code == 0, found.output
    name = cluster.made["metadata"]["name"]
    assert cluster.removed == [name]
    assert f"{name} v1: Passed" in found.stdout
    assert "Passed: roc_auc 0.7300 (from 0.7200 to 0.7400" in found.stdout
    assert f"{name}: passed: roc_auc" in found.stderr


def test_what_goes_on_is_told_line_by_line_on_standard_error(run: Run) -> None:
    found = run(SmokeCluster(World()))
    states = [line for line in found.stderr.splitlines() if line[2:3] == ":"]
    assert any("train 1 started" in line for line in states)
    assert any("evaluate 1 started" in line for line in states)
    assert len(set(states)) == len(states)


def test_run_that_a_gate_rejects_ends_with_1(run: Run) -> None:
    cluster = SmokeCluster(World(answer=weak))
    found = run(cluster)
    assert found.exit_code == 1
    assert "rejected: roc_auc 0.5100" in found.stderr
    assert cluster.removed


def test_run_that_fails_ends_with_4_and_shows_the_trainers_last_lines(run: Run) -> None:
    cluster = SmokeCluster(World(answer=broken), texts={("pod-1", "train"): ["ValueError: no column dep_houre"]})

    def pods(selector: str) -> list[Manifest]:
        assert f"perennial.dev/model={cluster.made['metadata']['name']}" in selector.split(",")
        return [{"metadata": {"name": "pod-1"}}]

    cluster.pods = pods  # type: ignore[method-assign]
    found = run(cluster)
    assert found.exit_code == Exit.FAILED
    assert "ValueError: no column dep_houre" in found.stderr
    assert "failed: train: TrainerFailed" in found.stderr
    assert cluster.removed


def test_log_that_may_not_be_read_is_no_other_end(run: Run) -> None:
    cluster = SmokeCluster(World(answer=broken), running=[])

    def pods(selector: str) -> list[Manifest]:
        raise Refused("pods is forbidden")

    cluster.pods = pods  # type: ignore[method-assign]
    found = run(cluster)
    assert found.exit_code == Exit.FAILED
    assert "the log of train cannot be read: pods is forbidden" in found.stderr


def test_run_that_takes_too_long_ends_with_3_and_is_removed(run: Run) -> None:
    def never(step: str, number: int, action: CreateJob) -> Job:
        return Job("", "u", number, step, 1, action_time)

    world = World(answer=never)
    action_time = world.now
    cluster = SmokeCluster(world)
    found = run(cluster, "--timeout", "1s")
    assert found.exit_code == Exit.WAITING
    assert "not ended in time: Preparing; v1" in found.stderr
    assert cluster.removed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_run_that_is_ended_by_a_signal_is_removed(run: Run, number: signal.Signals, code: int) -> None:
    cluster = SmokeCluster(World(answer=lambda step, version, action: os.kill(os.getpid(), number)))
    with handled(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL):  # a shell may ignore it
        found = run(cluster)
    assert found.exit_code == code
    assert cluster.removed == [cluster.made["metadata"]["name"]]


def test_signal_that_is_ignored_stays_so(run: Run) -> None:
    cluster = SmokeCluster(World(answer=lambda step, version, action: os.kill(os.getpid(), signal.SIGHUP)))
    with handled(signal.SIGHUP, signal.SIG_IGN):
        assert run(cluster).exit_code == 0


@contextmanager
def handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    """As the process that starts the program has it."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_kept_run_is_not_removed_and_says_until_when_it_is_there(run: Run) -> None:
    cluster = SmokeCluster(World())
    found = run(cluster, "--keep", "--timeout", "30m")
    assert (found.exit_code, cluster.removed) == (0, [])
    assert "is kept for 0h41m from its beginning: kubectl delete mdep delays-smoke-" in found.stderr


def test_run_that_can_not_be_removed_says_that_it_goes_by_itself(run: Run) -> None:
    found = run(SmokeCluster(World(), keeps=True))
    assert found.exit_code == 0
    assert "is not removed, it goes 1h11m after its beginning: no answer" in found.stderr


def test_refusal_of_the_api_server_ends_with_5_and_nothing_of_that_name_is_deleted(run: Run) -> None:
    cluster = SmokeCluster(World(), refuses=Refused("quota exceeded"))
    found = run(cluster)
    assert (found.exit_code, cluster.removed) == (Exit.REFUSED, [])
    assert "quota exceeded" in found.stderr


def test_object_that_may_be_there_after_an_answer_that_was_lost_is_removed(run: Run) -> None:
    cluster = SmokeCluster(World(), refuses=NoAnswer("timed out"))
    found = run(cluster)
    assert found.exit_code == Exit.NO_ANSWER
    assert len(cluster.removed) == 1


def test_no_operator_is_told_long_before_the_time_is_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke, "SEEN_SECONDS", 0.0)
    cluster = SmokeCluster(World(), is_down=True)
    found = run(cluster, "-n", "team")
    assert found.exit_code == Exit.NO_ANSWER
    assert "no operator has looked at delays-smoke-" in found.stderr
    assert "for namespace team" in found.stderr
    assert cluster.removed


def test_evidence_as_json_is_the_version(run: Run) -> None:
    found = run(SmokeCluster(World()), "-o", "json")
    version = json.loads(found.stdout)
    assert (version["kind"], version["status"]["state"]) == ("ModelVersion", "Passed")
    assert version["spec"]["smoke"] is True


def test_image_takes_the_place_of_the_manifests(run: Run) -> None:
    cluster = SmokeCluster(World())
    run(cluster, "--image", "r/trainer:new", file=manifest(training={"image": "r/trainer:old", "smoke": {}}))
    assert cluster.made["spec"]["training"]["image"] == "r/trainer:new"


def test_parameters_in_earnest_are_said_where_no_fast_ones_are_given(run: Run) -> None:
    found = run(SmokeCluster(World()), file=manifest(training={"recipe": {}}))
    assert found.stderr.startswith("training.smoke is not given")


@pytest.mark.parametrize(
    ("file", "arguments", "words"),
    [
        ("a: [", (), "no YAML"),
        ("", (), "holds 0 ModelDeployments"),
        (f"{yaml.safe_dump(manifest())}---\n{yaml.safe_dump(manifest('b'))}", (), "holds 2 ModelDeployments"),
        (manifest(training={"recipe": {}, "image": "x"}), (), "spec.training: training has both recipe and image"),
        (manifest(), ("--image", "x"), "trains by a recipe"),
        (manifest(training={}, model=MODEL), ("--image", "x"), "brings a model that is there already"),
        (manifest(), ("--timeout", "soon"), "not a duration"),
    ],
    ids=[
        "no YAML",
        "no model",
        "two models",
        "a rule that does not hold",
        "an image for a recipe",
        "an image for a model",
        "a time that is none",
    ],
)
def test_wrong_command_line_or_manifest_ends_with_64_before_anything_is_made(
    run: Run, file: object, arguments: tuple[str, ...], words: str
) -> None:
    cluster = SmokeCluster(World())
    found = run(cluster, *arguments, file=file if file else " ")
    assert found.exit_code == Exit.USAGE
    assert words in found.stderr
    assert not cluster.made


def test_file_that_is_not_there_is_named() -> None:
    found = CliRunner().invoke(main, ["smoke", "-f", "/nowhere/mdep.yaml"])
    assert found.exit_code == Exit.USAGE
    assert "/nowhere/mdep.yaml" in found.stderr


def test_run_has_nothing_of_the_model_that_is_served_or_happens_later() -> None:
    complete = yaml.safe_load((Path(__file__).parents[3] / "examples/complete.yaml").read_text())
    made = smoke.of(complete, None, 3600.0, NOW)
    assert made["spec"].keys() == {"data", "training", "evaluation", "serving", "smoke"}
    assert "route" not in made["spec"]["serving"]
    assert not list(validation.problems(made))


def test_run_keeps_the_label_of_its_operator_and_none_of_other_tools() -> None:
    labels = smoke.of(manifest(), None, 60.0, NOW)["metadata"]["labels"]
    assert labels == {"perennial.dev/operator": "trial", "perennial.dev/smoke-of": "delays"}


@pytest.mark.parametrize("name", ["a", "delays", "a" * 36, f"{'a' * 20}-bcdef"])
def test_name_of_a_run_is_one_that_the_api_server_takes(name: str) -> None:
    made = smoke.of(manifest(name), None, 60.0, NOW)
    assert not list(validation.problems(made))
    assert made["metadata"]["name"].startswith(name[:20])


def test_runs_of_the_same_manifest_have_names_of_their_own() -> None:
    names = {smoke.of(manifest(), None, 60.0, NOW + timedelta(microseconds=one))["metadata"]["name"] for one in range(50)}
    assert len(names) == 50


def test_run_outlives_a_program_that_was_killed_by_some_minutes() -> None:
    expires = smoke.of(manifest(), None, 5400.0, NOW)["spec"]["smoke"]["expiresAfter"]
    assert 5400 + 600 <= seconds(expires) <= 5400 + 660


def test_object_is_made_by_one_request(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    with api_server(201, {"kind": "ModelDeployment"}, asked) as url:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        KubeconfigCluster(str(tmp_path / "config")).create(manifest())
    assert [path for path, _ in asked] == ["/apis/perennial.dev/v1alpha1/namespaces/ns/modeldeployments"]
    assert asked[0][1]["metadata"]["name"] == "delays"
