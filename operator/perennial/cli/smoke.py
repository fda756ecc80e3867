"""`kubectl perennial smoke`: a manifest's whole pipeline, trained fast, judged, and never served; for continuous integration.

The manifest is applied as an object of another name with `spec.smoke`, which the operator never serves, and removed at the end,
however the program ends. Where it is killed, the object's own `expiresAfter` removes it.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click

from perennial.cli import asking
from perennial.cli.asking import Duration, Manifest, Model, Version, Where, cluster_options, output_option
from perennial.cli.exits import Exit
from perennial_runtime.contract import GROUP, Container, Step

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial.api.version import StepRecord

PASSED, REJECTED = 0, 1
TAKEN: Final = ("data", "training", "model", "evaluation", "serving")
"""Parts of the spec that say how a version is made and judged; the rest says what happens afterwards, or when."""
SMOKE_OF: Final = f"{GROUP}/smoke-of"
LONGEST_NAME: Final = 36
SPARE_SECONDS: Final = 600
"""The object outlives the program that was killed by so much, at most."""
SEEN_SECONDS: Final = 60.0
"""An operator that runs has looked at a new object long before."""
LAST_LINES: Final = 40
SPEAKS: Final = {
    Step.PREPARE: Container.PREPARE,
    Step.TRAIN: Container.TRAIN,
    Step.EVALUATE: Container.EVALUATE,
}
"""Whose log says why a step failed."""


@dataclass(frozen=True, slots=True)
class End:
    """How the run ended, in a code and in words."""

    exit: int
    words: str


@click.command()
@click.option("-f", "--filename", "file", required=True, metavar="FILE", help="A ModelDeployment; - is standard input.")
@click.option("--image", metavar="IMAGE", help="Train with this image in the place of training.image.")
@click.option("--timeout", type=Duration(), default="1h", help="How long at most: 30m, 2h. Default: 1h.")
@click.option("--keep", is_flag=True, help="Leave the run to be looked at; it is removed when its time is over.")
@cluster_options
@output_option("json", "yaml")
def smoke(*, file: str, image: str | None, timeout: float, keep: bool, where: Where, output: str) -> None:
    """Train and judge a manifest with fast parameters, and serve nothing.

    All steps run in the cluster, on all data, with training.smoke's hyperparameters in the place of the recipe's; every gate
    judges. It is an object of its own beside the model, which is left alone; nothing of it is left afterwards. Comparisons with
    the version that serves are left out, for it has none.

    It runs in --namespace, else in the manifest's. What goes on is told on standard error, the evidence on standard output, with
    -o json or yaml as the ModelVersion.

    \b
    Ends with 0: it passed
              1: rejected by a gate
              3: not ended in time
              4: it failed, and its last log is on standard error
              5: the API server refused it
              6: the cluster could not be asked, or no operator looks at it
             64: the manifest or the command line is wrong
             70: a fault of this program

    \b
    Examples:
      kubectl perennial smoke -f mdep.yaml
      kubectl perennial smoke -f mdep.yaml --image ghcr.io/team/trainer:$SHA
    """
    manifest = _manifest(file)
    training = manifest["spec"].get("training") or {}
    if image is not None and "image" not in training:
        how = "brings a model that is there already" if "model" in manifest["spec"] else "trains by a recipe"
        raise click.UsageError(f"--image takes the place of training.image, and this manifest {how}: leave it out")
    if not training.get("smoke") and "model" not in manifest["spec"]:
        click.echo("training.smoke is not given: it trains with the parameters of the model in earnest", err=True)
    namespace = where.namespace or manifest["metadata"].get("namespace")
    place = asking.cluster(Where(where.kubeconfig, where.context, namespace))
    made = of(manifest, image, timeout, datetime.now(UTC))
    with _ended_by_signals(), _made(place, made, keep=keep):
        model, end = _follow(place, str(made["metadata"]["name"]), timeout)
        _print(place, model, end, output)
    raise SystemExit(end.exit)


def of(manifest: Manifest, image: str | None, timeout: float, now: datetime) -> Manifest:
    """The smoke run of a manifest that begins at this time."""
    name = str(manifest["metadata"]["name"])
    spec = {part: manifest["spec"][part] for part in TAKEN if part in manifest["spec"]}
    spec["serving"] = {key: value for key, value in spec["serving"].items() if key != "route"}
    if image is not None:
        spec["training"] = {**spec["training"], "image": image}
    minutes = int(timeout + SPARE_SECONDS) // 60 + 1
    spec["smoke"] = {"expiresAfter": f"{minutes // 60}h{minutes % 60}m"}
    digest = hashlib.sha256(f"{now.isoformat()}{json.dumps(spec, sort_keys=True)}".encode()).hexdigest()[:8]
    own = f"-smoke-{digest}"
    labels = {key: value for key, value in (manifest["metadata"].get("labels") or {}).items() if key.startswith(f"{GROUP}/")}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {
            "name": f"{name[: LONGEST_NAME - len(own)].rstrip('-')}{own}",
            "labels": {**labels, SMOKE_OF: name},  # a label of another tool's would make this one of its objects
        },
        "spec": spec,
    }


def _manifest(file: str) -> Manifest:
    """The one ModelDeployment of a file. Ends the program where there is none, or a rule does not hold."""
    from perennial.cli import documents, validation  # noqa: PLC0415 - the schemas cost a quarter of a second

    name = "standard input" if file == documents.STANDARD_INPUT else file
    try:
        text = sys.stdin.read() if file == documents.STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
        found = [one for one in documents.documents(text) if validation.is_ours(one.value)]
    except (documents.Unreadable, OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name}: {error}") from None
    found = [one for one in found if one.value.get("kind") == "ModelDeployment"]
    if len(found) != 1:
        raise click.UsageError(f"{name} holds {len(found)} ModelDeployments: give a file with one")
    problems = list(validation.problems(found[0].value))
    for problem in problems:
        click.echo(f"{name}:{found[0].line(problem.place)}: {problem.path}: {problem.message}", err=True)
    if problems:
        raise click.UsageError(f"{name}: the API server would refuse it; kubectl perennial lint says the same")
    manifest: Manifest = found[0].value
    return manifest


@contextmanager
def _made(place: KubeconfigCluster, manifest: Manifest, *, keep: bool) -> Iterator[None]:
    """The object, as long as the block lasts."""
    from perennial.adapters.kubeconfig import NoAnswer, Refused  # noqa: PLC0415 - the client costs half a second

    name, expires = manifest["metadata"]["name"], manifest["spec"]["smoke"]["expiresAfter"]
    is_there = True
    try:
        try:
            place.create(manifest)
        except Refused as error:
            is_there = False
            asking.fail(Exit.REFUSED, str(error))
        except NoAnswer as error:
            asking.fail(Exit.NO_ANSWER, str(error))
        click.echo(f"{name} in namespace {place.namespace}", err=True)
        yield
    finally:
        if is_there and keep:
            click.echo(f"{name} is kept for {expires} from its beginning: kubectl delete mdep {name}", err=True)
        elif is_there:
            try:
                place.delete(name)
            except NoAnswer as error:
                click.echo(f"{name} is not removed, it goes {expires} after its beginning: {error}", err=True)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl+C does, so that what it made is removed; where they are ignored they stay so."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    heard = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(place: KubeconfigCluster, name: str, seconds: float) -> tuple[Model, End]:
    """Tells what goes on until the run has ended or its time is over."""
    told, began = _Told(), datetime.now(UTC)
    found: Model | None = None
    for found in asking.looks(place, name, seconds):
        now = datetime.now(UTC)
        for words in told.news(found):
            click.echo(f"{now:%H:%M:%S} {words}", err=True)
        if ended := end_of(found):
            return found, ended
        if not found.status.observed_generation and (now - began).total_seconds() > SEEN_SECONDS:
            words = (
                f"no operator has looked at {name} for {SEEN_SECONDS:.0f} s: does one run, and for namespace {place.namespace}?"
            )
            asking.fail(Exit.NO_ANSWER, words)
    assert found is not None  # noqa: S101 - there is at least one look
    return found, End(Exit.WAITING, f"not ended in time: {found.progress}")


def end_of(model: Model) -> End | None:
    """How a smoke run ended; None while it is under way."""
    version = next(iter(model.versions), None)
    state = version.status.state if version else ""
    message = version.status.message if version else ""
    match state:
        case "Passed":
            return End(PASSED, f"passed: {message}")
        case "Rejected":
            return End(REJECTED, f"rejected: {message}")
        case "Failed" | "Superseded":
            return End(Exit.FAILED, f"failed: {message}")
        case _:
            stalled = next((one for one in model.status.conditions if (one.type, one.status) == ("Stalled", "True")), None)
            return End(Exit.FAILED, f"failed: {stalled.reason}: {stalled.message}") if stalled else None


def _print(place: KubeconfigCluster, model: Model, end: End, output: str) -> None:
    """The evidence, and the last words of a step that failed: its pods go with the run."""
    from perennial.cli import explanation, screen  # noqa: PLC0415 - rich and the API's models, and --help needs none

    version = next(iter(model.versions), None)
    if version is not None and end.exit == Exit.FAILED:
        for line in _last_words(place, model, version):
            click.echo(line, err=True)
    if version is not None and output != "text":
        screen.document(version.manifest, output)
    elif version is not None:
        screen.sections(explanation.explained(model, version))
    click.echo(f"{model.name}: {end.words}", err=True)


def _last_words(place: KubeconfigCluster, model: Model, version: Version) -> Iterator[str]:
    """The end of the log of the step that failed."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    record = next((one for one in reversed(version.status.steps) if one.state in ("Failed", "Refused")), None)
    if record is None:
        return
    container = SPEAKS[Step(record.step)]
    try:
        for pod in _pods(place, model, record)[-1:]:
            yield f"--- the last lines of container {container} of {pod['metadata']['name']}:"
            yield from place.log(pod["metadata"]["name"], container, previous=False, follow=False, lines=LAST_LINES)
            yield "---"
    except NoAnswer as error:
        yield f"the log of {record.step} cannot be read: {error}"


def _pods(place: KubeconfigCluster, model: Model, record: StepRecord) -> list[Manifest]:
    return place.pods(f"{GROUP}/model={model.name},{GROUP}/step={record.step}")


@dataclass(slots=True)
class _Told:
    """What was said."""

    last: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    """Of conditions, by their type."""

    def news(self, model: Model) -> Iterator[str]:
        """The lines of what has become something else."""
        from perennial.cli.frame import is_trouble  # noqa: PLC0415 - rich, and --help needs none

        if model.progress != self.last:
            self.last = model.progress
            yield self.last
        found: list[Any] = [one for one in model.status.conditions if is_trouble(one) and one.type != "Ready"]
        for one in found:
            if self.reasons.get(one.type) != one.reason:
                yield f"{one.type}={one.status} {one.reason}: {one.message}"
        self.reasons = {one.type: one.reason for one in found}
