"""Failures of programs are told with their last words; files appear complete or not at all; progress tells the time."""

import io
from pathlib import Path

import pytest

from cluster import shell
from cluster.errors import CommandFailed
from cluster.progress import Progress


def test_output_is_returned() -> None:
    assert shell.run(["echo", "hello"]) == "hello\n"


def test_a_failure_shows_what_the_program_said() -> None:
    with pytest.raises(CommandFailed, match=r"the thing failed with exit status 3\n  \| no such horse"):
        shell.run(["sh", "-c", "echo no such horse >&2; exit 3"], what="the thing")


def test_a_failure_shows_the_last_lines_of_the_log_and_its_path(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "build.log"
    with pytest.raises(CommandFailed) as failed:
        shell.run(["sh", "-c", "seq 100; exit 1"], what="building", log=log)
    text = str(failed.value)
    assert "| 100" in text
    assert "| 85\n" not in text
    assert text.endswith(f"log: {log}")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(CommandFailed, match="the program no-such-program is not installed"):
        shell.run(["no-such-program"])


def test_a_hanging_program_is_ended() -> None:
    with pytest.raises(CommandFailed, match="did not end within 0 s"):
        shell.run(["sleep", "60"], timeout=0.05)


def test_a_flaky_download_is_tried_again() -> None:
    answers = iter([False, False, True])

    def download() -> str:
        if not next(answers):
            raise CommandFailed("connection reset")
        return "file"

    assert shell.retried(download, pause=0) == "file"


def test_the_last_failure_is_told_when_no_try_helps() -> None:
    tries: list[int] = []

    def download() -> None:
        tries.append(1)
        raise CommandFailed(f"try {len(tries)}")

    with pytest.raises(CommandFailed, match="try 4"):
        shell.retried(download, pause=0)


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(CommandFailed, match="readiness of x did not happen within 0 s"):
        shell.wait_until(lambda: False, seconds=0, what="readiness of x", pause=0)


def test_a_file_is_replaced_as_a_whole_and_secret_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    shell.write_atomically(path, "one", mode=0o600)
    shell.write_atomically(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_progress_tells_the_seconds_and_how_long_a_step_took() -> None:
    times = iter([0.0, 12.3, 12.3, 83.0, 83.0])
    out = io.StringIO()
    with Progress(out, lambda: next(times)).step("containerd", "building", about=70):
        pass
    assert out.getvalue() == "[  12s] containerd: building (about 70 s)\n[  83s] containerd: done in 71 s\n"
