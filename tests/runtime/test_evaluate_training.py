"""What is done beside the scoring and the measuring of evaluate, and what comes of it where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from perennial_runtime import bento
from perennial_runtime.answers import Refused
from perennial_runtime.bento import BentoError
from perennial_runtime.contract import EvaluateSpec, Fault, PrepareResult, Step, decode_answer, encode
from perennial_runtime.evaluate import evaluate
from perennial_runtime.store import blob_path
from runtime.evaluate_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, train_rows=600, holdout_rows=400)


def nothing_is_stored(world: World, spec: EvaluateSpec) -> bool:
    left = list((world.folder / "work").iterdir())
    return world.store.get_result(spec.uid, Step.EVALUATE, "none") is None and not left


def test_training_rows_that_were_altered_are_refused_while_the_holdout_is_scored(world: World, tmp_path: Path) -> None:
    spec = world.spec("altered")
    (stored,) = [path for path in tmp_path.rglob(Path(blob_path(spec.train)).name) if path.is_file()]
    body = stored.read_bytes()
    stored.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(Refused) as caught:
        evaluate(spec, world.store, world.folder / "work")
    assert caught.value.reason == "DigestMismatch"
    assert spec.train in caught.value.message
    assert nothing_is_stored(world, spec)


def test_other_training_rows_than_prepare_told_of_are_refused(world: World) -> None:
    spec = world.spec("counted")
    told = world.store.get_result(spec.uid, Step.PREPARE)
    assert isinstance(told, PrepareResult)
    world.store.put_result(spec.uid, Step.PREPARE, replace(told, train_rows=601), replace=True)
    with pytest.raises(Refused) as caught:
        evaluate(spec, world.store, world.folder / "work")
    assert caught.value.reason == "ResultBroken"
    for word in ("counted", "601 training rows", "there are 600", "retrain"):
        assert word in caught.value.message
    assert nothing_is_stored(world, spec)


def test_a_bento_that_cannot_be_built_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Path:
        raise BentoError("bentoml ended with 1: no space left")

    monkeypatch.setattr(bento, "build_archive", fail)
    spec = world.spec("unpacked")
    with pytest.raises(BentoError, match="no space left"):
        evaluate(spec, world.store, world.folder / "work")
    assert nothing_is_stored(world, spec)


def test_a_step_that_is_told_to_end_does_not_wait_for_the_training_rows(world: World, tmp_path: Path) -> None:
    store = (tmp_path / "store").as_uri()
    program = f"""
import os, signal, threading
from perennial_runtime import __main__ as entry, evaluate
from perennial_runtime.evaluate_training import Training
from perennial_runtime.store import Store
lend, tables, begun = Store.lend_file, Training.tables, threading.Event()
def hang(store, digest, path):
    if path.name == "train.parquet":
        begun.set()
        threading.Event().wait()  # it never comes
    return lend(store, digest, path)
def asked(train):
    begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    return tables(train)
Store.lend_file, Training.tables = hang, asked
evaluate.WORK_PATH = {str(tmp_path / "room")!r}
entry.cli(["evaluate"])
"""
    environment = {
        **os.environ,
        "PERENNIAL_STEP": encode(replace(world.spec("ended"), store=store)),
        "PERENNIAL_TERMINATION_LOG": str(tmp_path / "message"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 143, done.stderr
    assert isinstance(answer := decode_answer((tmp_path / "message").read_text()), Fault)
    assert answer.reason == "Terminated"
