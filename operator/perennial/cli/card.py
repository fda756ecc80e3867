"""`kubectl perennial card`: the model card of a version, as its evaluation stored it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial.cli import asking
from perennial.cli.asking import Model, Version, VersionNumber, Where, cluster_options
from perennial.cli.exits import Exit

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster


@click.command()
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
@click.option("--html", is_flag=True, help="One page with pictures, instead of Markdown.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
@cluster_options
def card(name: str, number: int | None, where: Where, html: bool, output: Path | None) -> None:
    """Print the model card of a version: where it comes from, gates, its mistakes, and how far its training data moved.

    Its mistakes are shown by the calibration of two classes, the confusion matrix of several, the residuals of a regression.

    Without NUMBER: of the version that serves, else of the newest one. It is read from the store as `history --all` does, and
    must have the digest that the version's status says.

    \b
    Examples:
      kubectl perennial card delays
      kubectl perennial card delays v3 --html -o delays-v3.html
    """
    place = asking.cluster(where)
    found = asking.model(place, name)
    version = asking.number_or_newest(found, found.status.stable if number is None else number)
    text = _fetched(place, found, version, "html" if html else "markdown")
    asking.hand_over(text.encode(), output, f"{name}: the model card of v{version.number}")


def _fetched(place: KubeconfigCluster, found: Model, version: Version, form: str) -> str:
    """One rendition of the card. Ends the program where there is none."""
    from perennial.cli import stored  # noqa: PLC0415

    digest, state = version.status.card, version.status.state
    if digest is None:
        said = f": {version.status.message}" if version.status.message else ""
        why = "a card is made when a version is evaluated, by an operator that knows cards"
        asking.fail(Exit.NO_ANSWER, f"{found.name}: v{version.number} has no model card: it is {state}{said}; {why}")
    try:
        return str(json.loads(stored.blob(place, found, version.spec.store.uri, digest))[form])
    except stored.Unreadable as error:
        asking.fail(Exit.NO_ANSWER, f"{found.name}: {error}")
    except (ValueError, KeyError, TypeError):
        asking.fail(Exit.NO_ANSWER, f"{found.name}: blob sha256:{digest} is no model card of this release")
