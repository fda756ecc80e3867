"""Which processes are ours, and that nobody else is ever ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import lifecycle, processes
from cluster.processes import Daemon, Identity, Running

STATE = Path("/state")
ETCD = Daemon("etcd", ("/cache/kube", "etcd", "--data-dir=/state/etcd"), "perennial-1")


def _fake(proc: Path, pid: int, *, name: str = "kube", state: str = "S", started: int = 77, mark: str = "") -> None:
    home = proc / str(pid)
    home.mkdir(parents=True)
    fields = [state, "1", *["0"] * 17, str(started), "0", "0"]
    (home / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
    (home / "environ").write_bytes(b"HOME=/\0" + (f"{processes.MARK}={mark}\0".encode() if mark else b""))
    (home / "exe").symlink_to(f"/cache/{name}")


def test_a_process_is_told_by_pid_and_start_time(tmp_path: Path) -> None:
    _fake(tmp_path, 12, started=4711)
    assert processes.identify(12, tmp_path) == Identity(12, 4711)


def test_a_name_with_brackets_and_blanks_does_not_confuse_the_fields(tmp_path: Path) -> None:
    _fake(tmp_path, 12, name="a) R 1 (b", started=4711)
    assert processes.identify(12, tmp_path) == Identity(12, 4711)


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_zombie_has_ended(tmp_path: Path, state: str) -> None:
    _fake(tmp_path, 12, state=state)
    assert processes.identify(12, tmp_path) is None


def test_nobody_has_a_free_pid(tmp_path: Path) -> None:
    assert processes.identify(12, tmp_path) is None


def test_only_processes_with_the_mark_of_this_state_directory_are_ours(tmp_path: Path) -> None:
    _fake(tmp_path, 10, mark="/state|etcd|abc")
    _fake(tmp_path, 11, mark="/state2|etcd|abc")
    _fake(tmp_path, 12)
    assert list(processes.marked(STATE, tmp_path)) == [Running(Identity(10, 77), "etcd", "abc", "kube")]


def test_another_cluster_on_the_machine_is_noticed(tmp_path: Path) -> None:
    _fake(tmp_path, 10, mark="/state|etcd|abc")
    _fake(tmp_path, 11, mark="/elsewhere|etcd|abc")
    assert processes.other_states(STATE, tmp_path) == {"/elsewhere"}


def test_a_program_that_was_replaced_on_disk_is_still_recognised(tmp_path: Path) -> None:
    _fake(tmp_path, 10, mark="/state|etcd|abc", name="kube (deleted)")
    assert [one.program for one in processes.marked(STATE, tmp_path)] == ["kube"]


def test_a_child_that_inherited_the_mark_is_not_the_daemon() -> None:
    shim = Running(Identity(1, 1), "containerd1", "abc", "containerd-shim-runc-v2")
    assert not processes.is_daemon(shim, Daemon("containerd1", ("/cache/containerd",), "perennial-1"))


@pytest.mark.parametrize("program", ["kube", "nsenter", "setsid"])
def test_a_daemon_is_recognised_from_its_first_moment(program: str) -> None:
    assert processes.is_daemon(Running(Identity(1, 1), "etcd", "abc", program), ETCD)


def test_the_fingerprint_changes_with_command_network_and_configuration() -> None:
    others = (
        Daemon("etcd", (*ETCD.argv, "--debug"), ETCD.netns),
        Daemon("etcd", ETCD.argv, "perennial-2"),
        Daemon("etcd", ETCD.argv, ETCD.netns, config="a: 1"),
    )
    assert len({ETCD.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_mending_names_what_is_missing_and_what_is_outdated_and_nothing_else() -> None:
    good, old, gone = (Daemon(name, (f"/cache/{name}",), None) for name in ("good", "old", "gone"))
    running = [
        Running(Identity(1, 1), "good", good.fingerprint, "good"),
        Running(Identity(2, 1), "old", "another", "old"),
        Running(Identity(3, 1), "gone", gone.fingerprint, "its-child"),
    ]
    assert lifecycle.wrong_daemons([good, old, gone], running) == [
        "old runs with an older command or configuration",
        "gone does not run",
    ]


@pytest.fixture
def stubborn() -> Iterator["subprocess.Popen[bytes]"]:
    """A child that ignores SIGTERM; it says when it does."""
    code = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def test_a_stubborn_process_is_killed_after_the_grace(stubborn: "subprocess.Popen[bytes]") -> None:
    identity = processes.identify(stubborn.pid)
    assert identity is not None
    processes.end([identity], grace=0.05)
    assert stubborn.wait(1) == -signal.SIGKILL


def test_a_reused_pid_is_never_signalled(stubborn: "subprocess.Popen[bytes]") -> None:
    identity = processes.identify(stubborn.pid)
    assert identity is not None
    processes.end([Identity(identity.pid, identity.started - 1)], grace=0.05)
    assert stubborn.poll() is None


def test_ending_somebody_who_has_ended_is_fine() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    processes.end([Identity(child.pid, 1)])


def test_this_process_finds_itself() -> None:
    mine = processes.identify(os.getpid())
    assert mine is not None
    assert mine.started > 0
