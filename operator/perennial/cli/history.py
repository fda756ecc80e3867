"""`kubectl perennial history`: what was tried, served and taken back, and what people asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from perennial.cli import asking
from perennial.cli.asking import Model, Version, Where, cluster_options, output_option
from perennial.cli.exits import Exit

if TYPE_CHECKING:
    from perennial.api.ledger import LedgerEntry

SHOWN = 12
"""Newest decisions that are listed; all that the cluster keeps with -o wide."""


@click.command()
@click.argument("name")
@click.option("--verify", is_flag=True, help="Say whether the ledger holds, and nothing else; ends with 7 when it does not.")
@cluster_options
@output_option("wide", "json", "yaml")
def history(name: str, verify: bool, where: Where, output: str) -> None:
    """List the versions that are kept, why each was made and how it ended, what people asked for, and the last decisions.

    Decisions are read from the ledger, whose entries are bound to each other by digests.

    \b
    Examples:
      kubectl perennial history delays
      kubectl perennial history delays -o json
      kubectl perennial history delays --verify
    """
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none

    found = asking.model(asking.cluster(where), name)
    if verify:
        broken = _broken(found)
        if broken:  # versions are read after their model, which may have gone on between the two
            found = asking.model(asking.cluster(where), name)
            broken = _broken(found)
        if broken:
            asking.fail(Exit.BROKEN, f"{name}: the ledger does not hold: {broken}")
        whole = found.status.ledger
        click.echo(f"{name}: the ledger holds: {len(whole.entries)} of its {whole.length} entries are here")
        return
    if output in ("json", "yaml"):
        ledger = found.status.ledger.model_dump(mode="json", by_alias=True)
        records = [one.model_dump(mode="json", by_alias=True) for one in found.status.requests]
        screen.document({"versions": [_told(one) for one in found.versions], "requests": records, "ledger": ledger}, output)
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
    decisions = found.status.ledger.entries[None if wide else -SHOWN :]
    if decisions:
        click.echo()
        screen.table(["DECISION", "WHEN", "OF", "WHY"], [_decision(one, wide=wide) for one in decisions])


def _broken(model: Model) -> str:
    """What is wrong with the ledger's chain, or with a version's copy of it; empty: nothing."""
    from perennial.core import ledger  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    whole = model.status.ledger
    broken = ledger.problem(whole.entries) or ledger.gap(whole)
    for version in model.versions:
        said = ledger.copies_problem(whole, version.number, version.status.ledger)
        broken = broken or (said and f"v{version.number}: {said}")
    return broken


def _row(version: Version, *, wide: bool) -> list[str]:
    trigger, status = version.spec.trigger, version.status
    because = f"{trigger.reason}: {trigger.message}" if wide and trigger.message else trigger.reason
    why = status.message if wide else _short(status.message)
    made = str(version.manifest["metadata"].get("creationTimestamp", "-"))
    return [f"v{version.number}", made, because, status.state, _second(status.served_at), _second(status.finished_at), why]


def _second(stamp: str | None) -> str:
    """A time to the second, as Kubernetes' own."""
    return f"{stamp[:19]}Z" if stamp else "-"


def _request(model: Model, index: int) -> list[str]:
    record = model.status.requests[index]
    return [f"{record.verb} {record.argument}".rstrip(), _second(record.handled_at), record.requested_by, record.outcome]


def _decision(entry: LedgerEntry, *, wide: bool) -> list[str]:
    facts = "; ".join(f"{name} {value}" for name, value in entry.facts.items())
    why = f"{entry.message}{facts and f' ({facts})'}" if wide else _short(entry.message)
    return [entry.what, _second(entry.at), f"v{entry.version}" if entry.version else "-", why]


def _short(words: str) -> str:
    return words[:80] + ("..." if len(words) > 80 else "")


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
