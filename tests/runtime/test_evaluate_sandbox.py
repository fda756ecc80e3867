"""The scoring process seen from outside: its limits, its surroundings, and how its end is told."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Handover, Table, read_table, taken, write_table
from perennial_runtime.evaluate_sandbox import (
    HEADER_BYTES,
    LEAST_MEMORY,
    MOST_MEMORY,
    SCORE_BYTES,
    SandboxLimits,
    Subject,
    score_in_sandbox,
)
from runtime.evaluate_world import SCHEMA, model


def table(rows: int = 4) -> Table:
    codes = np.arange(rows, dtype=np.int32) % 2
    return Table(rows=rows, numbers={"hour": np.arange(rows, dtype=float)}, texts={"carrier": (["", "Zürich"], codes)})


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return Subject(tmp_path / "model.onnx", tmp_path / "schema.json", ("", "ai.onnx.ml"))


def test_columns_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    write_table(table(), tmp_path / "table")
    back = read_table(tmp_path / "table").columns(1, 3)
    assert back["hour"].tolist() == [1.0, 2.0]
    assert back["carrier"].tolist() == ["Zürich", ""]


def test_tables_are_taken_as_they_are_given_and_are_gone_then(tmp_path: Path) -> None:
    given = Handover(tmp_path / "tables")
    found = taken(tmp_path / "tables", os.getppid())
    for rows in (2, 3):
        given.give(table(rows))
        assert next(found).rows == rows
    given.give(table(4))
    given.end()
    assert [one.rows for one in found] == [4]
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["end"]


def test_who_takes_tables_notices_that_nobody_gives_any_more(tmp_path: Path) -> None:
    Handover(tmp_path / "tables").give(table())
    found = taken(tmp_path / "tables", giver=os.getpid())  # our parent is another, as when ours died before the first look
    next(found)
    with pytest.raises(EOFError, match="after table 1"):
        next(found)


def test_rows_are_scored_while_others_are_still_read(subject: Subject, tmp_path: Path) -> None:
    def parts() -> Iterator[Table]:
        for rows in (3, 2, 1):
            yield table(rows)
            deadline = time.monotonic() + 30
            while list(tmp_path.glob("sandbox-*/tables/some/[0-9]")):  # the child has not taken it yet
                assert time.monotonic() < deadline
                time.sleep(0.01)

    assert len(score_in_sandbox(subject, {"some": parts()}, tmp_path, SandboxLimits())["some"]) == 6


def test_reading_stops_for_a_model_that_is_refused(subject: Subject, tmp_path: Path) -> None:
    subject.model.write_bytes(b"no model")
    read: list[int] = []

    def parts() -> Iterator[Table]:
        for number in range(10_000):
            read.append(number)
            yield table()
            time.sleep(0.05)

    with pytest.raises(ModelRefused, match="is no ONNX file"):
        score_in_sandbox(subject, {"some": parts()}, tmp_path, SandboxLimits())
    assert len(read) < 400, "twenty seconds, for a child that is there in one"


def test_a_child_is_gone_when_its_rows_cannot_be_read(subject: Subject, tmp_path: Path) -> None:
    def parts() -> Iterator[Table]:
        yield table()
        raise ValueError("broken row")

    with pytest.raises(ValueError, match="broken row"):
        score_in_sandbox(subject, {"some": parts()}, tmp_path, SandboxLimits())
    assert not list(tmp_path.glob("sandbox-*"))


def test_scores_rows_and_leaves_nothing_behind(subject: Subject, tmp_path: Path) -> None:
    scores = score_in_sandbox(subject, {"some": [table()], "one": [table(1)]}, tmp_path, SandboxLimits())
    assert (len(scores["some"]), len(scores["one"])) == (4, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "schema.json"]


def test_environment_variables_of_ours_do_not_reach_the_model(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a child that inherited this would import the module of that name and end with its error
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "sitecustomize.py").write_text("raise SystemExit(7)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "evil"))
    assert len(score_in_sandbox(subject, {"some": [table()]}, tmp_path, SandboxLimits())["some"]) == 4


def test_more_rows_than_a_file_of_scores_holds_are_refused(subject: Subject, tmp_path: Path) -> None:
    limits = SandboxLimits(file_bytes=HEADER_BYTES + 3 * SCORE_BYTES)
    assert len(score_in_sandbox(subject, {"some": [table(2), table(1)]}, tmp_path, limits)["some"]) == 3
    with pytest.raises(ModelRefused) as caught:
        score_in_sandbox(subject, {"some": [table(2), table(2)]}, tmp_path, limits)
    assert caught.value.reason == "HoldoutTooLarge"
    assert "has 4 rows or more, and at most 3 are scored" in caught.value.message
    document = {**SCHEMA, "task": "multiclass", "classes": ["a", "b", "c"]}
    (tmp_path / "schema.json").write_text(json.dumps(document))
    with pytest.raises(ModelRefused, match="at most 1 are scored"):
        score_in_sandbox(subject, {"some": [table(2)]}, tmp_path, limits)


def test_a_child_without_memory_is_told_as_the_models_size(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused) as caught:
        score_in_sandbox(subject, {"some": [table()]}, tmp_path, SandboxLimits(memory=40 * 1024**2))
    assert caught.value.reason in {"ModelTooLarge", "OnnxCrashed"}


def test_a_child_that_spends_its_cpu_time_is_told_as_too_slow(subject: Subject, tmp_path: Path) -> None:
    rows = table(2_000_000)
    with pytest.raises(ModelRefused) as caught:
        score_in_sandbox(subject, {f"part {n}": [rows] for n in range(8)}, tmp_path, SandboxLimits(cpu_seconds=1))
    assert caught.value.reason == "ModelTooSlow"
    assert "more than 1 s of CPU" in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2147483648", 2147483648 * 3 // 4),
        ("max", MOST_MEMORY),
        ("104857600", LEAST_MEMORY),
        ("9223372036854771712", MOST_MEMORY),
    ],
    ids=["2 GiB", "no limit, v2", "tiny", "no limit, v1"],
)
def test_takes_less_memory_than_the_pod_has(text: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(text + "\n")
    assert SandboxLimits.of_this_pod([tmp_path / "absent", tmp_path / "memory.max"]).memory == expected
