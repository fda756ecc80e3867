"""`kubectl perennial version`: which program this is."""

from __future__ import annotations

import json

import click

from perennial import __version__
from perennial_runtime.contract import API_VERSION


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: for programs.")
def version(output: str) -> None:
    """Say which version of Perennial this program is of, and which version of the API it knows.

    \b
    Examples:
      kubectl perennial version
      kubectl perennial version -o json
    """
    found = {"client": __version__, "api": API_VERSION}
    click.echo(json.dumps(found) if output == "json" else f"kubectl perennial {found['client']}, for {found['api']}")
