"""`kubectl perennial get`: every model in a line, or the objects of one."""

from __future__ import annotations

import click

from perennial.cli import asking
from perennial.cli.asking import Manifest, Model, Where, cluster_options, output_option
from perennial.cli.exits import Exit


@click.command()
@click.argument("name", required=False)
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="The models of all namespaces.")
@cluster_options
@output_option("wide", "json", "yaml")
def get(name: str | None, everywhere: bool, where: Where, output: str) -> None:
    """Show every model in a line: what serves, what is happening, is it well. With NAME: the versions of that model.

    \b
    Examples:
      kubectl perennial get -A
      kubectl perennial get delays -o wide
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    if name and everywhere:
        raise click.UsageError("a NAME is of one namespace: leave out --all-namespaces")
    place = asking.cluster(where)
    if name:
        found = asking.model(place, name)
        if output in ("json", "yaml"):
            screen.document([_shown(one) for one in (found.manifest, *(one.manifest for one in found.versions))], output)
            return
        screen.table(*_versions(found, wide=output == "wide"))
        return
    manifests = asking.models(place, everywhere)
    if output in ("json", "yaml"):
        screen.document([_shown(one) for one in manifests], output)
        return
    if not manifests:
        click.echo(f"no ModelDeployment{'' if everywhere else f' in namespace {place.namespace}'}", err=True)
        raise SystemExit(int(Exit.DONE))
    rows = [_row(one, everywhere, wide=output == "wide") for one in manifests]
    head = ["NAME", "SERVES", "NOW", "READY", "NEWEST", "AGE", *(["ADDRESS", "SHARES", "DUE"] if output == "wide" else [])]
    screen.table(["NAMESPACE", *head] if everywhere else head, rows)


def _shown(manifest: Manifest) -> Manifest:
    """Without managedFields, as kubectl shows it."""
    return {**manifest, "metadata": {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}}


def _row(manifest: Manifest, everywhere: bool, *, wide: bool) -> list[str]:
    """One model; of another release, its name and what is wrong."""
    from perennial.cli.screen import age  # noqa: PLC0415

    where = [str(manifest["metadata"]["namespace"])] if everywhere else []
    try:
        one = asking.read(manifest, [])
    except asking.Unreadable:
        name = str(manifest["metadata"]["name"])
        return [*where, name, "-", "cannot be read by this release", "Unknown", "-", "-", *(["-", "-", "-"] if wide else [])]
    ready = next((found for found in one.status.conditions if found.type == "Ready"), None)
    return [
        *where,
        one.name,
        f"v{one.status.stable}" if one.status.stable else "-",
        one.status.summary or "not seen by the operator yet",
        ready.status if ready else "Unknown",
        f"v{one.status.latest}" if one.status.latest else "-",
        age(one.manifest["metadata"].get("creationTimestamp")),
        *([one.status.address or "-", _shares(one), _due(one)] if wide else []),
    ]


def _shares(model: Model) -> str:
    return ", ".join(f"v{one.version} {one.weight} %" for one in model.status.weights if one.weight) or "-"


def _due(model: Model) -> str:
    """When the schedule begins a retrain next."""
    from perennial.cli.screen import second  # noqa: PLC0415

    schedule = model.status.triggers.schedule if model.status.triggers else None
    return second(schedule.next) if schedule is not None and schedule.next else "-"


def _versions(model: Model, *, wide: bool) -> tuple[list[str], list[list[str]]]:
    from perennial.cli.screen import age  # noqa: PLC0415

    shares = {one.version: one.weight for one in model.status.weights}
    head = ["VERSION", "STATE", "WEIGHT", "SCORE", "ROWS", "MADE BECAUSE", "AGE"]
    rows = []
    for one in model.versions:
        row = [
            f"v{one.number}",
            one.status.state,
            f"{shares.get(one.number, 0)} %",
            one.status.score or "-",
            "-" if one.status.rows is None else f"{one.status.rows:,}",
            f"{one.spec.trigger.reason}{f': {one.spec.trigger.message}' if wide and one.spec.trigger.message else ''}",
            age(one.manifest["metadata"].get("creationTimestamp")),
        ]
        rows.append([*row, one.status.message] if wide else row)
    return [*head, "WHY"] if wide else head, rows
