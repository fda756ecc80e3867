"""The BentoML service of a Bento directory: typed POST /predict, OpenAPI page, clear 4xx.

Two ways lead here, with the same answers: `make_app` for `server` in a serving pod, and `make_service` for plain `bentoml serve`,
which imports the Bento's own src/service.py (written by `bento`). BentoML brings the service's class, its typed API, its OpenAPI
page and the app around it. POST /predict itself is answered by `Door` from the same pydantic models: BentoML's own handler would
read a body of any size, guess the content type, log values of refused requests and rebuild schemas for each answer. Under
`bentoml serve` the door is a middleware of the service; in a pod it stands before BentoML's app, for the tracing and timer
middlewares there take 0.25 ms of CPU for each request, the door and a small model 0.03 ms (tests/benchmarks/serving_latency.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from perennial_runtime.answers import say
from perennial_runtime.bento import IDENTITY_FILE, MODEL_FILE, SCHEMA_FILE
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, PREDICTION_OUTPUT, PROBABILITIES_OUTPUT
from perennial_runtime.onnx_model import ServedModel
from perennial_runtime.predict import (
    MAX_BODY_BYTES,
    MAX_INSTANCES,
    BadRequest,
    PredictedNumber,
    Prediction,
    PredictNumbersResponse,
    PredictResponse,
    RequestModel,
    SchemaBroken,
    classes_response,
    features_of,
)
from perennial_runtime.scoring import Classes, Schema, ScoreError, classes_of, task_of

PREDICT_PATH = "/predict"
VERSION_HEADER = "x-perennial-version"
SCORED = "perennial.scored"
"""Key of an ASGI scope: who wants to know the scores of an answer, a function of a sequence of floats."""
CLIENT_GONE = 499
"""Status noted for a client that hung up before its request was complete; it never sees it."""
TIMEOUT_SECONDS = 5
"""BentoML's timer keeps about 7 kB for each request alive for this long."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Scores = list[float] | list[list[float]]
"""Of a request: a number for each instance, or of several classes one for each of them."""


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody waits for an answer."""


class Predictor:
    """Requests in, answers out: model, schema, threshold and version of one Bento, whose schema says what is predicted."""

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        schema = _read(directory / SCHEMA_FILE)
        identity = _read(directory / IDENTITY_FILE)
        self.version = str(identity["version"])
        self.requests = RequestModel(features_of(schema))
        self._task = task_of(schema)
        self._classes = _classes(schema)
        self._names = tuple(map(str, self._classes))
        self.model = ServedModel(directory / MODEL_FILE, schema, threads)
        self._threshold = float(identity["threshold"])
        self.response: type[BaseModel] = self._typed()

    def _typed(self) -> type[BaseModel]:
        if self._task == MULTICLASS:
            return classes_response(self._classes)
        return PredictResponse if self._task == CLASSIFICATION else PredictNumbersResponse

    async def predict(self, instances: Any) -> BaseModel:
        """The typed answer for checked instances. Raises ScoreError."""
        answers = self._shown(await self._scores(instances))
        if self._task == MULTICLASS:
            return self.response.model_validate({"predictions": answers, "version": self.version})
        if self._task != CLASSIFICATION:
            numbers = [PredictedNumber.model_construct(prediction=one["prediction"]) for one in answers]
            return PredictNumbersResponse.model_construct(predictions=numbers, version=self.version)
        predictions = [Prediction.model_construct(label=int(one["label"]), score=one["score"]) for one in answers]
        return PredictResponse.model_construct(predictions=predictions, version=self.version)

    async def answer(self, body: bytes, tell: Callable[[Sequence[float]], None] | None = None) -> bytes:
        """JSON in, JSON out; `tell` gets the scores, which two classes alone have. Raises BadRequest or ScoreError."""
        scores = await self._scores(self.requests.parse(body))
        if tell is not None and self._task == CLASSIFICATION:
            tell(scores)
        return orjson.dumps({"predictions": self._shown(scores), "version": self.version})

    async def _scores(self, instances: Any) -> Any:
        found: Scores = (await self.model.score(self.requests.columns(instances))).tolist()
        return found

    def _shown(self, scores: Any) -> list[dict[str, Any]]:
        if self._task == CLASSIFICATION:
            return [{"label": self._label(score), "score": score} for score in scores]
        if self._task == MULTICLASS:
            return [self._told(row) for row in scores]
        return [{PREDICTION_OUTPUT: number} for number in scores]

    def _told(self, row: Sequence[float]) -> dict[str, Any]:
        """The most probable class, of equal ones the first, and all of them by name."""
        return {"label": self._classes[row.index(max(row))], PROBABILITIES_OUTPUT: dict(zip(self._names, row, strict=True))}

    def _label(self, score: float) -> int:
        return 1 if score >= self._threshold else 0


def _classes(schema: Schema) -> Classes:
    try:
        return classes_of(schema)
    except ValueError as error:
        raise SchemaBroken(f"{SCHEMA_FILE} is not what prepare writes: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SchemaBroken(f"{path.name} cannot be read: {error}") from error
    return document


def make_service(directory: Path, threads: int | None = None) -> Any:
    """The `bentoml.Service` of a Bento's src directory. Raises SchemaBroken or ModelBroken."""
    return _declare(Predictor(directory, threads))


def make_app(directory: Path, threads: int | None = None) -> App:
    """The ASGI app of a serving pod: the door, and BentoML's app for the rest. Raises SchemaBroken or ModelBroken."""
    predictor = Predictor(directory, threads)
    return Door(_declare(predictor).to_asgi(), predictor)


def _declare(predictor: Predictor) -> Any:
    import bentoml  # noqa: PLC0415 - takes a second and reads the environment

    class Service:
        async def predict(self, instances: Any) -> BaseModel:
            """Scores rows: one prediction for each instance, in their order."""
            return await predictor.predict(instances)

    api = bentoml.api(route=PREDICT_PATH, input_spec=predictor.requests.model, output_spec=predictor.response)
    Service.predict = api(Service.predict)  # type: ignore[method-assign]
    Service.__doc__ = f"Predictions of {predictor.version}."

    class Documented(bentoml.Service):  # type: ignore[misc]  # BentoML is not typed
        @property
        def doc(self) -> str:
            return _description(predictor)

    decorate = bentoml.service(
        name="predictor",
        workers=1,
        service_class=Documented,
        traffic={"timeout": TIMEOUT_SECONDS},
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
    )
    service = decorate(Service)
    service.add_asgi_middleware(Door, predictor=predictor)
    return service


def _description(predictor: Predictor) -> str:
    body = json.dumps({"instances": [predictor.requests.example]})
    return (
        f"Predictions of **{predictor.version}**, trained and judged by Perennial.\n\n"
        f"```\ncurl -H 'Content-Type: application/json' http://HOST{PREDICT_PATH} -d '{body}'\n```\n\n"
        f"A request holds at most {MAX_INSTANCES} instances and {MAX_BODY_BYTES // 2**20} MiB; an error names the instance, the "
        "field and what to send instead."
    )


class Door:
    """ASGI middleware: answers POST /predict, lets everything else through to BentoML."""

    def __init__(self, app: App, predictor: Predictor) -> None:
        self._app = app
        self._predictor = predictor
        self._version = (VERSION_HEADER.encode(), predictor.version.encode())
        self._failures = 0
        self._told_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] != PREDICT_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        status, body = await self._answer(scope, receive)
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), self._version]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        try:
            _check_headers(scope)
            return 200, await self._predictor.answer(await _body(receive), scope.get(SCORED))
        except ClientGone:
            return CLIENT_GONE, b""
        except BadRequest as refused:
            return refused.status, orjson.dumps(refused.body())
        except ScoreError as error:
            self._tell(error)
            message = f"{self._predictor.version} failed on this request; other requests are not affected. Tell its owner."
            return 500, orjson.dumps({"error": "ModelFailed", "message": message})

    def _tell(self, error: ScoreError) -> None:
        """At most one line a second: a broken version fails on every request."""
        self._failures += 1
        if time.monotonic() - self._told_at >= 1.0:
            self._told_at = time.monotonic()
            say("model failed", version=self._predictor.version, failures=self._failures, problem=str(error))


def _check_headers(scope: Scope) -> None:
    headers = dict(scope["headers"])
    content_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if content_type != b"application/json":
        raise BadRequest(415, "WrongContentType", "Only JSON is accepted. Send the header Content-Type: application/json")
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise BadRequest(415, "WrongContentEncoding", "A compressed body is not accepted. Send it without Content-Encoding")
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large() -> BadRequest:
    limit = MAX_BODY_BYTES // (1024 * 1024)
    return BadRequest(413, "BodyTooLarge", f"The body is larger than {limit} MiB. Send the rows in several requests.")
