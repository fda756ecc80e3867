"""Which thread scores a request."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from perennial_runtime.onnx_model import LOOP_ROWS, ModelBroken, ServedModel
from runtime.serving.bentos import ROW, SCHEMA, write_model


class Watched(ServedModel):
    """Notes the thread of each call, and takes as long as it is told to."""

    takes = 0.0
    threads: list[str]

    def _score(self, columns: Any) -> Any:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.takes)
        return super()._score(columns)


@pytest.fixture
def model(tmp_path: Path) -> Watched:
    found = Watched(write_model(tmp_path / "model.onnx"), SCHEMA, threads=1)
    found.threads = []
    return found


def _rows(count: int) -> dict[str, list[Any]]:
    return {name: [value] * count for name, value in ROW.items()}


async def test_a_fast_model_answers_on_the_event_loop(model: Watched) -> None:
    for _ in range(5):
        await model.score(_rows(1))
    assert set(model.threads) == {threading.main_thread().name}


async def test_a_slow_model_is_moved_off_the_event_loop(model: Watched) -> None:
    model.takes = 0.02
    for _ in range(5):
        await model.score(_rows(1))
    assert model.threads[0] == threading.main_thread().name
    assert model.threads[-1].startswith("model")


async def test_a_model_that_was_slow_for_a_moment_comes_back_to_the_event_loop(model: Watched) -> None:
    model.takes = 0.02
    for _ in range(5):
        await model.score(_rows(1))
    model.takes = 0.0
    for _ in range(600):  # on a busy machine a request is slow now and then for want of a CPU
        await model.score(_rows(1))
        if model.threads[-1] == threading.main_thread().name:
            break
    assert model.threads[-1] == threading.main_thread().name


async def test_a_large_request_is_scored_beside_the_event_loop(model: Watched) -> None:
    scores = await model.score(_rows(LOOP_ROWS + 1))
    assert len(scores) == LOOP_ROWS + 1
    assert model.threads[0].startswith("model")


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelBroken, match=r"model\.onnx cannot be loaded"):
        ServedModel(tmp_path / "model.onnx", SCHEMA, threads=1)
