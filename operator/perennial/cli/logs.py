"""`kubectl perennial logs`: what the pods of a step wrote, by the person's own rights; and what is left when they are gone."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from perennial.cli import asking
from perennial.cli.asking import Manifest, Model, Version, VersionNumber, Where, cluster_options
from perennial.cli.exits import Exit
from perennial_runtime.contract import GROUP, Container, Step, log_path

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial.api.version import StepRecord

SERVE, METRIC = "serve", "metric"
KEPT: Final = {
    Step.PREPARE: (Container.PREPARE,),
    Step.TRAIN: (Container.FETCH, Container.TRAIN, Container.REPORTER),
    Step.EVALUATE: (Container.EVALUATE,),
}
"""Containers whose end of text our steps leave in the store."""
BEFORE_EVALUATE: Final = (Container.SCORE, Container.METRICS)
"""Those of an evaluation that measures metrics of the user's own."""
HAS_PODS: Final = ("Deploying", "Canary", "Serving")
"""States in which a version's serving pods are there, or are being made."""
STEPS: Final = (*map(str, KEPT), SERVE, METRIC)

MOST_WAITING = 1000
"""Lines that were read and not printed yet: a reader that is slow holds the pods' logs back, not this program's memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose words are asked for. `attempt` of a metric is the number of the run; 0: every one."""

    model: Model
    version: Version
    step: str
    attempt: int

    @property
    def words(self) -> str:
        of = f", {'run' if self.step == METRIC else 'attempt'} {self.attempt}" if self.attempt else ""
        return f"{self.model.name} v{self.version.number} {self.step}{of}"

    @property
    def record(self) -> StepRecord | None:
        """What the operator recorded of it."""
        steps = self.version.status.steps
        return next((one for one in steps if (one.step, one.attempt) == (self.step, self.attempt)), None)


@dataclass(frozen=True, slots=True)
class How:
    """What the command line says of how to print."""

    container: str | None
    follow: bool
    previous: bool
    lines: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """One container of one pod."""

    pod: str
    container: str
    over: bool
    """The pod has ended: nothing more will come."""

    @property
    def prefix(self) -> str:
        return f"[pod/{self.pod}/{self.container}] "


Came = queue.Queue[tuple[Source, str | Exception | None]]


@click.command()
@click.argument("name")
@click.argument("number", type=VersionNumber(), required=False)
@click.option("--step", type=click.Choice(STEPS), help="Default: the pods that serve, else the newest step.")
@click.option("--attempt", type=click.IntRange(1), help="Of the step. Default: the newest one.")
@click.option("-c", "--container", metavar="NAME", help="Default: all of them, each line with its pod and container.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the pods end; Ctrl+C ends it.")
@click.option("--tail", "lines", type=click.IntRange(0), help="Only so many of the last lines of each container.")
@click.option("-p", "--previous", is_flag=True, help="Of the container's instance before its last restart.")
@cluster_options
def logs(name: str, number: int | None, where: Where, step: str | None, attempt: int | None, **how: Any) -> None:
    """Print what the containers of a step of a version wrote.

    Without NUMBER: where it is of serving pods, the newest version that serves or is being tried, else the newest version.

    Pods of a version's last Jobs stay, so this reads them too when they have ended. When a pod is gone, what the operator
    recorded of its end is told, and the last lines that the store keeps of its containers, without credentials. It needs to
    list pods and get pods/log in the namespace, which the cluster's role view may; the store it reads as `history --all` does.

    \b
    Examples:
      kubectl perennial logs delays
      kubectl perennial logs delays v3 --step train --attempt 1 -c train
      kubectl perennial logs delays --step serve --follow --tail 20
    """
    options = How(**how)
    if options.follow and options.previous:
        raise click.UsageError("what --previous shows has ended: leave out --follow")
    place = asking.cluster(where)
    found = asking.model(place, name)
    wanted = _wanted(found, asking.number_or_newest(found, _meant(found, step) if number is None else number), step, attempt)
    sources = _sources(asking.pods(place, _selector(wanted)), wanted, options.container)
    if not sources:
        _gone(place, wanted, options)
    printed = _followed(place, sources, options) if options.follow else _printed(place, sources, options)
    raise SystemExit(int(Exit.DONE if printed else Exit.NO_ANSWER))


def _meant(model: Model, step: str | None) -> int | None:
    """The version that a person means who names none; None: the newest."""
    if step not in (None, SERVE):
        return None
    return next((one.number for one in model.versions if one.status.state in HAS_PODS), None)


def _wanted(model: Model, version: Version, step: str | None, attempt: int | None) -> Wanted:
    """Which step and attempt are meant. Ends the program when there is no such one."""
    status = version.status
    if step is None:
        newest = status.steps[-1].step if status.steps else None
        step = SERVE if status.state in HAS_PODS else newest
    if step is None:
        asking.fail(Exit.NO_ANSWER, f"{model.name}: v{version.number} has begun no step yet: {status.message or status.state}")
    if step == SERVE:
        if attempt is not None:
            raise click.UsageError("--attempt is of a step's Jobs: pods that serve have none")
        return Wanted(model, version, step, 0)
    if step == METRIC:
        return Wanted(model, version, step, attempt or 0)
    known = [one.attempt for one in status.steps if one.step == step]
    if not known or attempt not in (None, *known):
        there = f"attempts of it: {', '.join(map(str, known))}" if known else "no attempt of it was begun"
        asking.fail(Exit.NO_ANSWER, f"{model.name}: v{version.number} has no such {step}: {there}")
    return Wanted(model, version, step, attempt or known[-1])


def _selector(wanted: Wanted) -> str:
    """The labels of its pods; a metric's have no version."""
    labels = {f"{GROUP}/model": wanted.model.name}
    if wanted.step != METRIC:
        labels[f"{GROUP}/version"] = str(wanted.version.number)
    labels |= {f"{GROUP}/role": SERVE} if wanted.step == SERVE else {f"{GROUP}/step": wanted.step}
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _sources(pods: Sequence[Manifest], wanted: Wanted, container: str | None) -> list[Source]:
    """The containers of the pods that are meant, in the order in which they start. Ends the program at an unknown container."""
    job = f"{wanted.model.name}-v{wanted.version.number}-{wanted.step}-"
    found, names = [], []
    for pod in pods:
        of = str(pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name", ""))
        if wanted.step != SERVE and (of != f"{job}{wanted.attempt}" if wanted.attempt else not of.startswith(job)):
            continue
        over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        for one in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            names.append(one["name"])
            found.append(Source(pod["metadata"]["name"], one["name"], over))
    if container is not None and found and container not in names:
        asking.fail(Exit.NO_ANSWER, f"{wanted.words}: no container {container!r}; there are {', '.join(dict.fromkeys(names))}")
    return [one for one in found if container in (None, one.container)]


def _printed(place: KubeconfigCluster, sources: Sequence[Source], how: How) -> bool:
    """Prints one container after the other; whether any had a log."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415 - the client costs half a second

    printed = False
    for source in sources:
        try:
            for line in place.log(source.pod, source.container, previous=how.previous, follow=False, lines=how.lines):
                _print(source, line, alone=len(sources) == 1)
            printed = True
        except NoAnswer as error:
            click.echo(f"{source.prefix}{error}", err=True)
    return printed


def _print(source: Source, line: str, *, alone: bool) -> None:
    click.echo(line if alone else f"{source.prefix}{line}")


def _followed(place: KubeconfigCluster, sources: Sequence[Source], how: How) -> bool:
    """Prints all containers at once as their lines come, until the last one ends; whether any had a log."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    came: Came = queue.Queue(MOST_WAITING)
    for source in sources:
        threading.Thread(target=_read, args=(place, source, how, came), daemon=True).start()
    left, failed = len(sources), 0
    while left:
        source, what = came.get()
        match what:
            case None:
                left -= 1
            case str():
                _print(source, what, alone=len(sources) == 1)
            case NoAnswer():
                failed += 1
                click.echo(f"{source.prefix}{what}", err=True)
            case Exception():
                raise what
    return failed < len(sources)


def _read(place: KubeconfigCluster, source: Source, how: How, came: Came) -> None:
    """Puts the lines of a container into the queue as they come, what went wrong, and None at its end."""
    try:
        for line in _lines(place, source, how):
            came.put((source, line))
    except Exception as error:  # noqa: BLE001 - of a thread, and a fault must not look like the log's end
        came.put((source, error))
    finally:
        came.put((source, None))


def _lines(place: KubeconfigCluster, source: Source, how: How) -> Iterator[str]:
    """Of a container that may not have started yet. Raises NoAnswer."""
    from perennial.adapters.kubeconfig import NotStarted  # noqa: PLC0415

    while True:
        try:
            yield from place.log(source.pod, source.container, previous=False, follow=True, lines=how.lines)
        except NotStarted:
            if source.over:
                raise
            time.sleep(asking.LOOK_SECONDS)
        else:
            return


def _gone(place: KubeconfigCluster, wanted: Wanted, how: How) -> NoReturn:
    """Tells what is left of what ran in pods that are not there, and ends the program."""
    record = wanted.record
    if record is None:
        kept = " of pods that serve or measure nothing is kept" if wanted.version.status.steps else ""
        words = f"{wanted.words}: it has no pod (v{wanted.version.number} is {wanted.version.status.state});{kept}"
        asking.fail(Exit.NO_ANSWER, words.rstrip(";"))
    if record.state == "Running":
        asking.fail(Exit.NO_ANSWER, f"{wanted.words}: its pod is not there yet: {record.message or 'it is being made'}")
    said = ": ".join(part for part in (record.reason, record.message) if part)
    end = f"it ended at {record.finished_at or 'an unknown time'} as {record.state}{f': {said}' if said else ''}"
    click.echo(f"{wanted.words}: its pod is gone, and its log with it\n{end}", err=True)
    raise SystemExit(int(Exit.DONE if _kept(place, wanted, record, how) else Exit.NO_ANSWER))


def _kept(place: KubeconfigCluster, wanted: Wanted, record: StepRecord, how: How) -> bool:
    """Prints the last lines that the store keeps of its containers; whether there were any."""
    from perennial.cli.stored import Unreadable, log_tail  # noqa: PLC0415

    store, uid = wanted.version.spec.store.uri.rstrip("/"), str(wanted.version.manifest["metadata"].get("uid", ""))
    own = Step(record.step) is Step.EVALUATE and wanted.version.spec.evaluation.metrics is not None
    known = (*(BEFORE_EVALUATE if own else ()), *KEPT[Step(record.step)])
    containers = [one for one in known if how.container in (None, one)]
    if not containers:
        there = ", ".join(known)
        asking.fail(Exit.NO_ANSWER, f"{wanted.words}: no container {how.container!r}; there were {there}")
    paths = {one: log_path(uid, record.step, record.attempt, one) for one in containers}
    printed = False
    for container, path in paths.items():
        try:
            lines = log_tail(place, wanted.model, store, path)
        except Unreadable as error:
            where = "\n  ".join(f"{store}/{one}" for one in paths.values())
            click.echo(f"{error}\nwhat the store keeps of its last lines, where it came to that:\n  {where}", err=True)
            return printed
        for line in (lines or ())[-how.lines if how.lines else 0 :] if how.lines != 0 else ():
            click.echo(line if len(paths) == 1 else f"[store/{container}] {line}")
        printed |= lines is not None
    if not printed:
        click.echo("the store keeps no line of it: it was killed before it could leave them there", err=True)
    return printed
