"""Metrics of the user's own: the rows that their program gets, its numbers as a gate, and files that are no numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.contract import EvaluateResult, EvaluateSpec, GateSpec, OwnMetric, OwnMetrics, decode, encode
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_sandbox import SandboxLimits
from perennial_runtime.evaluate_values import Rows, read_own
from perennial_runtime.means import mean_of
from perennial_runtime.score import write_rows
from runtime.evaluate_world import World, against, model, truth

PROGRAM = Path(__file__).parents[2] / "examples/own-metric/cost.py"
OWN = OwnMetrics((OwnMetric("cost", less_is_better=True),), ("hour",))
GATES = (GateSpec("cost", maximum=5.0), GateSpec("cost", not_worse_than_serving_by=0.1))
BOTH = OwnMetrics((OwnMetric("cost", less_is_better=True), OwnMetric("gain", less_is_better=False)))
COUNT = 5


def cost(frame: pl.DataFrame, scores: np.ndarray) -> np.ndarray:
    """The example's cost of each row, by numpy."""
    late, warned = frame["late"].to_numpy() == 1, scores >= 0.5
    hour = frame["hour"].fill_null(12.0).to_numpy()
    return np.where(late & ~warned, 24.0 - hour, np.where(~late & warned, 2.0, 0.0))


@dataclass
class Pod:
    """The folders of an evaluation's pod."""

    world: World
    rows: Path
    values: Path

    def score(self, spec: EvaluateSpec) -> None:
        write_rows(spec, self.world.store, self.world.folder / "work", self.rows)

    def program(self) -> None:
        """The example, as its container runs it."""
        given = {"PERENNIAL_ROWS": str(self.rows), "PERENNIAL_VALUES": str(self.values)}
        subprocess.run([sys.executable, str(PROGRAM)], env={**os.environ, **given}, check=True, timeout=300)

    def evaluate(self, spec: EvaluateSpec) -> EvaluateResult:
        return evaluate(spec, self.world.store, self.world.folder / "work", values=self.values)

    def all(self, spec: EvaluateSpec) -> EvaluateResult:
        self.score(spec)
        self.program()
        return self.evaluate(spec)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"), train_rows=400, holdout_rows=900)


@pytest.fixture
def pod(world: World, tmp_path: Path) -> Pod:
    for name in ("rows", "values"):
        (tmp_path / name).mkdir()
    return Pod(world, tmp_path / "rows", tmp_path / "values")


@pytest.fixture(scope="module")
def champion(world: World) -> EvaluateResult:
    return evaluate(world.spec("delays-v1", gates=()), world.store, world.folder / "work")


def challenger(world: World, name: str, slope: float = 0.25, gates: tuple[GateSpec, ...] = GATES) -> EvaluateSpec:
    sample = world.train.head(512)
    scores = pl.DataFrame({"row": np.arange(sample.height), "score": truth(sample, slope=slope)})
    return replace(world.spec(name, model(slope=slope), scores, gates), own=OWN)


def test_first_version_is_measured_by_itself(pod: Pod) -> None:
    world = pod.world
    result = pod.all(challenger(world, "alone-v1"))
    (gate,) = result.gates
    expected = mean_of(cost(world.holdout, truth(world.holdout, slope=0.25)))
    assert (gate.metric, gate.kind, gate.limit) == ("cost", "maximum", 5.0)
    assert (gate.estimate, gate.lower, gate.upper) == pytest.approx((expected.value, expected.lower, expected.upper), abs=2e-6)
    assert not list(pod.rows.glob("champion*")), "nothing serves"


def test_is_compared_with_the_model_that_serves_row_by_row(pod: Pod, champion: EvaluateResult) -> None:
    world = pod.world
    result = pod.all(against(challenger(world, "beside-v2"), champion))
    alone, beside = result.gates
    ours, theirs = (cost(world.holdout, truth(world.holdout, slope=slope)) for slope in (0.25, 0.2))
    saved = mean_of(theirs - ours)
    assert alone.estimate == pytest.approx(ours.mean(), abs=1e-6)
    assert beside.kind == "notWorseThanServingBy"
    assert (beside.estimate, beside.lower, beside.upper) == pytest.approx((saved.value, saved.lower, saved.upper), abs=2e-6)


def test_the_program_gets_the_judged_rows_with_label_score_and_what_was_promised(pod: Pod, champion: EvaluateResult) -> None:
    world = pod.world
    seen = world.spec("rows-v2", model(slope=0.25), gates=GATES, train_hashes=world.holdout["__row_hash"][:100].to_list())
    pod.score(against(replace(seen, own=OWN), champion))
    judged = world.holdout[100:]
    for name, slope in (("challenger", 0.25), ("champion", 0.2)):
        found = pl.read_parquet(pod.rows / f"{name}.parquet")
        assert found.columns == ["hour", "label", "score"]
        assert found["hour"].equals(judged["hour"])
        assert found["label"].to_list() == judged["late"].to_list()
        assert np.abs(found["score"].to_numpy() - truth(judged, slope=slope)).max() < 1e-5


def test_a_program_that_needs_no_column_gets_label_and_score_alone(pod: Pod) -> None:
    spec = challenger(pod.world, "alone-v3")
    pod.score(replace(spec, own=OwnMetrics(OWN.values)))
    found = pl.read_parquet(pod.rows / "challenger.parquet")
    assert found.columns == ["label", "score"]
    assert found.height == pod.world.holdout.height
    assert (pod.rows / "challenger.parquet").stat().st_mode & 0o444 == 0o444, "another user reads it"


def test_a_model_that_may_not_be_used_is_refused_before_the_program_runs(pod: Pod) -> None:
    spec = replace(pod.world.spec("broken-v1", b"no model", gates=GATES), own=OWN)
    with pytest.raises(Refused) as caught:
        pod.score(spec)
    assert caught.value.reason == "OnnxBroken"
    assert list(pod.rows.iterdir()) == []


def test_a_result_that_is_stored_is_the_answer_whatever_the_program_does_now(pod: Pod) -> None:
    spec = challenger(pod.world, "again-v1")
    first = pod.all(spec)
    (pod.values / "challenger.parquet").unlink()
    assert pod.evaluate(spec) == first


def test_what_is_asked_for_survives_the_way_to_the_container() -> None:
    world_spec = EvaluateSpec("v", "u", "s", "m", "p", "t", "h", "c", 1e-4, GATES, 7, own=OWN)
    assert decode(EvaluateSpec, encode(world_spec)) == world_spec
    assert '"own"' not in encode(replace(world_spec, own=None)), "other versions' Jobs stay as they were"


# ---- files that are no numbers -----------------------------------------------------------------------------------------------


def frame(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"cost": np.arange(COUNT) / 2, "gain": np.arange(COUNT), **columns})


def given(folder: Path, found: pl.DataFrame) -> None:
    found.write_parquet(folder / "challenger.parquet")


def large(folder: Path) -> None:
    with (folder / "challenger.parquet").open("wb") as stream:
        stream.truncate(10 * 1024**3)


HOSTILE: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "nothing": (lambda folder: None, "MetricValuesMissing", ("ended without writing", "$PERENNIAL_VALUES/challenger.parquet")),
    "a link": (
        lambda folder: (folder / "challenger.parquet").symlink_to("/etc/passwd"),
        "MetricValuesNotRegularFile",
        ("a link",),
    ),
    "a pipe": (
        lambda folder: os.mkfifo(folder / "challenger.parquet"),
        "MetricValuesNotRegularFile",
        ("no regular file",),
    ),
    "a folder": (lambda folder: (folder / "challenger.parquet").mkdir(), "MetricValuesNotRegularFile", ("no regular file",)),
    "10 GiB": (large, "MetricValuesTooLarge", ("more than", "bytes")),
    "no Parquet": (lambda folder: (folder / "challenger.parquet").write_bytes(b"PAR1" * 9), "MetricValuesBroken", ("Parquet",)),
    "a row less": (lambda folder: given(folder, frame().head(4)), "MetricValuesBroken", ("4 rows for 5 rows",)),
    "rows without end": (
        lambda folder: given(folder, pl.DataFrame({"cost": np.zeros(3_000_000), "gain": np.zeros(3_000_000)})),
        "MetricValuesBroken",
        ("3000000 rows for 5 rows",),
    ),
    "a metric missing": (lambda folder: given(folder, frame().drop("gain")), "MetricValuesBroken", ("no column gain",)),
    "words": (lambda folder: given(folder, frame(gain=list("abcde"))), "MetricValuesBroken", ("gain is String",)),
    "NaN": (
        lambda folder: given(folder, frame(gain=[1.0, float("nan"), None, float("inf"), 2.0])),
        "MetricValuesBroken",
        ("column gain: 3 of 5 rows have no finite number (1 of them none at all)",),
    ),
    "no amount": (
        lambda folder: given(folder, frame(cost=[1e300, 0, 0, 0, 0])),
        "MetricValuesBroken",
        ("column cost: 1 of 5 numbers are beyond 1e+12",),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_numbers_is_refused_with_what_was_found(name: str, tmp_path: Path) -> None:
    write, reason, words = HOSTILE[name]
    values, room = tmp_path / "values", tmp_path / "room"
    values.mkdir()
    room.mkdir()
    write(values)
    with pytest.raises(Refused) as caught:
        read_own(BOTH, Rows(COUNT, None), room, SandboxLimits(), values)
    assert caught.value.reason == reason
    for part in ("challenger.parquet of the program in evaluation.metrics", *words):
        assert part in caught.value.message


def test_numbers_and_truths_are_taken_as_they_are_and_further_columns_left_alone(tmp_path: Path) -> None:
    given(tmp_path, frame(gain=[True, False, True, True, False], note=["a"] * COUNT))
    found = read_own(BOTH, Rows(COUNT, None), tmp_path, SandboxLimits(), tmp_path)
    assert found["cost"].challenger.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert found["gain"].challenger.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert found["gain"].champion is None
