"""The verbs that ask the operator for something: each sets one annotation, and who asks in another, and says what became of it.

`kubectl annotate` does the same. With its own id a request is carried out once, however often the annotation comes, and its
answer is found in `status.requests`.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from perennial.cli import asking
from perennial.cli.asking import Duration, Model, VersionNumber, Where, cluster_options, output_option
from perennial.cli.exits import Ended, Exit, of_version, with_ends
from perennial_runtime.contract import GROUP

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial.api.v1alpha1 import RequestRecord

REFUSED = "refused: "
ANSWER_SECONDS = 15.0
"""An operator that runs answers within a second or two."""
WAITED_SECONDS = 60.0
"""So long at most with --wait: a version that has to be made may be refused by the cluster for a while."""

Goal = Callable[[Model], Ended | None]
"""What --wait waits for: how it ended, or None."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of how to ask."""

    where: Where
    output: str
    wait: bool
    timeout: float | None


def request_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Options of every verb that asks for something; the verb gets them as `options`."""

    @functools.wraps(with_ends(verb))
    def take(where: Where, output: str, wait: bool, timeout: float | None, **given: Any) -> None:
        verb(options=Options(where, output, wait, timeout), **given)

    waiting = click.option("--wait", is_flag=True, help="Wait until it has happened, and tell on standard error what goes on.")
    seconds = click.option(
        "--timeout", type=Duration(), help="How long at most: 90s, 30m. Default: 15s for the operator's answer, 1h with --wait."
    )
    return output_option("json")(waiting(seconds(cluster_options(take))))


def ask(options: Options, name: str, verb: str, argument: str, goal: Callable[[Model, Model], Goal]) -> None:
    """Sets the annotation, waits for the operator's answer and, where that is asked for, until the goal is reached. Ends the
    program. `goal` is worked out from the model before the request and the model with the answer."""
    place = asking.cluster(options.where)
    before = asking.model(place, name)
    key, token = f"{GROUP}/{verb}", secrets.token_hex(8)
    waiting = before.manifest["metadata"].get("annotations", {}).get(key)
    if waiting is not None:
        words = f"the request {key}={waiting!r} is there and was not carried out yet: does the operator run?"
        asking.fail(Exit.WAITING, f"{name}: {words}")
    asking.annotate(place, name, key, f"{argument};id={token}")
    began = time.monotonic()
    seconds = options.timeout if options.timeout is not None else (3600.0 if options.wait else ANSWER_SECONDS)
    patience = min(seconds, WAITED_SECONDS)
    answered = _answered(place, name, verb, token, patience)
    if answered is None:
        asking.fail(Exit.WAITING, f"{name}: {_unanswered(asking.model(place, name), key, token, patience)}")
    found, record = answered
    refused = record.outcome.startswith(REFUSED)
    if refused or not options.wait:
        _end(options, found, record, Ended(Exit.REFUSED if refused else Exit.DONE, record.outcome))
    reached, last = goal(before, found), ""
    for now in asking.looks(place, name, seconds - (time.monotonic() - began)):
        ended = reached(now)
        if ended is not None:
            _end(options, now, record, ended)
        last = _tell(now, last, time.monotonic() - began)
    _end(options, found, record, Ended(Exit.WAITING, f"not ended within {seconds:.0f} s: {last}"))


def _unanswered(found: Model, key: str, token: str, seconds: float) -> str:
    """Why there is no answer yet, as far as the model tells."""
    if token not in str(found.manifest["metadata"].get("annotations", {}).get(key, "")):
        return f"the request was replaced by another one of {key}: ask again"
    refused = next((one.message for one in found.status.conditions if one.type == "WritesRefused" and one.status == "True"), "")
    words = f"the operator has not answered within {seconds:.0f} s; the annotation stays, and is carried out when it does"
    return f"{words}{refused and f'; the cluster refuses what it writes: {refused}'}"


def _answered(place: KubeconfigCluster, name: str, verb: str, token: str, seconds: float) -> tuple[Model, RequestRecord] | None:
    for found in asking.looks(place, name, seconds):
        for record in found.status.requests:
            if record.verb == verb and record.id == token:
                return found, record
    return None


def _tell(found: Model, last: str, seconds: float) -> str:
    """What goes on, once each time that it becomes something else."""
    if found.progress != last:
        click.echo(f"[{seconds:4.0f}s] {found.progress}", err=True)
    return found.progress


def _end(options: Options, found: Model, record: RequestRecord, ended: Ended) -> None:
    """The last word, and the program's end."""
    words = asking.as_verbs(ended.words, found)
    if options.output == "json":
        told = {
            "name": found.name,
            "namespace": found.namespace,
            "verb": record.verb,
            "argument": record.argument,
            "id": record.id,
            "requestedBy": record.requested_by,
        }
        click.echo(json.dumps({**told, "outcome": record.outcome, "end": ended.exit.name, "message": words}, indent=2))
    else:
        click.echo(f"{found.name}: {words}", err=ended.exit is Exit.REFUSED)
    raise SystemExit(int(ended.exit))


def _now(before: Model, answered: Model) -> Goal:
    """Nothing to wait for: what was asked for is in the answer."""
    return lambda found: Ended(Exit.DONE, "done")


def _serves(number: int | None) -> Goal:
    def reached(found: Model) -> Ended | None:
        if number is not None and found.status.stable == number and found.status.returning is None:
            return Ended(Exit.DONE, f"v{number} has the requests")
        return None

    return reached


def _ended(number: int, before: Model | None = None) -> Goal:
    """`before`: how the version stood then is no end; its status is written a moment after the answer."""
    old = before.version(number) if before else None

    def reached(found: Model) -> Ended | None:
        version = found.version(number)
        if old is not None and version is not None and version.status == old.status:
            return None
        return of_version(found.spec, found.status, number, version.status if version else None)

    return reached


def _gone(number: int | None) -> Goal:
    def reached(found: Model) -> Ended | None:
        has = any(one.version == number and one.weight for one in found.status.weights)
        return None if has or found.status.returning is not None else Ended(Exit.DONE, f"v{number} gets no requests")

    return reached


def _under_way(found: Model) -> int | None:
    """The candidate, or the version that is watched."""
    watched = found.status.rollout.candidate if found.status.rollout else None
    return found.status.candidate or watched


@click.command()
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
def promote(options: Options, name: str, number: int | None) -> None:
    """Give a candidate all requests now; in a watch: end it.

    The remaining steps are left out. NUMBER makes sure that it is the version that is meant.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/promote=3

    \b
    Examples:
      kubectl perennial promote delays
      kubectl perennial promote delays v3
    """
    ask(options, name, "promote", _argument(number), lambda before, found: _serves(number or _under_way(before)))


@click.command()
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
def abort(options: Options, name: str, number: int | None) -> None:
    """Take the candidate, or the version that is watched, back.

    It is quarantined; one that had no request yet is only ended. NUMBER makes sure that it is the version that is meant.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/abort=3

    \b
    Examples:
      kubectl perennial abort delays --wait
    """
    ask(options, name, "abort", _argument(number), lambda before, found: _gone(number or _under_way(before)))


@click.command()
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
def approve(options: Options, name: str, number: int | None) -> None:
    """Say yes to a version that has passed its gates, where spec.approval asks for it.

    Its rollout begins then. See its numbers before: `kubectl perennial explain NAME`. NUMBER makes sure that it is the version
    that is meant; with --wait until it serves or has ended.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/approve=3

    \b
    Examples:
      kubectl perennial approve delays v3
      kubectl perennial approve delays v3 --wait
    """
    ask(options, name, "approve", _argument(number), lambda before, found: _ended(number or found.status.latest))


@click.command()
@request_options
@click.argument("name")
@click.option("--to", "number", type=VersionNumber(), help="Default: the last version that served and was not taken back.")
def rollback(options: Options, name: str, number: int | None) -> None:
    """Return all requests to an older version, now.

    Its whole tuple comes back: model, preprocessing, runtime image. Nothing new is rolled out afterwards until the spec's inputs
    change, or resume.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/rollback-to=1

    \b
    Examples:
      kubectl perennial rollback delays
      kubectl perennial rollback delays --to 1 --wait
    """

    def goal(before: Model, found: Model) -> Goal:
        return _serves(found.status.returning.version if found.status.returning else found.status.stable)

    ask(options, name, "rollback-to", _argument(number), goal)


@click.command()
@request_options
@click.argument("name")
@click.option("--because", metavar="WORDS", default="", help="Kept with the version that is made.")
def retrain(options: Options, name: str, because: str) -> None:
    """Train, judge and roll out a new version of the spec as it is.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/retrain="July is there"

    \b
    Examples:
      kubectl perennial retrain delays --because "July is there"
      kubectl perennial retrain delays --wait --timeout 2h
    """
    if ";" in because:
        raise click.BadParameter("a ; ends an argument: leave it out", param_hint="--because")
    ask(options, name, "retrain", because, lambda before, found: _ended(found.status.latest))


@click.command()
@request_options
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
def retry(options: Options, name: str, number: int | None) -> None:
    """Try the newest version once more, from where it failed or was ended.

    What it has done already is not done again. NUMBER makes sure that it is the version that is meant.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/retry=3

    \b
    Examples:
      kubectl perennial retry delays --wait
    """
    ask(options, name, "retry", _argument(number), lambda before, found: _ended(found.status.latest, before))


@click.command()
@request_options
@click.argument("name")
def pause(options: Options, name: str) -> None:
    """Start nothing and raise no weight until resume.

    What is under way is measured on, and taken back when it does harm.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/pause=

    \b
    Examples:
      kubectl perennial pause delays
    """
    ask(options, name, "pause", "", _now)


@click.command()
@request_options
@click.argument("name")
def resume(options: Options, name: str) -> None:
    """Roll new versions out again, after pause or rollback.

    \b
    The same by hand:
      kubectl annotate mdep delays perennial.dev/resume=

    \b
    Examples:
      kubectl perennial resume delays
    """
    ask(options, name, "resume", "", _now)


def _argument(number: int | None) -> str:
    return "" if number is None else str(number)
