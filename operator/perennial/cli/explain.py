"""`kubectl perennial explain`: why a version is what it is."""

from __future__ import annotations

import click

from perennial.cli import asking
from perennial.cli.asking import VersionNumber, Where, cluster_options, output_option


@click.command()
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
@cluster_options
@output_option("json", "yaml")
def explain(name: str, number: int | None, where: Where, output: str) -> None:
    """Tell why a version is what it is: its steps, gates and evidence, and what would have changed the verdict.

    Without NUMBER: the newest version.

    As JSON or YAML these are the same sections, in words: a list of {head, lines}. What programs want of a version is in
    `get NAME -o json`: the objects themselves, with gates and evidence as numbers.

    \b
    Examples:
      kubectl perennial explain delays
      kubectl perennial explain delays v3 -o json
    """
    from perennial.cli import explanation, screen  # noqa: PLC0415 - rich and the API's models, and --help needs none

    found = asking.model(asking.cluster(where), name)
    version = asking.number_or_newest(found, number)
    sections = explanation.explained(found, version)
    if output != "text":
        screen.document([one.document() for one in sections], output)
        return
    screen.sections(sections)
