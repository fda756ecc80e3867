"""`kubectl perennial lint`: manifests checked offline, as the API server would check them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from perennial.cli import documents
from perennial.cli.documents import STANDARD_INPUT, Unreadable


@dataclass(frozen=True, slots=True)
class Found:
    """One problem, and where it is."""

    file: str
    line: int
    """0: of the file as a whole."""
    kind: str
    name: str
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        whose = f"{self.kind} {self.name}: " if self.kind else ""
        return f"{place}: {whose}{f'{self.path}: ' if self.path else ''}{self.message}"


@dataclass(slots=True)
class Tally:
    """What was looked at."""

    files: int = 0
    ours: int = 0
    others: int = 0

    def __str__(self) -> str:
        others = f", {self.others} of other kinds not looked at" if self.others else ""
        return f"{_counted(self.ours, 'object')} in {_counted(self.files, 'file')}{others}"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="json: a list of problems, for programs."
)
def lint(files: tuple[str, ...], output: str) -> None:
    """Say what the API server would refuse in the manifests of FILE..., without one.

    A folder is all .yaml, .yml and .json files in it; - is standard input. Looked at are ModelDeployments and ModelVersions:
    unknown fields, types, ranges, and every rule of the CRDs that needs no earlier state of the object.

    \b
    Ends with 0: nothing is wrong
              1: problems were found, one line for each:
                 file:line: object: field: what, and what to do
             64: a file cannot be read, there is no manifest at all, or the
                 command line is wrong

    \b
    Examples:
      kubectl perennial lint deploy/
      helm template . | kubectl perennial lint -
    """
    tally, found = Tally(), list[Found]()
    try:
        for file in documents.files(files):
            found.extend(_found(file, tally))
    except Unreadable as error:
        raise click.UsageError(str(error)) from None
    if not tally.files:
        raise click.UsageError(f"no .yaml, .yml or .json file in {', '.join(files)}: nothing was looked at")
    if not (found or tally.ours or tally.others):
        there = ", ".join("standard input" if one == STANDARD_INPUT else one for one in files)
        raise click.UsageError(f"no manifest in {there}: nothing was looked at")
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            click.echo(str(one))
        right = "nothing is wrong" if tally.ours else "none is Perennial's, so nothing was checked"
        click.echo(f"{tally}: {_counted(len(found), 'problem') if found else right}", err=True)
    raise SystemExit(1 if found else 0)


def _found(file: str, tally: Tally) -> Iterator[Found]:
    from perennial.cli import validation  # noqa: PLC0415 - the schemas cost a quarter of a second, and --help needs none

    tally.files += 1
    name = "standard input" if file == STANDARD_INPUT else file
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        yield Found(name, 0, "", "", "", f"no text in UTF-8: {error.reason}")
        return
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from error
    try:
        for document in documents.documents(text):
            if not validation.is_ours(document.value):
                tally.others += 1
                continue
            tally.ours += 1
            metadata = document.value.get("metadata")
            named = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
            for problem in validation.problems(document.value):
                line = document.line(problem.place)
                yield Found(name, line, str(document.value.get("kind", "")), named, problem.path, problem.message)
    except Unreadable as error:
        yield Found(name, error.line, "", "", "", str(error))


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
