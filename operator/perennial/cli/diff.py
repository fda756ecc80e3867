"""`kubectl perennial diff`: what two versions were made of, and what came out, where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from perennial.cli import asking
from perennial.cli.asking import Model, Version, VersionNumber, Where, cluster_options, output_option

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial_runtime.contract import PrepareResult

INPUTS = ("data", "training", "model", "evaluation", "signing", "runtime", "store", "parent")
LINEAGE = ("data", "split", "image", "environment", "revision")
"""What the steps found of the inputs; the model's digest is in its identity."""
RESULTS = ("state", "score", "rows", "holdoutRows", "cutoff", "split", "identity", "bento")


@click.command()
@click.argument("name")
@click.argument("one", type=VersionNumber())
@click.argument("other", type=VersionNumber())
@cluster_options
@output_option("json", "yaml")
def diff(name: str, one: int, other: int, where: Where, output: str) -> None:
    """Show what differs between two versions: data, split, training, images, packages, gates, and what came out of them.

    Of several classes those are named that only one of the two tells apart. Packages that training ran with, and classes that are
    too many for the status, are named where the store can be read as `history --all` reads it; else only that they differ.

    \b
    Examples:
      kubectl perennial diff delays v2 v3
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    place = asking.cluster(where)
    found = asking.model(place, name)
    first, second = (asking.number_or_newest(found, number) for number in (one, other))
    parts = differences(_parts(first), _parts(second))
    changes = [*parts, *_classes(place, found, first, second), *_packages(place, found, first, second)]
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
    from perennial.core import lineage  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    spec, status = version.manifest["spec"], version.manifest.get("status") or {}
    gates = {f"{gate['metric']} {gate['kind']}": gate["message"] for gate in status.get("gates", [])}
    inputs = {name: spec[name] for name in INPUTS if name in spec}
    made_of = lineage.of(version.status).model_dump(mode="json", include=set(LINEAGE), exclude_defaults=True)
    results = {name: status[name] for name in RESULTS if name in status}
    return {**inputs, "lineage": made_of, "result": {**results, "gates": gates}}


def _classes(place: KubeconfigCluster, model: Model, *versions: Version) -> Iterator[tuple[str, Any, Any]]:
    """Of several classes those that only one version tells apart. A store that can't be read is said on standard error."""
    from perennial.api.task import task_of  # noqa: PLC0415
    from perennial.cli import stored  # noqa: PLC0415
    from perennial.core.answers import prepared_of  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    answers = [prepared_of(one.status) for one in versions if task_of(one.spec.data, one.spec.training) == "multiclass"]
    prepared = [answer for answer in answers if answer is not None]
    if len(prepared) < len(versions) or len({answer.schema for answer in prepared}) == 1:
        return
    try:
        names = [_told_apart(place, model, one, answer) for one, answer in zip(versions, prepared, strict=True)]
    except stored.Unreadable as error:
        click.echo(f"which classes differ can't be told: {error}", err=True)
        return
    before, after = (dict.fromkeys(some, "told apart") for some in names)
    yield from differences(before, after, "result.classes")


def _told_apart(place: KubeconfigCluster, model: Model, version: Version, answer: PrepareResult) -> Sequence[str]:
    """A version's classes: from its schema where its status has not all of them."""
    from perennial.cli import stored  # noqa: PLC0415

    if answer.classes and len(answer.classes) == answer.class_count:
        return answer.classes
    return [repr(name) for name in json.loads(stored.blob(place, model, version.spec.store.uri, answer.schema))["classes"]]


def _packages(place: KubeconfigCluster, model: Model, *versions: Version) -> Iterator[tuple[str, Any, Any]]:
    """Packages whose versions differ. A store that can't be read is said on standard error: the digests tell that they do."""
    from perennial.cli import stored  # noqa: PLC0415
    from perennial.core import lineage  # noqa: PLC0415

    digests = [lineage.of(one.status).environment for one in versions]
    if not all(digests) or len(set(digests)) == 1:
        return
    try:
        bodies = [stored.blob(place, model, one.spec.store.uri, digest) for one, digest in zip(versions, digests, strict=True)]
    except stored.Unreadable as error:
        click.echo(f"which packages differ can't be told: {error}", err=True)
        return
    before, after = map(_by_package, bodies)
    yield from differences(before, after, "lineage.packages")


def _by_package(body: bytes) -> dict[str, str]:
    """Version by name, of a list as `perennial_runtime.environment` writes it."""
    pairs = [line.removeprefix("# ").replace("==", " ", 1).split(" ", 1) for line in body.decode().splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


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
