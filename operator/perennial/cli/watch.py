"""`kubectl perennial watch`: what a model does, live."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial.cli import asking
from perennial.cli.asking import Duration, Model, Where, cluster_options
from perennial.cli.exits import Ended, Exit, of_version, with_ends

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perennial.api.base import Condition

FOREVER = 10.0 * 365 * 24 * 3600
READY_SECONDS = 30.0
"""So long at most a version that serves may not be reached: its route is accepted, its pods are ready a moment later."""


@click.command()
@click.argument("name")
@click.option("--forever", is_flag=True, help="Go on after the newest version's end; Ctrl+C ends it.")
@click.option("--timeout", type=Duration(), default=FOREVER, help="How long at most: 90s, 2h. Default: no limit.")
@cluster_options
@with_ends
def watch(name: str, forever: bool, timeout: float, where: Where) -> None:
    """Show live what a model does: shares, evidence against its threshold, requests, time left.

    It ends when the newest version has come to its end, its watch after the promotion too, and by it. Where standard output is no
    terminal, a line is printed for each change, also of a condition that tells what is waited for or what is wrong.

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

    from perennial.cli.frame import Track, frame  # noqa: PLC0415
    from perennial.cli.screen import console  # noqa: PLC0415

    track, told, screen = Track(), _Told(), console()
    unready: datetime | None = None
    why = ""
    with Live(console=screen, auto_refresh=False, transient=False) as live:
        for found in looks:
            now = datetime.now(UTC)
            track.see(found)
            if screen.is_terminal:
                live.update(frame(found, track, now), refresh=True)
            else:
                for words in told.news(found, now):
                    click.echo(f"{now:%H:%M:%S} {words}")
            why = _why(found)
            ended = None if forever else end(found)
            is_hidden = ended is not None and ended.exit is Exit.DONE and not _is_ready(found)
            unready = (unready or now) if is_hidden else None
            if ended is not None and unready is None:
                return Ended(ended.exit, asking.as_verbs(ended.words, found))
            if ended is not None and unready is not None and (now - unready).total_seconds() >= READY_SECONDS:
                return Ended(Exit.WAITING, f"{ended.words}; but it is not Ready: {why}")
    return Ended(Exit.WAITING, f"still under way: {why}")


@dataclass(slots=True)
class _Told:
    """What was said where standard output is no terminal."""

    last: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    """Of conditions, by their type."""

    def news(self, model: Model, now: datetime) -> Iterator[str]:
        """The lines of what has become something else. Numbers in a condition's words move all the time, and are none."""
        from perennial.cli.frame import line  # noqa: PLC0415

        words = line(model, now)
        if words != self.last:
            self.last = words
            yield words
        found = _held_by(model)
        for one in found:
            if self.reasons.get(one.type) != one.reason:
                yield asking.as_verbs(f"{one.type}={one.status} {one.reason}: {one.message}", model)
        gone = self.reasons.keys() - {one.type for one in found}
        yield from (f"{kind} {self.reasons[kind]} is over" for kind in sorted(gone))
        self.reasons = {one.type: one.reason for one in found}


def _held_by(model: Model) -> list[Condition]:
    """Conditions that tell what is waited for or what is wrong."""
    from perennial.cli.frame import is_trouble  # noqa: PLC0415

    def holds(one: Condition) -> bool:
        lacks = one.type == "Measured" and one.reason != "EveryPodRead"
        return is_trouble(one) or lacks or (one.type == "Stalled" and one.status == "True")

    return [one for one in model.status.conditions if holds(one)]


def _why(model: Model) -> str:
    """What is waited for, each reason once; else what goes on."""
    reasons = {one.message: one.reason for one in _held_by(model)}
    words = "; ".join(f"{reason}: {message}" for message, reason in reasons.items())
    return asking.as_verbs(words, model) or model.progress


def _is_ready(model: Model) -> bool:
    return not any(one.type == "Ready" and one.status == "False" for one in model.status.conditions)
