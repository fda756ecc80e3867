"""`kubectl perennial logs`: which pods are read, and what is told of those that are gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perennial.adapters import kubeconfig
from perennial.adapters.kubeconfig import NoAnswer
from perennial.api.own_metrics import OwnMetrics
from perennial.cli import asking
from perennial.cli.__main__ import main
from perennial.cli.exits import Exit
from unit.cli.worldcluster import WorldCluster
from unit.core.test_watch import canary
from unit.core.world import World, served

Ask = Callable[..., Result]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs the verb on a cluster."""
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.001)

    def run(cluster: WorldCluster, *arguments: str) -> Result:
        monkeypatch.setattr(kubeconfig, "KubeconfigCluster", lambda *where: cluster)
        return CliRunner().invoke(main, ["logs", "delays", *arguments])

    return run


def pod(name: str, version: int, step: str, attempt: int, *containers: str, init: tuple[str, ...] = ()) -> dict[str, Any]:
    """A pod as the manifests make it; of a metric without its version."""
    labels = {"perennial.dev/model": "delays", "perennial.dev/version": str(version)}
    if step == "serve":
        labels |= {"perennial.dev/role": "serve"}
    else:
        labels |= {"perennial.dev/step": step, "batch.kubernetes.io/job-name": f"delays-v{version}-{step}-{attempt}"}
    if step == "metric":
        labels.pop("perennial.dev/version")
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": one} for one in containers], "initContainers": [{"name": one} for one in init]},
        "status": {"phase": "Succeeded"},
    }


def trained() -> WorldCluster:
    """v1 serves; its Jobs' pods are there."""
    cluster = WorldCluster(served())
    cluster.running = [
        pod("d-train-x", 1, "train", 1, "train", init=("fetch", "reporter")),
        pod("d-evaluate-x", 1, "evaluate", 1, "evaluate"),
        pod("d-serve-x", 1, "serve", 0, "server", init=("fetch-bento",)),
        pod("d-metric-x", 1, "metric", 1, "measure"),
        pod("d-metric-y", 1, "metric", 2, "measure"),
        pod("other-metric-x", 11, "metric", 1, "measure"),
    ]
    cluster.texts = {(one["metadata"]["name"], c["name"]): [] for one in cluster.running for c in one["spec"]["containers"]}
    cluster.texts |= {
        ("d-train-x", "fetch"): ["fetched"],
        ("d-train-x", "train"): ["epoch 1", "epoch 2", "epoch 3"],
        ("d-train-x", "reporter"): ["uploaded"],
        ("d-serve-x", "fetch-bento"): ["unpacked"],
        ("d-serve-x", "server"): ["ready"],
        ("d-serve-x", "server, before"): ["killed"],
        ("d-metric-x", "measure"): ["first"],
        ("d-metric-y", "measure"): ["second"],
    }
    return cluster


def test_all_containers_of_a_step_are_printed_in_order_each_line_with_its_own(ask: Ask) -> None:
    found = ask(trained(), "v1", "--step", "train")
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [
        "[pod/d-train-x/fetch] fetched",
        "[pod/d-train-x/reporter] uploaded",
        "[pod/d-train-x/train] epoch 1",
        "[pod/d-train-x/train] epoch 2",
        "[pod/d-train-x/train] epoch 3",
    ]


def test_one_container_is_printed_as_it_is(ask: Ask) -> None:
    assert ask(trained(), "--step", "train", "-c", "train", "--tail", "2").stdout == "epoch 2\nepoch 3\n"
    assert ask(trained(), "--step", "train", "-c", "train", "--tail", "0").stdout == ""
    unknown = ask(trained(), "--step", "train", "-c", "trainer")
    assert (unknown.exit_code, unknown.stdout) == (Exit.NO_ANSWER, "")
    assert "no container 'trainer'; there are fetch, reporter, train" in unknown.stderr


def test_a_version_that_serves_tells_what_its_pods_write(ask: Ask) -> None:
    assert ask(trained()).stdout == "[pod/d-serve-x/fetch-bento] unpacked\n[pod/d-serve-x/server] ready\n"
    assert ask(trained(), "-c", "server", "--previous").stdout == "killed\n"


def test_runs_of_a_metric_are_told_apart_by_their_version_and_number(ask: Ask) -> None:
    assert ask(trained(), "--step", "metric").stdout == "[pod/d-metric-x/measure] first\n[pod/d-metric-y/measure] second\n"
    assert ask(trained(), "--step", "metric", "--attempt", "2").stdout == "second\n"


def test_followed_containers_come_as_they_write_also_one_that_starts_later(ask: Ask) -> None:
    cluster = trained()
    cluster.running[0]["status"]["phase"] = "Running"
    late = cluster.texts.pop(("d-train-x", "train"))

    def begin() -> None:
        time.sleep(0.05)
        cluster.texts["d-train-x", "train"] = late

    thread = threading.Thread(target=begin)
    thread.start()
    found = ask(cluster, "--step", "train", "--follow")
    thread.join()
    assert found.exit_code == 0
    assert sorted(found.stdout.splitlines()) == sorted(ask(trained(), "--step", "train").stdout.splitlines())


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["printed", "followed"])
def test_a_container_that_never_wrote_is_told_beside_those_that_did(ask: Ask, follow: tuple[str, ...]) -> None:
    cluster = trained()
    del cluster.texts["d-train-x", "train"]
    found = ask(cluster, "--step", "train", *follow)
    assert found.exit_code == 0
    assert "fetched" in found.stdout
    assert '[pod/d-train-x/train] container "train" in pod "d-train-x" is waiting to start' in found.stderr
    assert ask(cluster, "--step", "train", "-c", "train", *follow).exit_code == Exit.NO_ANSWER


def test_a_fault_while_a_log_is_followed_is_no_end_of_the_log(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: WorldCluster, *names: str, **how: Any) -> Iterator[str]:
        yield "ready"
        raise ZeroDivisionError

    monkeypatch.setattr(WorldCluster, "log", broken)
    found = ask(trained(), "--step", "serve", "--follow")
    assert found.exit_code == Exit.FAULT
    assert "a fault of this program: ZeroDivisionError" in found.stderr


def test_without_a_number_the_pods_that_serve_are_meant_whatever_became_of_newer_versions(ask: Ask) -> None:
    world = canary().until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.2})
    old = trained()
    cluster = WorldCluster(world, running=[*old.running, pod("d-evaluate-y", 2, "evaluate", 1, "evaluate")], texts=old.texts)
    for arguments in ((), ("--step", "serve")):
        found = ask(cluster, *arguments, "-c", "server")
        assert (found.exit_code, found.stdout) == (0, "ready\n"), found.stderr
    assert "d-evaluate-y" in ask(cluster, "--step", "evaluate", "-c", "evaluate").stderr


def test_of_a_pod_that_is_gone_its_recorded_end_and_the_place_of_its_tail_are_told(ask: Ask) -> None:
    world = served()
    found = ask(WorldCluster(world), "--step", "train")
    assert (found.exit_code, found.stdout) == (Exit.NO_ANSWER, "")
    assert "delays v1 train, attempt 1: its pod is gone, and its log with it\nit ended at 2026-" in found.stderr
    assert " as Succeeded: Completed\n" in found.stderr
    uid, store = world.versions[1].meta.uid, world.versions[1].spec.store.uri
    for container in ("fetch", "train", "reporter"):
        assert f"  {store}/logs/{uid}/train-1-{container}.log\n" in found.stderr


def test_of_a_pod_that_is_gone_the_last_lines_are_read_from_the_store(ask: Ask, tmp_path: Path) -> None:
    world = served()
    version = world.versions[1]
    store = version.spec.store.model_copy(update={"uri": tmp_path.as_uri()})
    world.versions[1] = replace(version, spec=version.spec.model_copy(update={"store": store}))
    folder = tmp_path / "logs" / version.meta.uid
    folder.mkdir(parents=True)
    (folder / "train-1-train.log").write_text("epoch 1\nepoch 2\n")
    (folder / "train-1-reporter.log").write_text("uploaded\n")
    found = ask(WorldCluster(world), "--step", "train")
    assert found.exit_code == Exit.DONE
    assert found.stdout == "[store/train] epoch 1\n[store/train] epoch 2\n[store/reporter] uploaded\n"
    assert "its pod is gone, and its log with it" in found.stderr
    assert ask(WorldCluster(world), "--step", "train", "-c", "train", "--tail", "1").stdout == "epoch 2\n"
    assert ask(WorldCluster(world), "--step", "train", "--tail", "0").stdout == ""
    killed = ask(WorldCluster(world), "--step", "evaluate")
    assert (killed.exit_code, killed.stdout) == (Exit.NO_ANSWER, "")
    assert "the store keeps no line of it" in killed.stderr
    unknown = ask(WorldCluster(world), "--step", "train", "-c", "sidecar")
    assert unknown.exit_code == Exit.NO_ANSWER
    assert "no container 'sidecar'; there were fetch, train, reporter" in unknown.stderr


def test_of_a_program_that_measured_metrics_of_the_users_own_the_last_lines_are_read_too(ask: Ask, tmp_path: Path) -> None:
    world = served()
    version = world.versions[1]
    store = version.spec.store.model_copy(update={"uri": tmp_path.as_uri()})
    own = OwnMetrics.model_validate({"command": ["cost"], "values": [{"name": "cost", "better": "less"}]})
    evaluation = version.spec.evaluation.model_copy(update={"metrics": own})
    spec = version.spec.model_copy(update={"store": store, "evaluation": evaluation})
    world.versions[1] = replace(version, spec=spec)
    folder = tmp_path / "logs" / version.meta.uid
    folder.mkdir(parents=True)
    (folder / "evaluate-1-metrics.log").write_text("900 rows\n")
    (folder / "evaluate-1-evaluate.log").write_text("measured\n")
    found = ask(WorldCluster(world), "--step", "evaluate")
    assert found.stdout == "[store/metrics] 900 rows\n[store/evaluate] measured\n"
    assert ask(WorldCluster(world), "--step", "evaluate", "-c", "metrics").stdout == "900 rows\n"


def test_of_serving_pods_that_are_gone_nothing_is_left(ask: Ask) -> None:
    world = canary().until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.2})
    assert "delays v2 serve: it has no pod (v2 is RolledBack)" in ask(WorldCluster(world), "2", "--step", "serve").stderr


def test_a_step_that_was_not_begun_and_an_attempt_that_was_not_made_are_told(ask: Ask) -> None:
    world = World()
    world.live(1)
    assert "v1 has begun no step yet" in ask(WorldCluster(world, is_down=True)).stderr
    assert "v1 has no such train: attempts of it: 1" in ask(trained(), "--step", "train", "--attempt", "7").stderr
    world.live(1)
    assert "its pod is not there yet" in ask(WorldCluster(world, is_down=True)).stderr
    assert "no attempt of it was begun" in ask(WorldCluster(world, is_down=True), "--step", "evaluate").stderr


def test_a_person_who_may_not_read_pods_is_told_in_the_api_server_s_words(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: WorldCluster, selector: str) -> list[dict[str, Any]]:
        raise NoAnswer('pods is forbidden: User "jane" cannot list resource "pods"')

    monkeypatch.setattr(WorldCluster, "pods", forbidden)
    found = ask(trained())
    assert (found.exit_code, found.stderr) == (
        Exit.NO_ANSWER,
        'Error: pods is forbidden: User "jane" cannot list resource "pods"\n',
    )


@pytest.mark.parametrize(
    "arguments", [("-f", "-p"), ("--attempt", "1"), ("--attempt", "0"), ("--tail", "-1"), ("--step", "fetch")]
)
def test_a_wrong_command_line_ends_with_64(ask: Ask, arguments: tuple[str, ...]) -> None:
    assert ask(trained(), *arguments).exit_code == Exit.USAGE
