"""What every verb that asks a cluster shares: its options, what it reads of a model, and how a failure ends."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from perennial.cli.exits import Exit

if TYPE_CHECKING:
    from perennial.adapters.kubeconfig import KubeconfigCluster
    from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionSpec, ModelVersionStatus

Manifest = dict[str, Any]

_ADVICE = re.compile(
    r"(?:kubectl annotate mdep \S+ )?perennial\.dev/"
    r"(?P<verb>promote|approve|abort|rollback-to|retrain|retry|pause|resume|lift|reproduce)\b(?:=(?P<argument>[^\s,;:()]*))?"
)

LOOK_SECONDS = 0.5
"""How often a verb that waits looks."""


@dataclass(frozen=True, slots=True)
class Version:
    """One ModelVersion as it is now."""

    manifest: Manifest
    spec: ModelVersionSpec
    status: ModelVersionStatus

    @property
    def number(self) -> int:
        return self.spec.number


@dataclass(frozen=True, slots=True)
class Model:
    """A ModelDeployment and its versions, the newest first, as they are now."""

    manifest: Manifest
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus
    versions: tuple[Version, ...]

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def progress(self) -> str:
        """What goes on: the summary, and of a version that is not the one that serves, its own words under its number."""
        summary, newest = self.status.summary or "not seen by the operator yet", next(iter(self.versions), None)
        if self.status.returning is not None and self.status.returning.version != self.status.stable:
            return f"{summary} ({self.status.returning.reason})"
        if newest is None or newest.number == self.status.stable or not newest.status.message:
            return summary
        state = "" if newest.status.state in summary else f" is {newest.status.state}"
        return f"{summary}; v{newest.number}{state}: {newest.status.message}"

    def version(self, number: int | None) -> Version | None:
        return next((one for one in self.versions if one.number == number), None)


class Duration(click.ParamType):  # type: ignore[type-arg] # generic from click 8.2 on
    """30m, 90s, 1h30m, as in the manifests; in seconds."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        from perennial.api.base import seconds  # noqa: PLC0415 - pydantic, and --help needs none

        if isinstance(value, float):
            return value
        try:
            return seconds(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


class VersionNumber(click.ParamType):  # type: ignore[type-arg]
    """3 or v3."""

    name = "number"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        digits = str(value).removeprefix("v")
        if not (digits.isascii() and digits.isdigit() and 0 < len(digits) < 9 and int(digits)):
            self.fail(f"{value!r} is no number of a version: write 3 or v3", parameter, context)
        return int(digits)


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster and namespace the command line names."""

    kubeconfig: str | None
    context: str | None
    namespace: str | None


def cluster_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Where to ask, as kubectl has it; the verb gets it as `where`."""

    @functools.wraps(verb)
    def take(kubeconfig: str | None, kube_context: str | None, namespace: str | None, **given: Any) -> None:
        verb(where=Where(kubeconfig, kube_context, namespace), **given)

    kubeconfig = click.option("--kubeconfig", metavar="FILE", help="Default: KUBECONFIG, else ~/.kube/config.")
    context = click.option("--context", "kube_context", metavar="NAME", help="Of the kubeconfig. Default: the current one.")
    namespace = click.option("-n", "--namespace", metavar="NAME", help="Default: the context's, else default.")
    return namespace(context(kubeconfig(take)))


def output_option(*choices: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`-o`, with text as the default."""
    return click.option("-o", "--output", type=click.Choice(["text", *choices]), default="text", help="Default: text.")


def cluster(where: Where) -> KubeconfigCluster:
    """The cluster that the options name. Ends the program when there is none."""
    from perennial.adapters.kubeconfig import KubeconfigCluster, NoAnswer  # noqa: PLC0415 - the client costs half a second

    try:
        return KubeconfigCluster(where.kubeconfig, where.context, where.namespace)
    except NoAnswer as error:
        fail(Exit.NO_ANSWER, str(error))


class Unreadable(Exception):
    """An object that this release does not know how to read."""


def model(place: KubeconfigCluster, name: str) -> Model:
    """A model and its versions. Ends the program when it is not there."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    try:
        return read(place.model(name), place.versions(name))
    except (NoAnswer, Unreadable) as error:
        fail(Exit.NO_ANSWER, str(error))


def models(place: KubeconfigCluster, everywhere: bool) -> list[Manifest]:
    """Every model. Ends the program when they cannot be listed."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    try:
        return place.models(everywhere=everywhere)
    except NoAnswer as error:
        fail(Exit.NO_ANSWER, str(error))


def pods(place: KubeconfigCluster, selector: str) -> list[Manifest]:
    """The pods with these labels, the oldest first. Ends the program when they cannot be listed."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    try:
        return place.pods(selector)
    except NoAnswer as error:
        fail(Exit.NO_ANSWER, str(error))


def annotate(place: KubeconfigCluster, name: str, key: str, value: str) -> None:
    """Sets an annotation of a model, and beside it who does so. Ends the program when that is refused."""
    from perennial.adapters.kubeconfig import Forbidden, NoAnswer  # noqa: PLC0415
    from perennial.api.base import REQUESTED_BY  # noqa: PLC0415

    try:
        user = place.user()
        place.annotate(name, {key: value, **({REQUESTED_BY: user} if user else {})})
    except Forbidden as error:
        fail(Exit.REFUSED, str(error))
    except NoAnswer as error:
        fail(Exit.NO_ANSWER, str(error))


def read(manifest: Manifest, versions: list[Manifest]) -> Model:
    """The objects as the API's models. Raises Unreadable when they are of another release."""
    from pydantic import ValidationError  # noqa: PLC0415 - with the API's models, which cost a quarter of a second

    from perennial.api.v1alpha1 import (  # noqa: PLC0415
        ModelDeploymentSpec,
        ModelDeploymentStatus,
        ModelVersionSpec,
        ModelVersionStatus,
    )

    try:
        found = tuple(
            Version(one, ModelVersionSpec.model_validate(one["spec"]), ModelVersionStatus.model_validate(one.get("status") or {}))
            for one in versions
        )
        status = ModelDeploymentStatus.model_validate(manifest.get("status") or {})
        return Model(manifest, ModelDeploymentSpec.model_validate(manifest["spec"]), status, found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        name = manifest["metadata"]["name"]
        words = f"{name}: {where}: {first['msg']}: the cluster has another release; use its kubectl perennial"
        raise Unreadable(words) from None


def looks(place: KubeconfigCluster, name: str, seconds: float) -> Iterator[Model]:
    """The model again and again until so many seconds are over; at least once. An API server that is away for a while is waited
    for, and it is said; ends the program when the last look had no answer."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415

    deadline, away = time.monotonic() + seconds, ""
    while True:
        try:
            found = read(place.model(name), place.versions(name))
        except Unreadable as error:
            fail(Exit.NO_ANSWER, str(error))
        except NoAnswer as error:
            if not error.passes or time.monotonic() + LOOK_SECONDS > deadline:
                fail(Exit.NO_ANSWER, str(error))
            if str(error) != away:
                away = str(error)
                click.echo(f"{away}; trying again", err=True)
        else:
            away = ""
            yield found
            if time.monotonic() + LOOK_SECONDS > deadline:
                return
        time.sleep(LOOK_SECONDS)


def as_verbs(words: str, found: Model) -> str:
    """The operator's words, with the annotations that they advise as verbs of this program."""
    place = f"{found.name}{{}} -n {found.namespace}"

    def verb(match: re.Match[str]) -> str:
        name, argument = match["verb"], match["argument"]
        if name == "retrain":
            return f"kubectl perennial retrain {place.format(f' --because {argument}' if argument else '')}"
        named = {"rollback-to": "rollback", "lift": "quarantine lift"}.get(name, name)
        given = f" --to {argument}" if name == "rollback-to" and argument else f" {argument}" if argument else ""
        return f"kubectl perennial {named} {place.format(given)}"

    return _ADVICE.sub(verb, words)


def number_or_newest(found: Model, number: int | None) -> Version:
    """A version by its number, else the newest. Ends the program when it is not there."""
    wanted = number if number is not None else next((one.number for one in found.versions), None)
    version = found.version(wanted)
    if version is None:
        there = ", ".join(f"v{one.number}" for one in found.versions) or "none"
        words = f"v{number} is not there (kept are {there})" if number is not None else "it has no version yet"
        fail(Exit.NO_ANSWER, f"{found.name}: {words}")
    return version


def fail(code: Exit, words: str) -> NoReturn:
    """Ends the program with words on standard error."""
    click.echo(f"Error: {words}", err=True)
    raise SystemExit(int(code))


def hand_over(body: bytes, output: Path | None, what: str) -> None:
    """Writes a document to a file, or prints it where none is named."""
    if output is None:
        click.echo(body.decode(errors="replace"), nl=not body.endswith(b"\n"))
        return
    try:
        output.write_bytes(body)
    except OSError as error:
        fail(Exit.NO_ANSWER, f"{output} can't be written: {error.strerror}")
    click.echo(f"{what} is in {output}", err=True)
