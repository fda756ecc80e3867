"""`kubectl perennial history`: what was tried, served and taken back, and what people asked for."""

from __future__ import annotations

from typing import Any

import click

from perennial.cli import asking
from perennial.cli.asking import Model, Version, Where, cluster_options, output_option


@click.command()
@click.argument("name")
@cluster_options
@output_option("wide", "json", "yaml")
def history(name: str, where: Where, output: str) -> None:
    """List the versions that are kept, why each was made and how it ended, and what people asked for last and who they were.

    \b
    Examples:
      kubectl perennial history delays
      kubectl perennial history delays -o json
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    found = asking.model(asking.cluster(where), name)
    if output in ("json", "yaml"):
        records = [one.model_dump(mode="json", by_alias=True) for one in found.status.requests]
        screen.document({"versions": [_told(one) for one in found.versions], "requests": records}, output)
        return
    wide = output == "wide"
    screen.table(
        ["VERSION", "MADE", "BECAUSE", "STATE", "SERVED FROM", "ENDED", "WHY"],
        [_row(one, wide=wide) for one in found.versions],
    )
    if found.status.requests:
        click.echo()
        screen.table(
            ["REQUEST", "WHEN", "BY", "OUTCOME"], [_request(found, index) for index in range(len(found.status.requests))]
        )


def _row(version: Version, *, wide: bool) -> list[str]:
    trigger, status = version.spec.trigger, version.status
    because = f"{trigger.reason}: {trigger.message}" if wide and trigger.message else trigger.reason
    why = status.message if wide else status.message[:80] + ("..." if len(status.message) > 80 else "")
    made = str(version.manifest["metadata"].get("creationTimestamp", "-"))
    return [f"v{version.number}", made, because, status.state, _second(status.served_at), _second(status.finished_at), why]


def _second(stamp: str | None) -> str:
    """A time to the second, as Kubernetes' own."""
    return f"{stamp[:19]}Z" if stamp else "-"


def _request(model: Model, index: int) -> list[str]:
    record = model.status.requests[index]
    return [f"{record.verb} {record.argument}".rstrip(), _second(record.handled_at), record.requested_by, record.outcome]


def _told(version: Version) -> dict[str, Any]:
    status = version.status
    return {
        "version": version.number,
        "made": version.manifest["metadata"].get("creationTimestamp"),
        "trigger": version.spec.trigger.model_dump(mode="json", by_alias=True),
        "state": status.state,
        "servedAt": status.served_at,
        "finishedAt": status.finished_at,
        "score": status.score,
        "message": status.message,
    }
