"""How a command ends: exit code, termination message, and nothing of a row in either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perennial_runtime import __main__ as entry
from perennial_runtime import contract
from perennial_runtime.answers import TERMINATION_VARIABLE, Refused, Unavailable, conclude
from perennial_runtime.contract import STEP_VARIABLE, Answer, Command, ContractError, Fault, Refusal, TrainResult, decode_answer


@pytest.fixture(autouse=True)
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "termination-log"
    monkeypatch.setenv(TERMINATION_VARIABLE, str(path))
    before = signal.getsignal(signal.SIGTERM)
    yield path
    signal.signal(signal.SIGTERM, before)


def raising(error: BaseException) -> Callable[[], Answer | None]:
    def work() -> Answer | None:
        raise error

    return work


def test_a_result_is_left_with_exit_0(message: Path) -> None:
    result = TrainResult(model="a", parity="b")
    assert conclude(lambda: result) == 0
    assert decode_answer(message.read_text()) == result


def test_a_command_without_an_answer_leaves_none(message: Path) -> None:
    assert conclude(lambda: None) == 0
    assert not message.exists()


@pytest.mark.parametrize(
    ("error", "code", "answer"),
    [
        (Refused("OneClass", "only one"), 64, Refusal("OneClass", "only one")),
        (Unavailable("StoreUnavailable", "no answer"), 75, Fault("StoreUnavailable", "no answer")),
        (MemoryError(), 1, Fault("OutOfMemory", "the step ran out of memory: raise its memory limit")),
    ],
)
def test_an_error_has_its_code_and_its_answer(message: Path, error: BaseException, code: int, answer: Answer) -> None:
    assert conclude(raising(error)) == code
    assert decode_answer(message.read_text()) == answer


def test_a_broken_spec_is_refused(message: Path) -> None:
    assert conclude(raising(ContractError("not a TrainSpec"))) == 64
    assert "do not fit together" in message.read_text()


def test_a_crash_tells_its_place_and_not_its_text(message: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert conclude(raising(ValueError("could not cast 'Jane Miller'"))) == 1
    told = decode_answer(message.read_text())
    assert isinstance(told, Fault)
    assert (told.reason, "ValueError at test_answers.py" in told.message) == ("Crashed", True)
    assert "Miller" not in message.read_text() + capsys.readouterr().err


def test_sigterm_ends_a_step_with_143(message: Path) -> None:
    def work() -> Answer | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return TrainResult(model="a", parity="b")

    assert conclude(work) == 143
    assert decode_answer(message.read_text()) == Fault("Terminated", "SIGTERM before the step had ended")


def test_a_message_that_cannot_be_written_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(TERMINATION_VARIABLE, str(tmp_path / "no" / "folder"))
    assert conclude(raising(Refused("OneClass", "only one"))) == 64


def test_every_command_has_a_module_with_a_main() -> None:
    assert set(entry.COMMANDS) == set(Command)
    for module, _ in entry.COMMANDS.values():
        path = Path(entry.__file__).parent / (module.replace(".", "/") + ".py")
        assert "\ndef main(" in path.read_text()


def test_the_program_refuses_a_missing_spec_without_a_traceback(message: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(entry.__file__).parents[1])}
    environment.pop(STEP_VARIABLE, None)
    ended = subprocess.run(
        [sys.executable, "-m", "perennial_runtime", "prepare"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == contract.EXIT_REFUSED
    assert "Traceback" not in ended.stderr
    assert json.loads(message.read_text())["refused"]["reason"] == "ContractBroken"
