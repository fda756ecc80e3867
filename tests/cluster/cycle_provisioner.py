"""Takes the embedded cluster down and up again, kills `up` on the way: `make cluster-cycle`, and in CI the suite `provisioner`.

Apart from the cluster suite, which this would pull the ground from under: pytest collects this file only by name, and `suites`
runs it last (about 3 minutes). Needs a cache that an `up` has filled. It leaves the cluster up, as whoever was before it did, but
empty: the operator, models and data that were on it are gone.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster import lifecycle, processes
from cluster.progress import Progress
from cluster.settings import from_environment

DEV = Path(__file__).resolve().parents[2] / "dev"
SETTINGS = from_environment()

pytestmark = pytest.mark.timeout(900)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cluster", *words]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(DEV)}


def _up_killed_after_saying(word: str) -> str:
    """Kills `up` with SIGKILL when it announces a phase; what it had said until then."""
    with subprocess.Popen(_command("up"), env=_environment(), stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr is not None
        said = ""
        for line in up.stderr:
            said += line
            if word in line:
                up.send_signal(signal.SIGKILL)
                break
    return said


def test_down_leaves_nothing_behind() -> None:
    assert lifecycle.down(SETTINGS, Progress()) == []
    assert lifecycle.leftovers(SETTINGS) == []


@pytest.mark.parametrize(
    "phase", ["network", "control plane", "nodes", "S3 store: applying", "Envoy Gateway", "waiting until both"]
)
def test_up_goes_on_after_it_was_killed_in(phase: str) -> None:
    said = _up_killed_after_saying(phase)
    assert phase in said


def test_up_completes_what_the_killed_ones_began() -> None:
    subprocess.run(_command("up"), env=_environment(), check=True)
    assert lifecycle.problems(SETTINGS) == []


@pytest.mark.parametrize("name", ["etcd", "apiserver", "containerd1", "kubelet2", "registry"])
def test_up_mends_a_daemon_that_was_killed(name: str) -> None:
    daemon = next(one for one in lifecycle.daemons(SETTINGS) if one.name == name)
    processes.end([one.identity for one in processes.instances(SETTINGS, daemon)], grace=0)
    assert any(name in finding for finding in lifecycle.problems(SETTINGS))
    assert lifecycle.up(SETTINGS, Progress())
    assert lifecycle.problems(SETTINGS) == []


def test_a_second_down_and_a_fresh_up_work() -> None:
    assert lifecycle.down(SETTINGS, Progress()) == []
    assert lifecycle.down(SETTINGS, Progress()) == []
    began = time.monotonic()
    assert lifecycle.up(SETTINGS, Progress())
    assert time.monotonic() - began < 120
