"""`kubectl perennial watch`: what a model does, live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial.cli import asking
from perennial.cli.asking import Duration, Model, Where, cluster_options
from perennial.cli.exits import Ended, Exit, of_version, with_ends

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER = 10.0 * 365 * 24 * 3600


@click.command()
@click.argument("name")
@click.option("--forever", is_flag=True, help="Go on after the newest version's end; Ctrl+C ends it.")
@click.option("--timeout", type=Duration(), default=FOREVER, help="How long at most: 90s, 2h. Default: no limit.")
@cluster_options
@with_ends
def watch(name: str, forever: bool, timeout: float, where: Where) -> None:
    """Show live what a model does: shares, evidence against its threshold, requests, time left.

    It ends when the newest version has come to its end, its watch after the promotion too, and by it. Where standard output is no
    terminal, a line is printed for each change.

    \b
    Examples:
      kubectl perennial watch delays
      kubectl perennial watch delays --timeout 1h > rollout.log
    """
    place = asking.cluster(where)
    asking.model(place, name)  # a name that is not there is told before the screen is taken
    ended = _show(asking.looks(place, name, timeout), forever=forever)
    click.echo(f"{name}: {ended.words}")
    raise SystemExit(int(ended.exit))


def end(model: Model) -> Ended | None:
    """How the newest version ended, once nothing is under way; None before."""
    status = model.status
    if _is_busy(model):
        return None
    version = model.version(status.latest)
    ended = of_version(model.spec, status, status.latest, version.status if version else None)
    stalled = next((one for one in status.conditions if one.type == "Stalled" and one.status == "True"), None)
    if stalled is not None and (ended is None or ended.exit is Exit.DONE):
        return Ended(Exit.WAITING, f"{stalled.reason}: {stalled.message}")
    return ended


def _is_busy(model: Model) -> bool:
    """Whether something is under way, or is about to be: a change that was not seen yet, a request, a version to be taken up."""
    from perennial.core import requests  # noqa: PLC0415 - with the API's models, and --help needs none

    status, metadata = model.status, model.manifest["metadata"]
    newest = model.versions[0].number if model.versions else 0
    unseen = status.observed_generation < int(metadata.get("generation", 0)) or newest > status.latest or not status.latest
    asked = bool(requests.found(metadata.get("annotations") or {}))
    reconciling = any(one.type == "Reconciling" and one.status == "True" for one in status.conditions)
    held = status.rollout is not None and bool(status.rollout.breach)
    under_way = status.returning is not None or (status.rollout is not None and not held)
    return unseen or asked or under_way or (reconciling and not held)


def _show(looks: Iterator[Model], *, forever: bool) -> Ended:
    from rich.live import Live  # noqa: PLC0415 - rich, and --help needs none

    from perennial.cli.frame import Track, frame, line  # noqa: PLC0415
    from perennial.cli.screen import console  # noqa: PLC0415

    track, last, screen = Track(), "", console()
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        for found in looks:
            now = datetime.now(UTC)
            track.see(found)
            if screen.is_terminal:
                live.update(frame(found, track, now), refresh=True)
            elif (words := line(found, now)) != last:
                last = words
                click.echo(f"{now:%H:%M:%S} {words}")
            ended = None if forever else end(found)
            if ended is not None:
                return ended
    return Ended(Exit.WAITING, "still under way")
