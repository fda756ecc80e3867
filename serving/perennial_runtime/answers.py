"""How a command of ours ends: one answer as termination message, one exit code, and no value of a row in any log.

`__main__` hands every command to `conclude`. The commands return a result, or raise one of the errors below:

    StepError
    +-- Refused        the input is wrong, trying again would not help      -> Refusal, exit 64
    |   +-- DigestMismatch (store)
    +-- Unavailable    something outside did not answer                     -> Fault, exit 75

Anything else that is raised is a crash: a Fault that names the error's type and place (never its text, which may quote a
row), exit 1. The kubelet hands the message to the operator (`contract.decode_answer`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from perennial_runtime.contract import (
    EXIT_REFUSED,
    EXIT_TRANSIENT,
    Answer,
    ContractError,
    Fault,
    Mounted,
    Refusal,
    encode_answer,
)

TERMINATION_VARIABLE = "PERENNIAL_TERMINATION_LOG"
TERMINATION_PATH = "/dev/termination-log"

EXIT_CRASHED = 1
EXIT_TERMINATED = 143


class StepError(Exception):
    """A CamelCase reason and one message that names the object, what was found and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Refused(StepError):
    """The input is wrong; another attempt with the same input would end the same way. `secret`: which one is to be mended;
    `data`: digest of the rows that were read."""

    def __init__(self, reason: str, message: str, secret: Mounted | None = None, data: str = "") -> None:
        super().__init__(reason, message)
        self.secret = secret
        self.data = data


class Unavailable(StepError):
    """Something outside (the store, a secret that is not there yet) failed and may work later."""


class Terminated(BaseException):
    """SIGTERM arrived. As pid 1 a process without a handler would ignore it and be killed after the grace period."""


def conclude(work: Callable[[], Answer | None]) -> int:
    """Run `work`, leave its answer where the kubelet reads it, and return the exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        answer = work()
    except Refused as error:
        return leave(Refusal(error.reason, error.message, str(error.secret or ""), error.data), EXIT_REFUSED)
    except Unavailable as error:
        return leave(Fault(error.reason, error.message), EXIT_TRANSIENT)
    except ContractError as error:
        return leave(Refusal("ContractBroken", f"{error}: operator and runtime image do not fit together"), EXIT_REFUSED)
    except Terminated:
        return leave(Fault("Terminated", "SIGTERM before the step had ended"), EXIT_TERMINATED)
    except MemoryError:
        return leave(Fault("OutOfMemory", "the step ran out of memory: raise its memory limit"), EXIT_CRASHED)
    except Exception as error:  # noqa: BLE001 - the one net under every command; the text may quote a row, so only the place is told
        return leave(Fault("Crashed", _place(error)), EXIT_CRASHED)
    return leave(answer, 0) if answer is not None else 0


def leave(answer: Answer, code: int) -> int:
    """Write `answer` as termination message and to stderr; return `code`."""
    text = encode_answer(answer)
    say("answer", code=code, answer=json.loads(text))
    try:
        Path(os.environ.get(TERMINATION_VARIABLE, TERMINATION_PATH)).write_text(text)
    except OSError as error:
        say("termination message not written", errno=error.errno)
    return code


def say(event: str, **fields: object) -> None:
    """One structured progress line on stderr. Never give it a value of a row."""
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **fields}
    sys.stderr.write(json.dumps(line, separators=(",", ":"), default=str) + "\n")
    sys.stderr.flush()


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-6:]))
    return f"{type(error).__name__} at {places}: this is a fault of Perennial, please report it"
