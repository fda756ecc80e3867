"""Metrics of the user's own: what their program said of each holdout row, read without trusting it, and what it comes to.

    score (ours) -> /perennial/rows/*.parquet -> the user's program -> /perennial/values/*.parquet -> evaluate (here)

The program has ended by then, and its folder is mounted read-only. A file of it is opened as any other that a stranger wrote
(`outputs`), copied, and read in a process under limits (`values_check`). A metric is the mean over the rows (`means`), so that it
has bounds like every other; a single number from the program would have none. `evaluate_gates` puts it beside the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime.answers import Refused
from perennial_runtime.contract import CHALLENGER_FILE, CHAMPION_FILE, GateSpec, OwnMetrics
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_sandbox import SandboxLimits, values_in_sandbox
from perennial_runtime.means import mean_of
from perennial_runtime.metrics_offline import Estimate
from perennial_runtime.outputs import OutputError, opened

BYTES_A_NUMBER = 16
"""Of a file, for each row and metric: a number has eight, and Parquet's pages and indices are little beside them."""
BYTES_BESIDE = 4 * 1024 * 1024
VALUES_SECONDS = 300
"""Of CPU and of the clock, for one file."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Own:
    """A metric of the user's, row by row: of the challenger for all judged rows, of the champion for those that it answers."""

    less_is_better: bool
    challenger: Values
    champion: Values | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows the program was given of each, and which of the challenger's the champion answers, too."""

    challenger: int
    champion: int | None


def read_own(own: OwnMetrics, rows: Rows, room: Path, limits: SandboxLimits, folder: Path) -> dict[str, Own]:
    """Every metric by its name. Raises Refused."""
    try:
        ours = _read(own, CHALLENGER_FILE, rows.challenger, folder, room, limits=limits)
        theirs = {} if rows.champion is None else _read(own, CHAMPION_FILE, rows.champion, folder, room, limits=limits)
    except ModelRefused as refused:
        raise Refused(refused.reason, refused.message) from refused
    return {one.name: Own(one.less_is_better, ours[one.name], theirs.get(one.name)) for one in own.values}


def _read(own: OwnMetrics, name: str, rows: int, folder: Path, room: Path, *, limits: SandboxLimits) -> Mapping[str, Values]:
    most = BYTES_BESIDE + rows * len(own.values) * BYTES_A_NUMBER
    copy = room / f"values-{name}"
    try:
        with opened(folder, name, most) as stream, copy.open("wb") as target:
            shutil.copyfileobj(stream, target)
    except OutputError as error:
        raise Refused(f"MetricValues{error.reason.removeprefix('Output')}", _words(error, name, most)) from error
    short = replace(limits, cpu_seconds=VALUES_SECONDS, wall_seconds=VALUES_SECONDS)
    return dict(zip(own.names, values_in_sandbox(copy, name, own.names, rows, room, limits=short), strict=True))


def _words(error: OutputError, name: str, most: int) -> str:
    """What was found, and what to do. `outputs` speaks of trainers."""
    found = {
        "OutputMissing": "it ended without writing it",
        "OutputNotReadable": "it may not be read: give it the mode 0644",
        "OutputTooLarge": f"it has more than {most} bytes",
    }.get(error.reason, "it is a link or no regular file")
    return (
        f"{name} of the program in evaluation.metrics: {found}; write a Parquet file with the columns of "
        f"evaluation.metrics.values to $PERENNIAL_VALUES/{name} (docs/evaluation.md)"
    )


def measured(gate: GateSpec, own: Own, compared: NDArray[np.bool_]) -> Estimate | None:
    """The metric for a gate; None where it compares and nothing serves. `compared`: judged rows that both answer."""
    if gate.not_worse_than_serving_by is None:
        return mean_of(own.challenger)
    if own.champion is None:
        return None
    ours = own.challenger[compared]
    return mean_of(own.champion - ours if own.less_is_better else ours - own.champion)
