"""`python -m perennial_runtime.check`: does an image keep the file contract? Run in the image itself, with no cluster or network.

    check_wish -> check_ground: /perennial as the train Job has it -> the image's command -> check_outputs -> a table of findings

Starting needs the standard library alone. What reads data and models needs numpy, onnx, onnxruntime and polars, as `reporter` and
`evaluate` do, whose code judges here too; where an image has none of them, the outputs are judged in Perennial's training image.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - of an image of anybody's
    sys.exit("perennial_runtime.check needs Python 3.11 or newer: see the three steps in docs/file-contract.md")

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from perennial_runtime.check_wish import KINDS, ROLES, Described, Finding, Wish, WrongWish
from perennial_runtime.contract import CLASSIFICATION, EXIT_REFUSED, FEWEST_CLASSES, MULTICLASS, REGRESSION, USER

MODULE: Final = "python -m perennial_runtime.check"
DESCRIPTION: Final = """\
Run a trainer as the train Job of a version runs it, and judge what it wrote by the code that judges it there.

It makes /perennial/data/train.parquet and /perennial/params.json, runs COMMAND as a user that is not root, and looks at
/perennial/out. In an image that starts as root nothing more is needed; in others, and closest to the cluster:

  docker run --rm --read-only --tmpfs /tmp:exec,mode=1777 --tmpfs /perennial:mode=1777 --user 65532 --entrypoint python3 \\
    IMAGE -m perennial_runtime.check --column months:feature --column plan:feature:text \\
      --column seen_at:time --column left:label -- python3 /trainer/train.py
"""
EPILOG: Final = """\
Without Docker, in a virtual environment with what your trainer needs and '.[training]' of a clone of Perennial:

  python -m perennial_runtime.check --root "$(mktemp -d)" --column ... -- python train.py

Your trainer finds its files below PERENNIAL_ROOT then, and runs as you do.

An image without Python 3.11, or without numpy, onnx, onnxruntime and polars, is checked in three steps, the first and the
last of them in Perennial's training image, with the same folder mounted at /perennial each time:
  --only inputs --column ...     then your image, by itself     then --only outputs

Ends with 0: everything was looked at and is right; 1: something is wrong, or could not be looked at; 64: the command line or the
place to work in is wrong. docs/file-contract.md has the contract.
"""
MOST_USER: Final = 2**31 - 1
"""As in spec.training.runAsUser."""
_NAME = re.compile(r"[^:\s]{1,128}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    given = _parser().parse_args(arguments)
    try:
        wish = _wish(given)
        findings = _carry_out(wish, given.only)
    except WrongWish as error:
        print(f"{MODULE}: {error}", file=sys.stderr)  # noqa: T201 - a program for people
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return 130
    return _tell(findings)


def _carry_out(wish: Wish, only: str | None) -> list[Finding]:
    from perennial_runtime import check_ground, check_outputs  # noqa: PLC0415 - --help needs neither

    with check_ground.ground(wish, only) as ground:
        findings = list(ground.findings)
        if only is None:
            findings += check_ground.run(wish, ground)
        broke = any(one.level == "wrong" for one in findings) and not any(ground.out.iterdir())
        if only != "inputs" and not broke:  # where nothing was written, how the command ended is all there is to know
            findings += check_outputs.findings(wish, ground)
        return findings


def _tell(findings: Sequence[Finding]) -> int:
    width = max((len(one.what) for one in findings), default=0)
    for one in findings:
        print(f"{one.level:<6} {one.what:<{width}}  {one.found}")  # noqa: T201
        if one.todo:
            print(f"{'':<6} {'':<{width}}  -> {one.todo}")  # noqa: T201
    wrong = sum(one.level == "wrong" for one in findings)
    print(f"{wrong} of {len(findings)} findings are wrong" if wrong else "nothing is wrong")  # noqa: T201
    return 1 if wrong else 0


class _Parser(argparse.ArgumentParser):
    """Ends with 64 where argparse ends with 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(self._refuse(message))

    def _refuse(self, message: str) -> int:
        print(f"{MODULE}: {message}; {MODULE} --help tells more", file=sys.stderr)  # noqa: T201
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog=MODULE, description=DESCRIPTION, epilog=EPILOG, formatter_class=shape)
    add = parser.add_argument
    add(
        "--column",
        action="append",
        default=[],
        metavar="NAME:ROLE[:KIND]",
        help="column of spec.data.columns; ROLE: feature, label, time, id, group, weight, synthetic (the others are not in "
        "train.parquet); KIND of a feature: number, text",
    )
    tasks = [CLASSIFICATION, MULTICLASS, REGRESSION]
    add("--task", choices=tasks, default=CLASSIFICATION, help="spec.data.task (default classification)")
    add("--data", type=Path, metavar="FILE", help="Parquet with these columns, in place of made-up rows")
    add("--rows", type=int, default=1000, help="made-up rows (default 1000)")
    add("--hyperparameter", action="append", default=[], metavar="NAME=NUMBER", help="for params.json")
    add("--seed", type=int, default=0, help="PERENNIAL_SEED, and of the made-up rows (default 0)")
    add("--user", type=int, default=USER, help=f"user of the command where this starts as root (default {USER}, the cluster's)")
    add("--timeout", type=float, default=600.0, metavar="SECONDS", help="longest run of the command (default 600)")
    add("--max-difference", type=float, default=1e-4, metavar="X", help="spec.evaluation.parity.maxAbsDifference (default 1e-4)")
    add(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="put perennial/ there; the command finds DIR in PERENNIAL_ROOT",
    )
    add("--only", choices=["inputs", "outputs"], help="only make the inputs, or only judge the outputs that are there")
    add("--keep", action="store_true", help="leave the folders")
    add("command", nargs="*", metavar="COMMAND", help="after --: what the image runs, e.g. python /trainer/train.py")
    return parser


def _wish(given: argparse.Namespace) -> Wish:
    columns = tuple(_column(text) for text in given.column)
    hyperparameters = dict(_hyperparameter(text) for text in given.hyperparameter)
    if given.only is None and not given.command:
        raise WrongWish("no command is given: write it after --, e.g. -- python /trainer/train.py")
    if given.only != "outputs":
        _check_columns(columns)
    if not 1 <= given.user <= MOST_USER:
        raise WrongWish(f"--user is {given.user}: root is never run in the cluster; give a user from 1 to {MOST_USER}")
    if given.rows < 1 or not 0 < given.timeout < math.inf or not 0 < given.max_difference < math.inf:
        raise WrongWish("--rows, --timeout and --max-difference must be numbers above 0")
    if given.task == MULTICLASS and given.rows < FEWEST_CLASSES:
        raise WrongWish(f"--rows is {given.rows}: --task {MULTICLASS} needs {FEWEST_CLASSES} rows at least, one of each class")
    return Wish(
        columns=columns,
        data=given.data,
        rows=given.rows,
        seed=given.seed,
        hyperparameters=hyperparameters,
        command=tuple(given.command),
        user=given.user,
        timeout=given.timeout,
        max_difference=given.max_difference,
        root=given.root.resolve(),
        keep=given.keep or given.only is not None,
        task=given.task,
    )


def _column(text: str) -> Described:
    name, role, kind = [*text.split(":"), "", ""][:3]
    kind = kind or "number"
    if text.count(":") > 2 or not _NAME.fullmatch(name) or role not in ROLES or kind not in KINDS:
        raise WrongWish(f"--column {text!r} is no NAME:ROLE[:KIND], e.g. months:feature or plan:feature:text or left:label")
    return Described(name, role, KINDS[kind])


def _check_columns(columns: Sequence[Described]) -> None:
    counts = {role: sum(column.role == role for column in columns) for role in ROLES}
    once = ("time", "group", "weight", "synthetic")
    if not counts["feature"] or counts["label"] != 1 or max(counts[role] for role in once) > 1:
        found = ", ".join(f"{count} {role}" for role, count in counts.items())
        wanted = "describe one label, at least one feature, and at most one time, group, weight and synthetic"
        raise WrongWish(f"--column describes {found}: {wanted}")
    if len({column.name for column in columns}) != len(columns):
        raise WrongWish("--column describes a column twice")


def _hyperparameter(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise WrongWish(f"--hyperparameter {text!r} is no NAME=NUMBER, e.g. epochs=3")
    return name, number


if __name__ == "__main__":
    sys.exit(main())
