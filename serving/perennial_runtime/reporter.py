"""The native sidecar `reporter` of a train Job: tells progress while the trainer runs, uploads its outputs when it has ended.

The kubelet sends it SIGTERM once the main container has ended, however it ended, and waits for it. It uploads what is there
and answers with a TrainResult; whether the trainer did well is judged by the operator from the trainer's exit code and this
answer. It has the store's credentials, the trainer has none: nothing that the trainer wrote is trusted (`outputs`).

Of several workers only the first one's reporter uploads and tells anything: the others wait for the end of their trainer, and
leave no answer.

Two threads: the main one waits for SIGTERM and then uploads the outputs at once, whatever the other is in the middle of; the
other saves checkpoints, a last one after that upload. The whole is over before the pod's grace is.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perennial_runtime import checkpoint, environment
from perennial_runtime.answers import StepError, Unavailable, say
from perennial_runtime.claims import PARITY_BYTES_LIMIT, Numbers, numbers, read_claims
from perennial_runtime.contract import (
    CHECKPOINT_NAME,
    ENVIRONMENT_NAME,
    MODEL_BYTES_LIMIT,
    MODEL_NAME,
    OUT_PATH,
    PARITY_NAME,
    PROGRESS_NAME,
    PROGRESS_PORT,
    Step,
    TrainResult,
    TrainSpec,
    worker_of,
)
from perennial_runtime.outputs import OutputError, head, opened, tail
from perennial_runtime.store import Store

CHECKPOINT_SECONDS = 30.0
UPLOAD_SECONDS = 150.0
"""From SIGTERM to the answer. The train pod's terminationGracePeriodSeconds (`perennial.manifests.jobs`) is 180: after that the
kubelet kills, and nobody would be told that it was the store."""
UPLOAD_PAUSE = 2.0
LONGEST_LEFT = 1e7
"""Seconds: a guess of more says nothing."""
_LINE_BYTES = 4096


def main(spec: TrainSpec) -> TrainResult | None:
    """Serve progress and save checkpoints until SIGTERM, then upload."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # as __main__ did at the start; threads inherit it
    if worker := worker_of(os.environ):
        say("the first worker's outputs count, not these", worker=worker)
        signal.sigwait({signal.SIGTERM})
        return None
    out = Path(OUT_PATH)
    store = Store(spec.store)
    server = serve_progress(out, PROGRESS_PORT)
    ended, uploaded = threading.Event(), threading.Event()
    saver = checkpoint.Saver(store, spec.uid, out / CHECKPOINT_NAME)
    watching = threading.Thread(target=watch, args=(saver, ended, uploaded), name="checkpoints", daemon=True)
    watching.start()
    signal.sigwait({signal.SIGTERM})
    ended.set()
    server.shutdown()
    until = time.monotonic() + UPLOAD_SECONDS
    result = upload(spec, store, out, UPLOAD_SECONDS)
    uploaded.set()
    watching.join(max(0.0, until - time.monotonic()))
    return result


def watch(
    saver: checkpoint.Saver,
    ended: threading.Event,
    uploaded: threading.Event,
    seconds: float = CHECKPOINT_SECONDS,
    rest: float = checkpoint.REST_SECONDS,
) -> None:
    """Save checkpoints until `ended`, and a last one when the outputs are `uploaded`.

    The last one needs no rest, for the trainer is gone; what ended it may be the pod's deadline or an eviction.
    """
    while not ended.wait(seconds):
        _save(saver, ended, rest)
    uploaded.wait()
    _save(saver, threading.Event(), 0.0)


def _save(saver: checkpoint.Saver, stop: threading.Event, rest: float) -> None:
    """A checkpoint that can't be saved is no reason to end: where it is the store, the upload of the outputs will tell."""
    try:
        saver.save(stop, rest)
    except StepError as error:
        say("checkpoint not saved", reason=error.reason)
    except OSError as error:  # the trainer may remove a file, or the folder, at any moment
        say("checkpoint not saved", errno=error.errno)


def upload(spec: TrainSpec, store: Store, out: Path, seconds: float = UPLOAD_SECONDS, pause: float = UPLOAD_PAUSE) -> TrainResult:
    """Upload the outputs and record the result of this attempt; a store that does not answer is asked again for `seconds`.

    In a thread, for one call of obstore to a store that takes everything and answers nothing may outlast them. Raises StepError.
    """
    until = time.monotonic() + seconds
    told: Future[TrainResult] = Future()
    failures: list[Unavailable] = []

    def work() -> None:
        try:
            told.set_result(_upload_until(until, spec, store, out, pause, failed=failures.append))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            told.set_exception(error)

    threading.Thread(target=work, name="upload", daemon=True).start()
    try:
        return told.result(seconds)
    except TimeoutError:
        last = f" (its last answer: {failures[-1].message})" if failures else ""
        raise Unavailable(
            "StoreUnavailable",
            f"the outputs of attempt {spec.attempt} were not uploaded within {seconds:g} s: mend the store{last}",
        ) from None


def _upload_until(
    until: float, spec: TrainSpec, store: Store, out: Path, pause: float, *, failed: Callable[[Unavailable], None]
) -> TrainResult:
    """Asks again until the time is over; `failed` is told of each failure, for whoever waits and stops waiting first."""
    while True:
        try:
            result = collect(store, out)
            store.put_result(spec.uid, Step.TRAIN, result, key=str(spec.attempt), replace=True)
        except Unavailable as error:
            failed(error)
            if time.monotonic() + pause >= until:
                raise
            say("upload failed, trying again", reason=error.reason, seconds_left=round(until - time.monotonic()))
            time.sleep(pause)
        else:
            return result


@dataclass(slots=True)
class _Upload:
    digest: str | None = None
    size: int = 0
    problem: OutputError | None = None


def collect(store: Store, out: Path, model_limit: int = MODEL_BYTES_LIMIT) -> TrainResult:
    """Upload model.onnx, parity.parquet and the packages, and read the claims; `problem` tells the first thing that is wrong."""
    model = _upload(store, out, MODEL_NAME, model_limit)
    parity = _upload(store, out, PARITY_NAME, PARITY_BYTES_LIMIT)
    problem = model.problem or parity.problem
    ran_with = None if problem else read_environment(out)
    return TrainResult(
        model=model.digest,
        parity=parity.digest,
        model_bytes=model.size,
        problem=problem.reason if problem else None,
        message=problem.message if problem else "",
        claims=read_claims(out),
        environment=store.put_bytes(ran_with.text.encode()) if ran_with else None,
        revision=ran_with.revision if ran_with else "",
    )


def _upload(store: Store, out: Path, name: str, limit: int) -> _Upload:
    try:
        with opened(out, name, limit) as stream:
            size = stream.seek(0, 2)
            if size == 0:
                return _Upload(
                    problem=OutputError("OutputEmpty", f"the trainer wrote {out.name}/{name} with 0 bytes: write it completely")
                )
            return _Upload(store.put_file(stream), size)
    except OutputError as error:
        return _Upload(problem=error)


def read_environment(out: Path) -> environment.Environment | None:
    """The packages of environment.txt; None where the trainer told none."""
    try:
        with opened(out, ENVIRONMENT_NAME, environment.BYTES_LIMIT) as stream:
            return environment.read(stream.read())
    except OutputError:
        return None


def progress(out: Path, started: float, *, resumed: bool = False) -> dict[str, object]:
    """The answer of GET /progress: the newest complete line of progress.jsonl, numbers only, and the seconds so far; where that
    has `step` and `of`, how many per cent are done and the seconds that are left; its loss."""
    newest = _newest(tail(out, PROGRESS_NAME, _LINE_BYTES))
    seconds = time.monotonic() - started
    answer: dict[str, object] = {"seconds": round(seconds, 1), "progress": newest}
    if newest and "loss" in newest:
        answer["loss"] = newest["loss"]
    step, of = (newest or {}).get("step", 0.0), (newest or {}).get("of", 0.0)
    if newest is None or not 0.0 <= step <= of or of <= 0.0:
        return answer
    answer["percent"] = round(100.0 * step / of, 1)
    # one that resumed has not done in this time what stands before its first line
    first = numbers(head(out, PROGRESS_NAME, _LINE_BYTES).partition(b"\n")[0]).get("step", 0.0) if resumed else 0.0
    left = seconds * (of - step) / (step - first) if step > first else LONGEST_LEFT
    return {**answer, "left": round(left)} if left < LONGEST_LEFT else answer


def _newest(lines: bytes) -> Numbers | None:
    found = (numbers(line) for line in reversed(lines.splitlines()) if line.strip())
    return next((one for one in found if one), None)


def serve_progress(out: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Answer GET /progress in a thread; the caller shuts the server down."""
    resumed = (out / CHECKPOINT_NAME).is_dir()  # by `fetch`; where a trainer was quicker, only the guess of what is left is off
    server = http.server.ThreadingHTTPServer(("", port), partial(_Progress, out, time.monotonic(), resumed))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.1,), name="progress", daemon=True).start()
    return server


class _Progress(http.server.BaseHTTPRequestHandler):
    timeout = 5

    def __init__(self, out: Path, started: float, resumed: bool, *arguments: object) -> None:
        self._out = out
        self._started = started
        self._resumed = resumed
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        known = self.path == "/progress"
        body = json.dumps(self._answer() if known else {"error": "only GET /progress"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> dict[str, object]:
        return progress(self._out, self._started, resumed=self._resumed)

    def log_message(self, format: str, *args: object) -> None:
        """One look a second is no news."""
