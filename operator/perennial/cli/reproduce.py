"""`kubectl perennial reproduce`: asks that a version is trained again from its record, and says whether the same came out."""

from __future__ import annotations

import click

from perennial.cli.asking import Model, VersionNumber
from perennial.cli.exits import Ended, Exit
from perennial.cli.requesting import Goal, Options, ask, request_options

_EXITS = {"Equal": Exit.DONE, "Different": Exit.BROKEN, "Failed": Exit.FAILED}


@click.command()
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber())
def reproduce(options: Options, name: str, number: int) -> None:
    """Train a version again from its record, and compare what comes out.

    The same rows, by their digest, the image that trained then, the same seed and parameters. What serves is left alone, and no
    version is made: what differs, or that model.onnx is the same to the last bit, stands in the version's status. With --wait
    until that is known.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/reproduce=3

    \b
    Examples:
      kubectl perennial reproduce delays v3 --wait
    """
    ask(options, name, "reproduce", str(number), lambda before, found: _reported(number, before))


def _reported(number: int, before: Model) -> Goal:
    """There is a report that was not there before."""
    old = before.version(number)
    known = {one.attempt for one in old.status.reproduced} if old else set()

    def reached(found: Model) -> Ended | None:
        version = found.version(number)
        if version is None:
            return Ended(Exit.NO_ANSWER, f"v{number} is not there")
        report = next((one for one in version.status.reproduced if one.attempt not in known), None)
        return Ended(_EXITS[report.outcome], f"v{number}: {report.message}") if report else None

    return reached
