"""`kubectl perennial describe`: how a model stands, on one screen."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from perennial.cli import asking
from perennial.cli.asking import VersionNumber, Where, cluster_options, output_option


@click.command()
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
@click.option("-v", "--version", "option", type=VersionNumber(), help="The same as NUMBER.")
@cluster_options
@output_option("json", "yaml")
def describe(name: str, number: int | None, option: int | None, where: Where, output: str) -> None:
    """Tell how a model stands: what serves, what is under way and what it waits for, conditions, steps, gates, evidence,
    requests and decisions.

    Steps, gates and evidence are those of version NUMBER, else of the candidate, else of the newest version.

    As JSON or YAML these are the same sections, in words: a list of {head, lines, rows}, where rows are the conditions and the
    steps as the status has them. What programs want of a model is in `get NAME -o json`: the objects themselves.

    \b
    Examples:
      kubectl perennial describe delays
      kubectl perennial describe delays v3 -o yaml
    """
    from perennial.cli import description, screen  # noqa: PLC0415 - rich and the API's models, and --help needs none

    if number is not None and option is not None:
        raise click.UsageError("NUMBER and --version are the same: leave one out")
    found = asking.model(asking.cluster(where), name)
    wanted = number if number is not None else option
    version = asking.number_or_newest(found, wanted) if wanted is not None else found.version(found.status.candidate)
    sections = description.described(found, version or next(iter(found.versions), None), datetime.now(UTC))
    if output != "text":
        screen.document([one.document() for one in sections], output)
        return
    screen.sections(sections)
