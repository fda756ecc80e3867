"""fetch and reporter around a trainer that may write anything."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from perennial.manifests.jobs import GRACE_SECONDS
from perennial_runtime import checkpoint, reporter
from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import (
    EXIT_TRANSIENT,
    MODEL_BYTES_LIMIT,
    Fault,
    TrainResult,
    TrainSpec,
    decode_answer,
    encode,
    encode_answer,
)
from perennial_runtime.fetch import fetch
from perennial_runtime.recipes.train import train
from perennial_runtime.reporter import collect, numbers, progress, read_claims, serve_progress, upload, watch
from perennial_runtime.store import Store
from runtime.steps_world import World, frame


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def spec(folder: Path, **changes: object) -> TrainSpec:
    base = TrainSpec(
        version="delays-v1", uid="uid-1", attempt=1, store=f"file://{folder / 'store'}", train="0", schema="0", seed=7
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def write_outputs(out: Path) -> None:
    (out / "model.onnx").write_bytes(b"a model")
    (out / "parity.parquet").write_bytes(b"scores")


def test_fetch_gives_the_trainer_its_rows_and_its_task_and_nothing_of_the_holdout(tmp_path: Path, out: Path) -> None:
    world = World(tmp_path)
    frame(600).write_parquet(world.source / "a.parquet")
    prepared = world.prepare()
    given = spec(tmp_path, train=prepared.train, schema=prepared.schema, hyperparameters={"max_iter": 5.0})
    fetch(given, world.store, tmp_path / "train.parquet", tmp_path / "params.json", out)
    params = json.loads((tmp_path / "params.json").read_text())
    assert pl.read_parquet(tmp_path / "train.parquet").height == prepared.train_rows
    assert params["features"] == [{"name": "delay", "kind": "numeric"}, {"name": "carrier", "kind": "categorical"}]
    assert (params["label"], params["time"], params["seed"], params["hyperparameters"]) == ("late", "at", 7, {"max_iter": 5.0})
    assert params["limits"] == {"modelBytes": MODEL_BYTES_LIMIT}
    assert params["resume"] is False


def test_fetch_tells_the_trainer_that_a_checkpoint_of_an_earlier_attempt_is_there(tmp_path: Path, out: Path) -> None:
    world = World(tmp_path)
    frame(600).write_parquet(world.source / "a.parquet")
    prepared = world.prepare()
    given = spec(tmp_path, train=prepared.train, schema=prepared.schema)
    world.store.put_document("checkpoints/uid-1.json", json.dumps({"model.txt": world.store.put_bytes(b"trees")}).encode())
    fetch(given, world.store, tmp_path / "train.parquet", tmp_path / "params.json", out)
    assert json.loads((tmp_path / "params.json").read_text())["resume"] is True
    assert (out / "checkpoint" / "model.txt").read_bytes() == b"trees"
    assert not os.access(tmp_path / "train.parquet", os.X_OK)
    assert (tmp_path / "train.parquet").stat().st_mode & 0o777 == 0o444


def test_prepare_fetch_recipe_and_reporter_fit_together(tmp_path: Path, out: Path) -> None:
    world = World(tmp_path)
    frame(600).write_parquet(world.source / "a.parquet")
    prepared = world.prepare()
    given = spec(tmp_path, train=prepared.train, schema=prepared.schema, algorithm="logistic-regression")
    fetch(given, world.store, tmp_path / "train.parquet", tmp_path / "params.json", out)
    train("logistic-regression", tmp_path / "params.json", tmp_path / "train.parquet", out)
    result = upload(given, world.store, out)
    assert result.problem is None
    assert result.claims["roc_auc"] > 0.6
    assert world.store.get_result("uid-1", "train", "1") == result
    assert result.model is not None
    assert world.store.get_bytes(result.model) == (out / "model.onnx").read_bytes()


def test_fetch_refuses_a_schema_that_is_none(tmp_path: Path, store: Store, out: Path) -> None:
    given = spec(tmp_path, train=store.put_bytes(b"rows"), schema=store.put_bytes(b"[]"))
    with pytest.raises(Refused, match=r"schema\.json"):
        fetch(given, store, tmp_path / "train.parquet", tmp_path / "params.json", out)


@pytest.mark.refusal(9)
def test_a_trainer_that_wrote_nothing_is_told(store: Store, out: Path) -> None:
    result = collect(store, out)
    assert (result.model, result.problem) == (None, "OutputMissing")
    assert "out/model.onnx" in result.message


@pytest.mark.refusal(9)
def test_a_trainer_that_wrote_only_the_model_is_told(store: Store, out: Path) -> None:
    (out / "model.onnx").write_bytes(b"a model")
    result = collect(store, out)
    assert result.model is not None
    assert (result.problem, "parity.parquet" in result.message) == ("OutputMissing", True)


@pytest.mark.refusal(10)
def test_an_oversized_model_is_not_uploaded(tmp_path: Path, store: Store, out: Path) -> None:
    write_outputs(out)
    with (out / "model.onnx").open("wb") as sparse:
        sparse.truncate(MODEL_BYTES_LIMIT + 1)
    result = collect(store, out)
    assert (result.model, result.problem) == (None, "OutputTooLarge")
    assert str(MODEL_BYTES_LIMIT) in result.message


@pytest.mark.refusal(10)
def test_an_empty_model_is_told(store: Store, out: Path) -> None:
    write_outputs(out)
    (out / "model.onnx").write_bytes(b"")
    assert collect(store, out).problem == "OutputEmpty"


@pytest.mark.refusal(10)
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_regular_file_is_never_followed(tmp_path: Path, store: Store, out: Path, kind: str) -> None:
    write_outputs(out)
    (tmp_path / "secret").write_text("access key")
    (out / "model.onnx").unlink()
    match kind:
        case "link":
            (out / "model.onnx").symlink_to(tmp_path / "secret")
        case "folder":
            (out / "model.onnx").mkdir()
        case _:
            os.mkfifo(out / "model.onnx")
    result = collect(store, out)
    assert (result.model, result.problem) == (None, "OutputNotRegularFile")


def test_a_folder_that_is_a_link_is_never_followed(tmp_path: Path, store: Store, out: Path) -> None:
    write_outputs(out)
    link = tmp_path / "linked"
    link.symlink_to(out)
    assert collect(store, link).problem == "OutputMissing"


def test_claims_are_finite_numbers_with_plain_names_and_few() -> None:
    claims = {f"metric_{index}": index for index in range(20)}
    assert len(numbers(json.dumps(claims).encode())) == 8
    odd = (
        b'{"auc": 0.71, "nan": NaN, "big": 1e999, "text": "x", "yes": true, "a b": 1, "'
        + b"x" * 50
        + b'": 1, "nested": {"a": 1}}'
    )
    assert numbers(odd) == {"auc": 0.71}
    assert numbers(b"not json") == numbers(b"[1]") == numbers(b"[" * 100_000) == {}


def test_the_longest_answer_fits_a_termination_message(store: Store, out: Path) -> None:
    (out / "model.onnx").write_bytes(b"a model")
    (out / "metrics.json").write_text(json.dumps({f"{index}" + "m" * 39: 0.123456789 + index * 1e5 for index in range(20)}))
    assert len(encode_answer(collect(store, out))) <= 1024


def test_metrics_behind_a_link_are_no_claims(tmp_path: Path, out: Path) -> None:
    (tmp_path / "secret").write_text('{"auc": 1}')
    (out / "metrics.json").symlink_to(tmp_path / "secret")
    assert read_claims(out) == {}


class _Down(Store):
    """A store that answers only after so many failures."""

    failures = 0

    def put_file(self, source: object) -> str:
        if self.failures > 0:
            self.failures -= 1
            raise Unavailable("StoreUnavailable", "no answer")
        return super().put_file(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("failures", [1, 30])
def test_a_store_that_does_not_answer_is_asked_again(tmp_path: Path, out: Path, failures: int) -> None:
    write_outputs(out)
    store = _Down(f"file://{tmp_path / 'store'}")
    store.failures = failures
    assert upload(spec(tmp_path), store, out, pause=0).problem is None


def test_a_store_that_stays_down_is_a_fault(tmp_path: Path, out: Path) -> None:
    write_outputs(out)
    store = _Down(f"file://{tmp_path / 'store'}")
    store.failures = 10**9
    with pytest.raises(Unavailable, match="no answer"):
        upload(spec(tmp_path), store, out, seconds=0.2, pause=0.01)


class _Hanging(Store):
    """A store that takes everything and answers nothing."""

    def put_file(self, source: object) -> str:
        threading.Event().wait(2)
        return super().put_file(source)  # type: ignore[arg-type]


class _FailingThenHanging(_Hanging):
    """A store that says what is wrong with it once."""

    said = False

    def put_file(self, source: object) -> str:
        if not self.said:
            self.said = True
            raise Unavailable("StoreUnavailable", "no answer")
        return super().put_file(source)


def test_what_a_store_said_last_is_told_where_it_hangs_in_the_end(tmp_path: Path, out: Path) -> None:
    write_outputs(out)
    with pytest.raises(
        Unavailable, match=r"attempt 1 were not uploaded within 0\.2 s: mend the store \(its last answer: no answer\)"
    ):
        upload(spec(tmp_path), _FailingThenHanging(f"file://{tmp_path / 'store'}"), out, seconds=0.2, pause=0.01)


def test_a_store_that_swallows_everything_is_told_in_time(tmp_path: Path, out: Path) -> None:
    write_outputs(out)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="attempt 1 were not uploaded within"):
        upload(spec(tmp_path), _Hanging(f"file://{tmp_path / 'store'}"), out, seconds=0.2)
    assert time.monotonic() - started < 1.5


def test_the_reporter_answers_before_the_kubelet_kills_it() -> None:
    assert reporter.UPLOAD_SECONDS + 30 <= GRACE_SECONDS


def test_a_second_pod_of_the_same_attempt_replaces_what_an_evicted_one_left(tmp_path: Path, store: Store, out: Path) -> None:
    assert upload(spec(tmp_path), store, out).problem == "OutputMissing"
    write_outputs(out)
    assert upload(spec(tmp_path), store, out).problem is None
    stored = store.get_result("uid-1", "train", "1")
    assert isinstance(stored, TrainResult)
    assert stored.problem is None


def test_progress_is_the_newest_complete_line(out: Path) -> None:
    assert progress(out, time.monotonic())["progress"] is None
    (out / "progress.jsonl").write_text('{"step": 1, "of": 10}\n{"step": 2, "of": 10, "note": "Jane Miller"}\n{"step": 3, "o')
    assert progress(out, time.monotonic())["progress"] == {"step": 2.0, "of": 10.0}


@pytest.mark.parametrize(
    ("lines", "resumed", "expected"),
    [
        ([{"step": 4, "of": 10, "loss": 0.42}], False, {"percent": 40.0, "loss": 0.42, "left": 150}),
        ([{"step": 41, "of": 100}, {"step": 61, "of": 100}], True, {"percent": 61.0, "left": 195}),
        ([{"step": 41, "of": 100}], True, {"percent": 41.0}),
        ([{"step": 0, "of": 10}], False, {"percent": 0.0}),
        ([{"step": 1e-290, "of": 1e290}], False, {"percent": 0.0}),
        ([{"step": 11, "of": 10, "loss": 1.0}], False, {"loss": 1.0}),
        ([{"step": 0, "of": 0}], False, {}),
        ([{"loss": 0.5}], False, {"loss": 0.5}),
    ],
)
def test_progress_tells_percent_loss_and_what_is_left(
    out: Path, lines: list[dict[str, float]], resumed: bool, expected: dict[str, float]
) -> None:
    (out / "progress.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    answer = progress(out, time.monotonic() - 100, resumed=resumed)
    found = {name: answer[name] for name in ("percent", "loss", "left") if name in answer}
    assert found == pytest.approx(expected, abs=2)


def test_progress_is_served_on_one_path(out: Path) -> None:
    (out / "progress.jsonl").write_text('{"step": 4, "of": 10}\n')
    server = serve_progress(out, 0)
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with urllib.request.urlopen(f"{address}/progress", timeout=5) as answer:  # noqa: S310 - our own server
            assert json.load(answer)["progress"] == {"step": 4.0, "of": 10.0}
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"{address}/model.onnx", timeout=5)  # noqa: S310 - our own server
        caught.value.close()
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def saver(store: Store, out: Path) -> checkpoint.Saver:
    (out / "checkpoint").mkdir()
    return checkpoint.Saver(store, "uid-1", out / "checkpoint")


def restored(store: Store, folder: Path) -> dict[str, bytes]:
    checkpoint.restore(store, "uid-1", folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


GO_ON = threading.Event()


def test_a_checkpoint_is_saved_and_restored_for_the_next_attempt(tmp_path: Path, saver: checkpoint.Saver) -> None:
    (saver.folder / "weights.bin").write_bytes(b"weights")
    (saver.folder / "link").symlink_to("/etc/passwd")
    assert saver.save(GO_ON, rest=0)
    assert not saver.save(GO_ON, rest=0)
    assert restored(saver.store, tmp_path / "restored") == {"weights.bin": b"weights"}


class _Writing(Store):
    """While a file is uploaded, the trainer writes the next checkpoint: as often as `times` says."""

    folder: Path
    times = 0

    def put_file(self, source: object) -> str:
        digest = super().put_file(source)  # type: ignore[arg-type]
        if self.times > 0:
            self.times -= 1
            for name in ("weights.bin", "optimizer.bin"):
                (self.folder / name).write_bytes(b"later" + b"!" * self.times)
        return digest


@pytest.mark.parametrize(("times", "saved"), [(1, True), (4, True), (99, False)])
def test_what_is_recorded_is_one_state_of_the_folder(tmp_path: Path, out: Path, times: int, saved: bool) -> None:
    store = _Writing(f"file://{tmp_path / 'store'}")
    store.folder, store.times = out, times
    for name in ("weights.bin", "optimizer.bin"):
        (out / name).write_bytes(b"earlier")
    assert checkpoint.Saver(store, "uid-1", out).save(GO_ON, rest=0) is saved
    expected = {"weights.bin": b"later", "optimizer.bin": b"later"} if saved else {}
    assert restored(store, tmp_path / "restored") == expected


def test_a_checkpoint_of_several_files_is_not_taken_between_two_of_them(tmp_path: Path, saver: checkpoint.Saver) -> None:
    class Writer(threading.Event):
        """The trainer writes its second file while the folder is given a rest."""

        def wait(self, timeout: float | None = None) -> bool:
            if not (saver.folder / "optimizer.bin").exists():
                (saver.folder / "optimizer.bin").write_bytes(b"2")
            return False

    (saver.folder / "weights.bin").write_bytes(b"2")
    assert saver.save(Writer())
    assert restored(saver.store, tmp_path / "restored") == {"weights.bin": b"2", "optimizer.bin": b"2"}


def test_a_checkpoint_under_way_stops_between_two_files(tmp_path: Path, out: Path) -> None:
    ended = threading.Event()

    class Ending(Store):
        def put_file(self, source: object) -> str:
            ended.set()
            return super().put_file(source)  # type: ignore[arg-type]

    for name in ("a", "b", "c"):
        (out / name).write_bytes(b"weights")
    saver = checkpoint.Saver(Ending(f"file://{tmp_path / 'store'}"), "uid-1", out)
    assert not saver.save(ended, rest=0)
    assert restored(saver.store, tmp_path / "restored") == {}


@pytest.fixture
def watching(saver: checkpoint.Saver) -> Iterator[tuple[threading.Event, threading.Event, threading.Thread]]:
    """The thread that saves checkpoints, with the events that the trainer has ended and its outputs are uploaded."""
    ended, uploaded = threading.Event(), threading.Event()
    thread = threading.Thread(target=watch, args=(saver, ended, uploaded, 0.005, 0.0))
    thread.start()
    yield ended, uploaded, thread
    ended.set()
    uploaded.set()
    thread.join()


Watching = tuple[threading.Event, threading.Event, threading.Thread]


def test_a_trainer_that_never_stops_to_write_checkpoints_gets_them_stored(
    tmp_path: Path, saver: checkpoint.Saver, watching: Watching
) -> None:
    for number in range(1000):
        (saver.folder / "weights.bin").write_bytes(str(number).encode())
        if saver.store.get_document("checkpoints/uid-1.json") is not None:
            break
        threading.Event().wait(0.005)
    assert restored(saver.store, tmp_path / "restored").keys() == {"weights.bin"}


def test_the_last_checkpoint_is_saved_after_the_outputs(tmp_path: Path, saver: checkpoint.Saver, watching: Watching) -> None:
    ended, uploaded, thread = watching
    ended.set()
    (saver.folder / "weights.bin").write_bytes(b"written on SIGTERM")
    assert saver.store.get_document("checkpoints/uid-1.json") is None
    uploaded.set()
    thread.join()
    assert restored(saver.store, tmp_path / "restored") == {"weights.bin": b"written on SIGTERM"}


def test_a_store_that_fails_while_a_checkpoint_is_saved_ends_nothing(
    tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = _Down(f"file://{tmp_path / 'store'}")
    store.failures = 3
    (out / "weights.bin").write_bytes(b"weights")
    ended, uploaded = threading.Event(), threading.Event()
    thread = threading.Thread(target=watch, args=(checkpoint.Saver(store, "uid-1", out), ended, uploaded, 0.005, 0.0))
    thread.start()
    deadline = time.monotonic() + 5
    while store.get_document("checkpoints/uid-1.json") is None and time.monotonic() < deadline:
        ended.wait(0.01)
    ended.set()
    uploaded.set()
    thread.join()
    assert restored(store, tmp_path / "restored") == {"weights.bin": b"weights"}
    assert "StoreUnavailable" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "..", ".", "/evil", "a/b", "", "a\0b", "x" * 250])
def test_a_checkpoint_list_cannot_write_outside_its_folder(tmp_path: Path, store: Store, name: str) -> None:
    digest = store.put_bytes(b"x")
    store.put_document("checkpoints/uid-1.json", json.dumps({name: digest, "good": digest}).encode())
    assert checkpoint.restore(store, "uid-1", tmp_path / "restored") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"[" * 50_000,
        b'{"a": "../../results/uid-1/train-1.json"}',
        b'{"a": null}',
        json.dumps({f"{number}": "0" * 64 for number in range(65)}).encode(),
        b" " * 200_000 + b"{}",
    ],
)
def test_a_checkpoint_list_that_is_none_is_left_out(tmp_path: Path, store: Store, body: bytes) -> None:
    store.put_document("checkpoints/uid-1.json", body)
    assert checkpoint.restore(store, "uid-1", tmp_path / "restored") == 0


@pytest.mark.parametrize("harm", ["altered", "gone", "too large"])
def test_half_of_a_checkpoint_is_none(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    files = {"a.bin": store.put_bytes(b"first"), "b.bin": store.put_bytes(b"second part")}
    store.put_document("checkpoints/uid-1.json", json.dumps(files).encode())
    blob = tmp_path / "store" / "blobs" / "sha256" / files["b.bin"]
    match harm:
        case "altered":
            blob.write_bytes(b"second pxrt")
        case "gone":
            blob.unlink()
        case _:
            monkeypatch.setattr(checkpoint, "MOST_BYTES", 10)
    assert checkpoint.restore(store, "uid-1", tmp_path / "restored") == 0
    assert not (tmp_path / "restored").exists()


def test_a_checkpoint_file_whose_name_could_not_be_restored_is_left_out(tmp_path: Path, saver: checkpoint.Saver) -> None:
    for name in ("x" * 250, "weights.bin"):
        (saver.folder / name).write_bytes(b"weights")
    assert saver.save(GO_ON, rest=0)
    assert restored(saver.store, tmp_path / "restored") == {"weights.bin": b"weights"}


def test_a_large_checkpoint_is_left_out(store: Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 3)
    (out / "weights.bin").write_bytes(b"weights")
    assert not checkpoint.Saver(store, "uid-1", out).save(GO_ON, rest=0)


def test_the_reporter_of_any_worker_but_the_first_uploads_nothing_and_leaves_no_answer(
    tmp_path: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_outputs(out)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    (tmp_path / "message").write_text(encode_answer(Fault("Nothing", "was said")))
    code, answer, said = run_reporter(tmp_path, out, "pass")
    assert code == 0, said
    assert answer == Fault("Nothing", "was said"), "it wrote no answer"
    assert store.get_result("uid-1", "train", "1") is None
    assert {path.name for path in (tmp_path / "store" / "logs" / "uid-1").iterdir()} == {"train-1-reporter-1.log"}


def run_reporter(folder: Path, out: Path, program: str, **changes: object) -> tuple[int, object, str]:
    """A reporter process: its exit code, its answer and its log. SIGTERM comes while it is still starting."""
    patched = f"""
import importlib, os, signal
from perennial_runtime import __main__ as entry, contract
contract.OUT_PATH, contract.PROGRESS_PORT = {str(out)!r}, 0
load = importlib.import_module
def ended_meanwhile(name):
    os.kill(os.getpid(), signal.SIGTERM)
    module = load(name)
    {program}
    return module
importlib.import_module = ended_meanwhile
entry.cli(["reporter"])
"""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(reporter.__file__).parents[1]),
        "PERENNIAL_STEP": encode(spec(folder, **changes)),
        "PERENNIAL_TERMINATION_LOG": str(folder / "message"),
    }
    command = [sys.executable, "-c", patched]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, decode_answer((folder / "message").read_text()), ended.stderr


def test_the_reporter_uploads_on_sigterm_that_comes_while_it_is_starting(tmp_path: Path, store: Store, out: Path) -> None:
    write_outputs(out)
    (out / "checkpoint").mkdir()
    (out / "checkpoint" / "weights.bin").write_bytes(b"weights")
    code, answer, said = run_reporter(tmp_path, out, "pass")
    assert code == 0, said
    assert isinstance(answer, TrainResult)
    assert answer.problem is None
    assert restored(store, tmp_path / "restored") == {"weights.bin": b"weights"}


def test_a_reporter_whose_store_swallows_everything_ends_and_says_so(tmp_path: Path, out: Path) -> None:
    write_outputs(out)
    secret = tmp_path / "secret"
    secret.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are taken into its backlog, and nothing is answered
        port = silent.getsockname()[1]
        for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("ENDPOINT_URL", f"http://127.0.0.1:{port}")):
            (secret / f"AWS_{name}").write_text(value)
        store = f"lambda uri: load('perennial_runtime.store').Store(uri, {str(secret)!r})"
        program = f"module.UPLOAD_SECONDS, module.Store = 0.5, {store}"
        code, answer, said = run_reporter(tmp_path, out, program, store="s3://models/team/uid")
    assert code == EXIT_TRANSIENT, said
    assert isinstance(answer, Fault)
    assert answer.reason == "StoreUnavailable"
