"""`kubectl perennial diff`: what two versions were made of, and what came out, where they differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from perennial.cli import asking
from perennial.cli.asking import Version, VersionNumber, Where, cluster_options, output_option

INPUTS = ("data", "training", "evaluation", "runtime", "store", "parent")
RESULTS = ("state", "score", "rows", "holdoutRows", "cutoff", "identity", "bento")


@click.command()
@click.argument("name")
@click.argument("one", type=VersionNumber())
@click.argument("other", type=VersionNumber())
@cluster_options
@output_option("json", "yaml")
def diff(name: str, one: int, other: int, where: Where, output: str) -> None:
    """Show what differs between two versions: data, training, gates, images, and what came out of them.

    \b
    Examples:
      kubectl perennial diff delays v2 v3
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    found = asking.model(asking.cluster(where), name)
    first, second = (asking.number_or_newest(found, number) for number in (one, other))
    changes = list(differences(_parts(first), _parts(second)))
    if output != "text":
        screen.document([{"field": path, "from": before, "to": after} for path, before, after in changes], output)
        return
    if not changes:
        click.echo(f"{name}: v{one} and v{other} do not differ")
        return
    rows = [[path, _shown(before), _shown(after)] for path, before, after in changes]
    screen.table(["FIELD", f"V{one}", f"V{other}"], rows)


def _parts(version: Version) -> dict[str, Any]:
    """What is compared, as the cluster writes it."""
    spec, status = version.manifest["spec"], version.manifest.get("status") or {}
    gates = {f"{gate['metric']} {gate['kind']}": gate["message"] for gate in status.get("gates", [])}
    inputs = {name: spec[name] for name in INPUTS if name in spec}
    return {**inputs, "result": {**{name: status[name] for name in RESULTS if name in status}, "gates": gates}}


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(field, one value, other value) for each leaf that differs; None where it is not there. Lists of objects with a name are
    compared by name."""
    before, after = _by_name(before), _by_name(after)
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield path, before, after


def _by_name(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value):
        return {one["name"]: {key: part for key, part in one.items() if key != "name"} for one in value}
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(part)}' for key, part in value.items())}}}"
    return f"[{', '.join(_shown(part) for part in value)}]" if isinstance(value, list) else str(value)
