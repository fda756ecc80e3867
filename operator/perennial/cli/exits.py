"""How the verbs end, for scripts, and what a version's end means to one who waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionStatus

ENDS = """
    \b
    Ends with 0: done; with --wait: promoted, or it serves
              1: rolled back
              2: rejected by a gate
              3: not ended in time, or it waits for a person
              4: the version failed, or was ended before it had a verdict
              5: the request was refused, by the operator or by the API server
              6: the cluster could not be asked, or there is no such object
              7: the ledger does not hold, or another model came out (reproduce)
             64: the command line is wrong
             70: a fault of this program"""


def with_ends(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, whose --help says how it ends."""
    verb.__doc__ = f"{verb.__doc__}{ENDS}\n"
    return verb


class Exit(IntEnum):
    """Exit codes of the program; `ENDS` is the same for --help. 1 and 2 are verdicts, so no fault may end with them."""

    DONE = 0
    ROLLED_BACK = 1
    REJECTED = 2
    WAITING = 3
    FAILED = 4
    REFUSED = 5
    NO_ANSWER = 6
    BROKEN = 7
    USAGE = 64
    FAULT = 70


@dataclass(frozen=True, slots=True)
class Ended:
    """What there is nothing more to wait for, in a code and in words."""

    exit: Exit
    words: str


WAITING = ("Pending", "Preparing", "Training", "Evaluating", "Accepted")
OF_STATE = {"RolledBack": Exit.ROLLED_BACK, "Rejected": Exit.REJECTED, "Failed": Exit.FAILED, "Superseded": Exit.FAILED}


def of_version(
    spec: ModelDeploymentSpec, status: ModelDeploymentStatus, number: int, version: ModelVersionStatus | None
) -> Ended | None:
    """How a version ended, or why it will not go on by itself; None while it is under way. A watch after its promotion is left
    out: it may still be taken back."""
    if version is None:
        return Ended(Exit.NO_ANSWER, f"v{number} is not there") if number <= status.latest else None
    said = f": {version.message}" if version.message else ""
    if version.state in OF_STATE:
        return Ended(OF_STATE[version.state], f"v{number} is {version.state}{said}")
    if version.state == "Serving" and status.stable == number and status.returning is None:
        return Ended(Exit.DONE, f"v{number} serves{said}")
    if version.state == "Retired":
        return Ended(Exit.DONE, f"v{number} is Retired{said}")
    if status.rollout is not None and status.rollout.candidate == number and status.rollout.breach:
        return Ended(Exit.WAITING, f"v{number} waits for promote or abort: {status.rollout.breach}")
    why = _why_held(spec, status, number, version) if version.state in WAITING else ""
    return Ended(Exit.WAITING, f"v{number} is {version.state} and waits: {why}") if why else None


def _why_held(spec: ModelDeploymentSpec, status: ModelDeploymentStatus, number: int, version: ModelVersionStatus) -> str:
    """Why a version does not go on before a person does something; empty when it does."""
    if spec.paused or status.paused:
        return "it is paused"
    if version.state != "Accepted":
        return ""
    if spec.pin is not None:
        return f"spec.pin is {spec.pin}"
    if status.held:
        return "a person returned to an older version; resume rolls new ones out again"
    asked = status.approval if spec.approval is not None else None
    waits = asked is not None and asked.version == number and asked.approved_at is None
    return "nobody has approved it yet: approve or abort it" if waits else ""
