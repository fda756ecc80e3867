"""The first container of an evaluation that measures metrics of the user's own: the holdout and the scores, for their program.

Both models are checked and scored as `evaluate` does it, which does it again: what judges a model must not come from a volume
that a program of somebody else's stood beside, and a score costs little. The program gets the rows that are judged, and of each
the label, the score (of several classes the probability of each) and the columns that it was promised: one file for the
challenger, and one for the champion where a gate compares, with the rows that it can answer. Nothing is written to the store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet
from numpy.typing import NDArray

from perennial_runtime.answers import Refused, say
from perennial_runtime.contract import CHALLENGER_FILE, CHAMPION_FILE, ROWS_PATH, WORK_PATH, EvaluateSpec
from perennial_runtime.evaluate import blind_of
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_inputs import Inputs, fetch_inputs
from perennial_runtime.evaluate_rows import tables
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, score_in_sandbox
from perennial_runtime.parquet_file import write_parquet
from perennial_runtime.scoring import score_columns
from perennial_runtime.store import Store
from perennial_runtime.tabular import rows_at_once

LABEL = "label"
"""Is there anyway, as are the scores by their names (`scoring.score_columns`); no other column can have such a name
(`perennial.api.own_metrics`, `perennial.api.task`)."""


def main(spec: EvaluateSpec) -> None:
    """Entry of `python -m perennial_runtime score`."""
    write_rows(spec, Store(spec.store), Path(WORK_PATH), Path(ROWS_PATH))


def write_rows(spec: EvaluateSpec, store: Store, work: Path, target: Path, limits: SandboxLimits | None = None) -> None:
    """The files of the program, in the folder `target`. Raises Refused and Unavailable."""
    limits = limits or SandboxLimits.of_this_pod()
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="score-") as folder:
        room = Path(folder)
        inputs = fetch_inputs(spec, store, room)
        subject = Subject(inputs.model, inputs.schema_file, spec.allowed_domains)
        try:
            holdout = {"holdout": tables(inputs.holdout, inputs.schema)}
            scores = score_in_sandbox(subject, holdout, room, limits)["holdout"]
            blind = blind_of(spec, store, inputs, scores, room=room, limits=limits, keys=None)
        except ModelRefused as refused:
            raise Refused(refused.reason, refused.message) from refused
        _write(spec, inputs, blind.judged, scores, target / CHALLENGER_FILE)
        if spec.own_compared and blind.champion is not None:
            _write(spec, inputs, blind.compared, blind.champion, target / CHAMPION_FILE)


def _write(spec: EvaluateSpec, inputs: Inputs, wanted: NDArray[np.bool_], scores: NDArray[np.float64], path: Path) -> None:
    columns = spec.own.columns if spec.own else ()
    write_parquet(_frames(inputs, columns, wanted, scores), path)
    path.chmod(0o644)
    say("rows written", file=path.name, rows=int(wanted.sum()), columns=len(columns) + 1 + len(score_columns(inputs.schema)))


def _frames(
    inputs: Inputs, columns: tuple[str, ...], wanted: NDArray[np.bool_], scores: NDArray[np.float64]
) -> Iterator[pl.DataFrame]:
    """The wanted rows in order, a batch at a time."""
    label, named = inputs.schema["label"], score_columns(inputs.schema)
    scores = scores.reshape(len(scores), -1)
    start = 0
    with pyarrow.parquet.ParquetFile(inputs.holdout, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=rows_at_once(len(columns) + 1), columns=[*columns, label]):
            end = start + batch.num_rows
            frame = pl.DataFrame(batch)
            own = {name: frame[name] for name in columns}
            given = pl.DataFrame({**own, LABEL: frame[label], **dict(zip(named, scores[start:end].T, strict=True))})
            yield given.filter(pl.Series(wanted[start:end]))
            start = end
