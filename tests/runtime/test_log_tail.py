"""The end of a step's output in the store: what is there when the step has ended, however it ended."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from perennial_runtime import contract, log_tail
from perennial_runtime.answers import TERMINATION_VARIABLE, say
from perennial_runtime.contract import LOG_NAME, STEP_VARIABLE, Command, PrepareSpec, TrainSpec, encode, log_path
from perennial_runtime.log_tail import BYTES, LINES, RAW_BYTES, Copy, Recorded, end_of, keep, record
from perennial_runtime.store import Store
from runtime.steps_world import COLUMNS


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The streams and the handler as they were."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def prepare_spec(root: Path, **changes: object) -> PrepareSpec:
    given = {"version": "delays-v1", "uid": "u1", "store": f"file://{root / 'store'}", "source": f"file://{root / 'none'}/"}
    return PrepareSpec(**{**given, "columns": COLUMNS, "holdout_fraction": 0.2, "minimum_rows": 10, **changes})  # type: ignore[arg-type]


def train_spec(root: Path) -> str:
    return encode(TrainSpec("delays-v1", "u1", 2, f"file://{root / 'store'}", "t", "s", 7))


def kept(root: Path, path: str) -> str:
    body = Store(f"file://{root / 'store'}").get_document(path)
    assert body is not None
    return body.decode()


def test_what_a_step_says_is_kept_redacted_and_still_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = record(Command.PREPARE)
    say("opened", source="s3://jane:hunter2@flights/")
    keep(Command.PREPARE, recorded, encode(prepare_spec(tmp_path, attempt=3)))
    text = kept(tmp_path, "logs/u1/prepare-3-prepare.log")
    assert '"source":"s3://***@flights/"' in text
    assert "hunter2" in capsys.readouterr().err


def test_values_of_every_secret_that_a_step_may_have_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = {value for name, value in vars(contract).items() if name.endswith("_SECRET_PATH")}
    assert mounted == set(log_tail.SECRETS)
    folders = [tmp_path / str(number) for number in range(len(mounted))]
    for folder in folders:
        folder.mkdir()
        (folder / "AWS_SECRET_ACCESS_KEY").write_text(f"hunter-{folder.name}\n")
    monkeypatch.setattr(log_tail, "SECRETS", tuple(map(str, folders)))
    recorded = record(Command.PREPARE)
    say("odd", words=" ".join(f"hunter-{folder.name}" for folder in folders))
    keep(Command.PREPARE, recorded, encode(prepare_spec(tmp_path)))
    assert '"words":"*** *** *** ***"' in kept(tmp_path, "logs/u1/prepare-1-prepare.log")


def test_the_reporter_keeps_the_trainers_file_beside_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(log_tail, "OUT_PATH", str(out))
    (out / LOG_NAME).write_text("epoch 1\npassword=hunter2\n")
    recorded = record(Command.REPORTER)
    say("uploaded")
    keep(Command.REPORTER, recorded, train_spec(tmp_path))
    assert kept(tmp_path, "logs/u1/train-2-train.log") == "epoch 1\npassword=***\n"
    assert '"event":"uploaded"' in kept(tmp_path, log_path("u1", "train", 2, "reporter"))


def test_the_trainers_file_is_kept_from_a_whole_line_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(log_tail, "OUT_PATH", str(out))
    (out / LOG_NAME).write_text(f"password={'hunter2' * 20}\npassword={'z' * (RAW_BYTES - 50)}\nend\n")
    assert keep(Command.REPORTER, Recorded(), train_spec(tmp_path))
    assert kept(tmp_path, "logs/u1/train-2-train.log") == "password=***\nend\n"
    (out / LOG_NAME).write_text("hunter2 " * (RAW_BYTES // 4))
    keep(Command.REPORTER, Recorded(), train_spec(tmp_path))
    assert len(kept(tmp_path, "logs/u1/train-2-train.log")) == BYTES


def test_a_link_in_place_of_the_trainers_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "secret").write_text("hunter2")
    (out / LOG_NAME).symlink_to(tmp_path / "secret")
    monkeypatch.setattr(log_tail, "OUT_PATH", str(out))
    keep(Command.REPORTER, Recorded(), train_spec(tmp_path))
    assert Store(f"file://{tmp_path / 'store'}").get_document("logs/u1/train-2-train.log") is None


def test_the_recipe_has_no_credentials_and_writes_its_file(tmp_path: Path) -> None:
    recorded = record(Command.RECIPE, tmp_path)
    say("training", rows=3)
    keep(Command.RECIPE, recorded, train_spec(tmp_path))
    assert '"event":"training"' in (tmp_path / LOG_NAME).read_text()
    assert not (tmp_path / "store").exists()


def test_a_copy_ends_with_the_disk_and_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Copy(tmp_path / "no" / "folder").add("lost")
    monkeypatch.setattr(log_tail, "FILE_BYTES", 5)
    copy = Copy(tmp_path / LOG_NAME)
    for _ in range(3):
        copy.add("abc")
    assert (tmp_path / LOG_NAME).read_text() == "abcab"


@pytest.mark.parametrize("step", ["", "{", encode(prepare_spec(Path("/proc/nowhere")))], ids=["no spec", "broken", "no store"])
def test_a_log_that_cannot_be_kept_is_told_and_harms_nothing(step: str, capsys: pytest.CaptureFixture[str]) -> None:
    keep(Command.PREPARE, said("x"), step)
    assert '"event":"log not kept"' in capsys.readouterr().err


def said(text: str) -> Recorded:
    recorded = Recorded()
    recorded.add(text)
    return recorded


def test_a_store_that_does_not_answer_is_waited_for_no_longer_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Store, "put_document", lambda *_: time.sleep(1.0))
    began = time.monotonic()
    assert not keep(Command.PREPARE, said("x"), encode(prepare_spec(tmp_path)), seconds=0.05)
    assert time.monotonic() - began < 0.8
    assert "the store did not take it within 0.05 s" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["start", "join"])
def test_where_no_thread_can_be_had_the_step_ends_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, place, fail)
    assert not keep(Command.PREPARE, said("x"), encode(prepare_spec(tmp_path)))
    assert '"log not kept","reason":"RuntimeError"' in capsys.readouterr().err.replace(" ", "").replace(
        "lognotkept", "log not kept"
    )


class _Late(http.server.BaseHTTPRequestHandler):
    """An S3 server that has no object, and answers that it took one when the step is over."""

    def do_GET(self) -> None:
        body = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(3.0)
        with suppress(OSError):
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_a_store_that_answers_too_late_changes_no_exit_code(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Late)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    (tmp_path / "sitecustomize.py").write_text(
        "from pathlib import Path\nfrom perennial_runtime import contract\n"
        f"contract.STORE_SECRET_PATH = {str(tmp_path / 'secret')!r}\n"
        f"import atexit\natexit.register(Path({str(tmp_path / 'ended')!r}).touch)\n"
    )
    (tmp_path / "secret").mkdir()
    keys = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}
    for name, value in keys.items():
        (tmp_path / "secret" / f"AWS_{name}").write_text(value)
    ended = run_prepare(tmp_path, prepare_spec(tmp_path, store="s3://models/team/u1"), str(tmp_path))
    server.shutdown()
    server.server_close()
    assert ended.returncode == 64, ended.stderr
    assert '"reason":"ObjectNotFound"' in ended.stderr
    assert "the store did not take it within 2 s" in ended.stderr
    assert not (
        tmp_path / "ended"
    ).exists()  # the interpreter is not taken down under a thread that is inside the store's library


def test_only_the_end_is_kept_in_whole_lines() -> None:
    lines = [f"line {number}\n" for number in range(LINES + 50)]
    assert end_of("".join(lines)) == "".join(lines[50:]).encode()
    long = ["x" * 1000 + "\n"] * 150
    body = end_of("".join(long))
    assert (len(body), body.startswith(b"x" * 1000 + b"\n")) == (BYTES // 1001 * 1001, True)
    assert end_of("y" * (BYTES + 5)) == b"y" * BYTES


def test_what_is_remembered_is_bounded() -> None:
    recorded = Recorded()
    for number in range(RAW_BYTES // 500):
        recorded.add(f"{number:<1000}")
    recorded.add("z" * 3 * RAW_BYTES)
    recorded.add("end")
    assert RAW_BYTES <= len(recorded.text()) <= 2 * RAW_BYTES
    assert recorded.text().endswith("zend")


def run_prepare(root: Path, spec: PrepareSpec, *paths: str) -> subprocess.CompletedProcess[str]:
    """The step in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((*paths, str(Path(log_tail.__file__).parents[1]))),
        STEP_VARIABLE: encode(spec),
        TERMINATION_VARIABLE: str(root / "message"),
    }
    program = [sys.executable, "-m", "perennial_runtime", "prepare"]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_refused_step_leaves_its_answer_its_code_and_its_log(tmp_path: Path) -> None:
    ended = run_prepare(tmp_path, prepare_spec(tmp_path))
    assert ended.returncode == 64, ended.stderr
    assert '"reason":"ObjectNotFound"' in kept(tmp_path, "logs/u1/prepare-1-prepare.log")
    assert ended.stderr.startswith(kept(tmp_path, "logs/u1/prepare-1-prepare.log"))
