"""`kubectl perennial history`: what was tried, served and taken back, and what people asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perennial.cli import asking
from perennial.cli.asking import Model, Version, Where, cluster_options, output_option
from perennial.cli.exits import Exit
from perennial_runtime.chain import Broken, Link, chained

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial.api.ledger import LedgerEntry

ASKED = ("Request", "RequestRefused")
"""Decisions that tell of a request."""
SHOWN = 12
"""Newest decisions that are listed; all that the cluster has with -o wide."""


@click.command()
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="List every decision: those that only the store has, too.")
@click.option(
    "--verify",
    is_flag=True,
    help="Say whether the ledger holds, in the store and in the cluster, and nothing else; ends with 7 when it does not.",
)
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="With --verify: what was downloaded from the store, and nothing else; no cluster is asked, nor whether it is NAME's.",
)
@click.option(
    "--begins",
    type=click.IntRange(min=1),
    default=1,
    metavar="NUMBER",
    help="With --from: the entry from which on there is to be no gap, as in status.ledger.begins. Default: 1.",
)
@cluster_options
@output_option("wide", "json", "yaml")
def history(name: str, *, everything: bool, verify: bool, folder: Path | None, begins: int, where: Where, output: str) -> None:
    """List the versions that are kept, why each was made and how it ended, what people asked for, and the last decisions.

    Decisions are read from the ledger, whose entries are bound to each other by digests. The cluster has the newest of them; for
    the others, the store is read with AWS_ACCESS_KEY_ID and the like, or with the Secret that serving pods have.

    \b
    Examples:
      kubectl perennial history delays
      kubectl perennial history delays --all -o json
      kubectl perennial history delays --verify
      kubectl perennial history delays --verify --from ./ledger
    """
    if folder is not None:
        if not verify:
            raise click.UsageError("--from goes with --verify")
        _verify_files(folder, begins)
        return
    if begins != 1:
        raise click.UsageError("--begins goes with --from: the status says itself where the ledger begins")
    place = asking.cluster(where)
    if verify:
        _verify(place, name)
        return
    found = asking.model(place, name)
    _show(found, _decisions(place, found, everything=everything), output, everything=everything)


def _show(found: Model, decisions: list[LedgerEntry], output: str, *, everything: bool) -> None:
    from perennial.cli import screen  # noqa: PLC0415 - rich, and --help needs none
    from perennial.core.requests import REMEMBERED  # noqa: PLC0415 - with the API's models

    if output in ("json", "yaml"):
        whole = found.status.ledger.model_dump(mode="json", by_alias=True)
        ledger = {**whole, "entries": [one.model_dump(mode="json", by_alias=True) for one in decisions]}
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
    if len(found.status.requests) >= REMEMBERED or len(found.status.requests) < sum(one.what in ASKED for one in decisions):
        click.echo("older requests are not remembered here, but are among the decisions: --all", err=True)
    shown = decisions[None if wide or everything else -SHOWN :]
    if shown:
        click.echo()
        screen.table(["DECISION", "WHEN", "OF", "WHY"], [_decision(one, wide=wide) for one in shown])
    length = found.status.ledger.length
    if len(shown) < length:
        more = "" if wide or len(shown) == len(decisions) else "-o wide lists those that the cluster has, "
        click.echo(f"these are the last {len(shown)} of {length:,} decisions: {more}--all every one", err=True)


def _decisions(place: KubeconfigCluster, found: Model, *, everything: bool) -> list[LedgerEntry]:
    """Those that the cluster has; before them those that only the store has, if everything is asked for."""
    kept = found.status.ledger.entries
    if not everything:
        return kept
    try:
        links = _links(place, found)
    except Broken as error:
        asking.fail(Exit.BROKEN, f"{found.name}: the ledger does not hold: {error}")
    first = kept[0].number if kept else found.status.ledger.length + 1
    return [*(_stored_entry(found.name, one) for one in links if one.number < first), *kept]


def _stored_entry(name: str, one: Link) -> LedgerEntry:
    """An entry from its line. Ends the program where it holds in the chain and is none all the same."""
    from pydantic import ValidationError  # noqa: PLC0415 - --help needs none

    from perennial.api.ledger import LedgerEntry  # noqa: PLC0415

    try:
        return LedgerEntry.model_validate_json(one.line)
    except ValidationError:
        asking.fail(Exit.BROKEN, f"{name}: entry {one.number} in the store is none that this release knows")


def _links(place: KubeconfigCluster, found: Model) -> list[Link]:
    """The entries in the store. Raises Broken; ends the program when it cannot be read, unless nothing is said to be there."""
    from perennial.cli import stored  # noqa: PLC0415
    from perennial.core import ledger  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    try:
        return chained(stored.objects(place, found), ledger.begins_of(found.status.ledger))
    except stored.Unreadable as error:
        if found.status.ledger.stored is not None:
            asking.fail(Exit.NO_ANSWER, f"{found.name}: {error}")
        click.echo(f"{found.name}: nothing is said to be stored, and the store was not looked at: {error}", err=True)
        return []


def _verify(place: KubeconfigCluster, name: str) -> None:
    found = asking.model(place, name)
    broken, links = _broken(place, found)
    if broken:  # versions and store are read after their model, which may have gone on between the two
        found = asking.model(place, name)
        broken, links = _broken(place, found)
    if broken:
        asking.fail(Exit.BROKEN, f"{name}: the ledger does not hold: {broken}")
    whole = found.status.ledger
    here = {entry.number for entry in whole.entries}
    both = len(here | {one.number for one in links})
    words = f"{both} of its {whole.length} entries are here" + (f", {len(links)} of them in the store" if links else "")
    if both < whole.length:
        words += f"; it begins with entry {whole.begins}, and what is missing before was lost before it was stored"
    click.echo(f"{name}: the ledger holds: {words}")


def _verify_files(folder: Path, begins: int) -> None:
    """What there is in a folder: from entry `begins` on without a gap. Entries do not say whose they are."""
    from perennial.cli import stored  # noqa: PLC0415

    try:
        links = chained(stored.downloaded(folder), begins)
    except stored.Unreadable as error:
        asking.fail(Exit.NO_ANSWER, str(error))
    except Broken as error:
        hint = "; where status.ledger.begins is another number, say it by --begins" if str(error).endswith("is missing") else ""
        asking.fail(Exit.BROKEN, f"{folder}: the ledger does not hold: {error}{hint}")
    last = links[-1]
    words = f"the files hold entries {links[0].number} to {last.number}; digest of the last one: {last.digest}"
    click.echo(f"{folder}: {words}; it is a model's own where its status.ledger.stored.digest is the same")


def _broken(place: KubeconfigCluster, model: Model) -> tuple[str, list[Link]]:
    """(what is wrong with the chain, with a version's copy of it or with the store; empty: nothing, entries in the store)."""
    from perennial.core import ledger  # noqa: PLC0415 - with the operator's decisions, and --help needs none

    whole = model.status.ledger
    broken = ledger.problem(whole.entries) or ledger.gap(whole)
    for version in model.versions:
        said = ledger.copies_problem(whole, version.number, version.status.ledger)
        broken = broken or (said and f"v{version.number}: {said}")
    if broken:
        return broken, []
    try:
        links = _links(place, model)
    except Broken as error:
        return str(error), []
    return ledger.stored_problem(whole, links), links


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
