"""`kubectl perennial quarantine`: the versions that may not be shipped again, and how one is let out."""

from __future__ import annotations

import click

from perennial.cli import asking, requesting
from perennial.cli.asking import VersionNumber, Where, cluster_options, output_option
from perennial.cli.exits import Ended, Exit
from perennial.cli.requesting import Options, request_options


@click.group()
def quarantine() -> None:
    """List the versions that may not be shipped again, or let one out.

    \b
    Examples:
      kubectl perennial quarantine list delays
      kubectl perennial quarantine lift delays 3
    """


@quarantine.command("list", short_help="List what may not be shipped again.")
@click.argument("name")
@cluster_options
@output_option("json", "yaml")
def listing(name: str, where: Where, output: str) -> None:
    """List what did harm and may not be shipped again: the version, its model and its inputs.

    \b
    Examples:
      kubectl perennial quarantine list delays
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    found = asking.model(asking.cluster(where), name)
    entries = found.status.quarantined
    if output != "text":
        screen.document([one.model_dump(mode="json", by_alias=True) for one in entries], output)
    elif not entries:
        click.echo(f"{name}: nothing is quarantined")
    else:
        rows = [
            [f"v{one.version}", one.reason, screen.second(one.since), one.identity[:19], one.inputs_digest[:12]]
            for one in entries
        ]
        screen.table(["VERSION", "REASON", "SINCE", "MODEL", "INPUTS"], rows)


@quarantine.command(short_help="Let a version out.")
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber())
def lift(options: Options, name: str, number: int) -> None:
    """Let a version out of quarantine: it may be trained, shipped and pinned again.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/lift=3

    \b
    Examples:
      kubectl perennial quarantine lift delays 3
    """
    requesting.ask(options, name, "lift", str(number), lambda before, found: lambda now: Ended(Exit.DONE, f"v{number} is out"))
