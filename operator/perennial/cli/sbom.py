"""`kubectl perennial sbom`: what a version was trained with, as the CycloneDX document that its evaluation stored."""

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
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
@cluster_options
def sbom(name: str, number: int | None, where: Where, output: Path | None) -> None:
    """Print the software bill of materials of a version's training, as CycloneDX 1.6 in JSON.

    Packages and versions, Python and system, as the trainer told them, and the image that trained. Without NUMBER: of the version
    that serves, else of the newest one. It is read from the store as `history --all` does, and must have the digest that the
    version's measurements say.

    \b
    Examples:
      kubectl perennial sbom delays v3 -o delays-v3.cdx.json
      kubectl perennial sbom delays | jq -r '.components[].purl'
    """
    place = asking.cluster(where)
    found = asking.model(place, name)
    version = asking.number_or_newest(found, found.status.stable if number is None else number)
    body = _fetched(place, found, version)
    asking.hand_over(body, output, f"{name}: the SBOM of v{version.number}")


def _fetched(place: KubeconfigCluster, found: Model, version: Version) -> bytes:
    """The document. Ends the program where there is none."""
    from perennial.cli import stored  # noqa: PLC0415

    uri, measured = version.spec.store.uri, version.status.measurements
    try:
        digest = json.loads(stored.blob(place, found, uri, measured)).get("sbom") if measured else None
        if digest is None:
            asking.fail(Exit.NO_ANSWER, f"{found.name}: v{version.number} has no SBOM: {_why_none(version)}")
        return stored.blob(place, found, uri, str(digest))
    except stored.Unreadable as error:
        asking.fail(Exit.NO_ANSWER, f"{found.name}: {error}")


def _why_none(version: Version) -> str:
    from perennial.core import lineage  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    if version.spec.model is not None:
        return "it was there already, and nobody told what trained it"
    if version.status.identity is None:
        return f"one is made when a version is evaluated, and it is {version.status.state}"
    if not lineage.of(version.status).environment:
        return "its trainer did not tell its packages: see docs/lineage.md"
    return "it was evaluated by a release that made none"
