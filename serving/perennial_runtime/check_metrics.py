"""`python -m perennial_runtime.check_metrics`: does a program for `evaluation.metrics` say a number of each row? Run in its
image.

It gets made-up rows of two models, or one file of the user's, as the container `score` would leave them; what it writes is read
by the code that reads it in the cluster (`evaluate_values`), which needs numpy, polars and scipy. `check` does it for trainers.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
import polars as pl

from perennial_runtime.answers import Refused
from perennial_runtime.contract import CHALLENGER_FILE, CHAMPION_FILE, EXIT_REFUSED, PROBABILITY, OwnMetric, OwnMetrics
from perennial_runtime.evaluate_sandbox import SandboxLimits
from perennial_runtime.evaluate_values import Rows, read_own
from perennial_runtime.means import mean_of

MODULE: Final = "python -m perennial_runtime.check_metrics"
ROWS: Final = 1000
UNANSWERED: Final = 10
"""Rows that the champion can't answer: its file is shorter."""
MISSING: Final = 0.05
WORDS: Final = ("AA", "B6", "UA", "ünd more")
NUMBER, TEXT = "number", "text"
WHOLE: Final = re.compile("0|-?[1-9][0-9]{0,14}")
"""A class that is a number; 007 is a name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program: 0 when every file has a number for each row, 1 when something is wrong, 64 for a wrong command line."""
    given = _parser().parse_args(arguments)
    columns = [text.partition(":") for text in given.column]
    if not given.command or any(kind not in ("", NUMBER, TEXT) for _, _, kind in columns):
        _parser().error(f"write --column NAME[:{TEXT}] --value NAME -- COMMAND")
    with tempfile.TemporaryDirectory(prefix="check-metrics-") as folder:
        rows, values, room = (Path(folder) / name for name in ("rows", "values", "room"))
        for one in (rows, values, room):
            one.mkdir()
        frame = given.data
        if frame is None:
            frame = made_up({name: kind or NUMBER for name, _, kind in columns}, given.seed, given.classes)
        counts = _write(frame, rows)
        failed = _run(given.command, rows, values, given.timeout)
        return _told([failed] if failed else list(_read(tuple(given.value), counts, room, values)), wrong=bool(failed))


class _Parser(argparse.ArgumentParser):
    """Ends with 64 where argparse ends with 2."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{MODULE}: {message}; --help tells more\n")
        raise SystemExit(EXIT_REFUSED)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=MODULE, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--column", action="append", default=[], metavar="NAME[:text]", help="of evaluation.metrics.columns; numbers, or text")
    add("--value", action="append", required=True, metavar="NAME", help="of evaluation.metrics.values")
    add("--classes", type=in_order, default=(), metavar="NAME,NAME,...", help="of task: multiclass; probability_0 is the first's")
    known = "Parquet with label, score (or probability_0, ..) and the columns, in place of made-up rows"
    add("--data", type=pl.read_parquet, metavar="FILE", help=known)
    add("--seed", type=int, default=0, help="of the made-up rows (default 0)")
    add("--timeout", type=float, default=600.0, metavar="SECONDS", help="longest run of the command (default 600)")
    add("command", nargs="*", metavar="COMMAND", help="after --: evaluation.metrics.command")
    return parser


def in_order(text: str) -> list[str] | list[int]:
    """Names of classes as prepare has them: text by code point, or numbers by size where all are whole ones."""
    names = sorted({name.strip() for name in text.split(",")} - {""})
    return sorted(map(int, names)) if all(map(WHOLE.fullmatch, names)) else names


def made_up(kinds: dict[str, str], seed: int, classes: Sequence[str] | Sequence[int] = ()) -> pl.DataFrame:
    """Rows with each column, of which some values are missing, both labels and all scores from 0 to 1; or labels of all classes,
    and their probabilities."""
    random = np.random.default_rng(seed)
    columns = {name: _column(kind, random) for name, kind in kinds.items()}
    if classes:
        drawn = random.dirichlet(np.ones(len(classes)), ROWS)
        told = {f"{PROBABILITY}{place}": drawn[:, place] for place in range(len(classes))}
        return pl.DataFrame({**columns, "label": pl.Series(random.choice(np.array(classes), ROWS).tolist()), **told})
    label, score = random.integers(0, 2, ROWS), np.linspace(0.0, 1.0, ROWS)
    return pl.DataFrame({**columns, "label": pl.Series(label, dtype=pl.Int8), "score": random.permutation(score)})


def _column(kind: str, random: np.random.Generator) -> pl.Series:
    missing = random.random(ROWS) < MISSING
    drawn = random.integers(0, 24, ROWS).astype(float) if kind == NUMBER else random.choice(np.array(WORDS), ROWS)
    values = [None if gone else value for gone, value in zip(missing, drawn.tolist(), strict=True)]
    return pl.Series(values, dtype=pl.Float64 if kind == NUMBER else pl.String)


def _write(frame: pl.DataFrame, folder: Path) -> Rows:
    """The files of both models; the champion's is shorter where there are rows enough."""
    fewer = frame[:-UNANSWERED] if frame.height > UNANSWERED else frame
    frame.write_parquet(folder / CHALLENGER_FILE)
    several = [name for name in frame.columns if name.startswith(PROBABILITY)]
    turned = {name: pl.col(other) for name, other in zip(several, reversed(several), strict=True)}
    fewer.with_columns(**(turned or {"score": 1 - pl.col("score")})).write_parquet(folder / CHAMPION_FILE)
    return Rows(frame.height, fewer.height)


def _run(command: Sequence[str], rows: Path, values: Path, seconds: float) -> str:
    """How it ended, where that was not well."""
    environment = {**os.environ, "PERENNIAL_ROWS": str(rows), "PERENNIAL_VALUES": str(values), "PERENNIAL_SEED": "0"}
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, timeout=seconds, check=False)
    except OSError as error:
        return f"the command can't be run: {error.strerror}: {command[0]}"
    except subprocess.TimeoutExpired:
        return f"the command ran longer than {seconds:.0f} s and was ended"
    return "" if done.returncode == 0 else f"the command ended with {done.returncode}; see what it wrote above"


def _read(names: tuple[str, ...], rows: Rows, room: Path, values: Path) -> Iterator[str]:
    """What each metric comes to. The first thing that is wrong ends it."""
    try:
        found = read_own(
            OwnMetrics(tuple(OwnMetric(name, less_is_better=True) for name in names)), rows, room, SandboxLimits(), values
        )
    except Refused as refused:
        yield f"{refused.reason}: {refused.message}"
        return
    for name, own in found.items():
        mean = mean_of(own.challenger)
        yield f"ok     {name}: {mean.value:.6g} (from {mean.lower:.6g} to {mean.upper:.6g}) over {rows.challenger} rows"


def _told(lines: Sequence[str], *, wrong: bool) -> int:
    wrong = wrong or not all(line.startswith("ok ") for line in lines)
    for line in lines:
        sys.stdout.write(f"{'wrong  ' if wrong else ''}{line}\n")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
