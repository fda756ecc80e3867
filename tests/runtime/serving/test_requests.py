"""POST /predict as a client sees it: right answers, and a clear 4xx for everything else (R18, R19)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perennial_runtime import predict
from perennial_runtime.predict import MAX_BODY_BYTES, MAX_INSTANCES, RequestModel, SchemaBroken, features_of
from perennial_runtime.service import Door, Predictor
from runtime.serving.bentos import ROW, ROWS, VERSION, write_source

SECRET = "4929-1234-5678-9012"
JSON = {"content-type": "application/json"}


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"BentoML's own routes"})


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    source = tmp_path_factory.mktemp("bento") / "src"
    write_source(source, breaks_on_unknown=True)
    return Predictor(source, threads=1)


@pytest.fixture
async def client(predictor: Predictor) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Door(_not_found, predictor))
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as found:
        yield found


async def _post(client: httpx.AsyncClient, *instances: Any) -> httpx.Response:
    return await client.post("/predict", content=json.dumps({"instances": instances}), headers=JSON)


async def test_answers_one_prediction_for_each_instance_and_names_its_version(client: httpx.AsyncClient) -> None:
    response = await _post(client, *ROWS[:2])
    assert response.status_code == 200
    assert response.headers["x-perennial-version"] == VERSION
    body = response.json()
    assert body["version"] == VERSION
    assert [item["label"] for item in body["predictions"]] == [1, 0]
    # sigmoid(-0.3 + 0.14005 + 0.5) and, with the null filled by zero, sigmoid(-1.2 - 0.5)
    assert [item["score"] for item in body["predictions"]] == pytest.approx([0.58424, 0.15446], abs=1e-4)


async def test_an_integer_is_a_number_and_a_permitted_null_is_answered(client: httpx.AsyncClient) -> None:
    assert (await _post(client, {**ROW, "dep hour": 9, "distance": None})).status_code == 200


async def test_many_rows_answer_as_one_by_one(client: httpx.AsyncClient) -> None:
    together = (await _post(client, *ROWS[:2] * 50)).json()["predictions"]
    alone = [(await _post(client, row)).json()["predictions"][0] for row in ROWS[:2]]
    assert together == alone * 50


@pytest.mark.refusal(18)
@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        ({"dep hour": ...}, "dep hour", "missing"),
        ({"surprise": 1}, "surprise", "not a feature of this model"),
        ({"dep hour": None}, "dep hour", "null or not a number"),
        ({"dep hour": SECRET}, "dep hour", "null or not a number"),
        ({"dep hour": True}, "dep hour", "null or not a number"),
        ({"dep hour": [1]}, "dep hour", "null or not a number"),
        ({"carrier": 7}, "carrier", "null or not a string"),
        ({"carrier": None}, "carrier", "null or not a string"),
        ({"distance": SECRET}, "distance", "not a number"),  # null is allowed there
        ({"dep hour": float("nan")}, "dep hour", "not a finite number"),
        ({"distance": float("-inf")}, "distance", "not a finite number"),
        ({"dep hour": 1e300}, "dep hour", "too large for a 32-bit number"),
        ({"carrier": SECRET * 500}, "carrier", "longer than 4096 characters"),
    ],
)
async def test_a_wrong_feature_is_refused_with_instance_field_and_fix_but_never_its_value(
    client: httpx.AsyncClient, capfd: pytest.CaptureFixture[str], change: dict[str, Any], field: str, problem: str
) -> None:
    row = {name: value for name, value in {**ROW, **change}.items() if value is not ...}
    response = await _post(client, ROW, row)
    assert response.status_code == 422
    body = response.json()
    assert body["error"] == "InvalidRequest"
    detail = body["details"][0]
    assert (detail["instance"], detail["field"], detail["problem"]) == (1, field, problem)
    assert detail["fix"].startswith(("Send a ", "Leave it out"))
    captured = capfd.readouterr()
    assert SECRET not in response.text + captured.out + captured.err


@pytest.mark.refusal(18)
@pytest.mark.parametrize(
    "body", ["[]", "{}", "7", '{"instances": {}}', '{"instances": []}', '{"instances": [7]}', '{"instances": [{}], "x": 1}']
)
async def test_a_body_of_another_shape_is_refused_with_the_shape_to_send(client: httpx.AsyncClient, body: str) -> None:
    response = await client.post("/predict", content=body, headers=JSON)
    assert response.status_code == 422
    assert response.json()["details"][0]["fix"]


async def test_at_most_ten_problems_are_listed_and_the_rest_counted(client: httpx.AsyncClient) -> None:
    body = (await _post(client, *[{}] * 30)).json()
    assert len(body["details"]) == 10
    assert body["message"].endswith("(89 more)")
    assert (await _post(client, *[{}] * 900)).json()["message"].endswith("(at least 101 more)")
    surplus = (await _post(client, {f"f{number}": number for number in range(50)})).json()
    assert [item["field"] for item in surplus["details"]] == [f"f{number}" for number in range(10)]
    assert surplus["message"].endswith("(49 more)")


@pytest.mark.refusal(19)
async def test_more_instances_than_allowed_are_refused_by_413(client: httpx.AsyncClient) -> None:
    response = await _post(client, *[ROW] * (MAX_INSTANCES + 1))
    assert response.status_code == 413
    assert response.json()["error"] == "TooManyInstances"
    assert (await _post(client, *[ROW] * MAX_INSTANCES)).status_code == 200


async def test_a_text_full_of_punctuation_is_a_text(client: httpx.AsyncClient) -> None:
    text = 'a:1, "b":2, \\" ' * 200
    assert text.count(",") * MAX_INSTANCES > 2 * MAX_INSTANCES * (len(ROW) + 8)
    response = await _post(client, *[{**ROW, "carrier": text}] * MAX_INSTANCES)
    assert response.status_code == 500  # the model's: it knows AA and UA alone, and the request is sound


KEYS = b",".join(b'"%x":0' % number for number in range(700_000))
BODIES = {
    "an instance of a million unknown fields": b'{"instances":[{' + KEYS + b"}]}",
    "spaces before the colons": b'{"instances":[{' + KEYS.replace(b'":', b'" :') + b"}]}",
    "a body of a million unknown fields": b"{" + KEYS + b"}",
    "one field a million times": b'{"instances":[{' + b'"a":0,' * 1_390_000 + b'"a":0}]}',
    "a feature of a million lists": b'{"instances":[{"carrier":[' + b"[]," * 2_700_000 + b"0]}]}",
    "a million empty instances": b'{"instances":[' + b"{}," * 2_700_000 + b"{}]}",
    "a thousand empty instances of many features": b'{"instances":[' + b"{}," * 999 + b"{}]}",
    "unknown fields for many features": b'{"instances":[{' + KEYS[:2_500_000].rpartition(b",")[0] + b"}]}",
}
ASKED = """
import sys, time
from pathlib import Path
from perennial_runtime.predict import BadRequest, RequestModel, features_of
one = {"kind": "numeric", "nullable": False, "example": 1}
requests = RequestModel(features_of({"features": [{**one, "name": f"feature {number}"} for number in range(int(sys.argv[1]))]}))
def most_kilobytes():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
body = sys.stdin.buffer.read()
before, started = most_kilobytes(), time.process_time()
try:
    requests.parse(body)
except BadRequest as refused:
    print(refused.status, most_kilobytes() - before, time.process_time() - started)
"""
MOST_KB = 100 * 1024
"""A pod has 512 MiB, of which it uses 160: it must stand this."""


@pytest.mark.refusal(19)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_made_to_fill_the_memory_is_refused_in_little_of_it(name: str) -> None:
    body = BODIES[name]
    assert len(body) <= MAX_BODY_BYTES
    features = "254" if name.endswith("many features") else "3"
    environment = {**os.environ, "PYTHONPATH": str(Path(predict.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", ASKED, features], input=body, env=environment, capture_output=True, timeout=60, check=True
    )
    status, kilobytes, seconds = done.stdout.split()
    assert status in (b"413", b"422")
    assert int(kilobytes) < MOST_KB
    assert float(seconds) < 1.0


@pytest.mark.refusal(19)
@pytest.mark.parametrize("body", [b"", b"{", b'{"instances": [', b"\xff\xfe", b"instances=1"])
async def test_broken_json_is_refused_by_400_with_an_example(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/predict", content=body, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"] == "BrokenJson"
    assert '"dep hour": 9' in response.json()["message"]


@pytest.mark.refusal(19)
@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/vnd.bentoml+pickle", "application/x-pickle"],
)
async def test_another_content_type_is_refused_by_415(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await client.post("/predict", content=json.dumps({"instances": [ROW]}).encode(), headers=headers)
    assert response.status_code == 415
    assert "Content-Type: application/json" in response.json()["message"]


@pytest.mark.refusal(19)
async def test_a_compressed_body_is_refused_by_415(client: httpx.AsyncClient) -> None:
    response = await client.post("/predict", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})
    assert response.status_code == 415


@pytest.mark.refusal(19)
async def test_a_body_that_announces_too_much_is_refused_before_any_of_it_is_read(predictor: Predictor) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"50000000")]
    await Door(_not_found, predictor)({"type": "http", "path": "/predict", "method": "POST", "headers": headers}, receive, send)
    assert sent[0]["status"] == 413


@pytest.mark.refusal(19)
async def test_a_body_that_announces_nothing_is_cut_off_at_the_limit(predictor: Predictor) -> None:
    read = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1_000_000
        return {"type": "http.request", "body": b"x" * 1_000_000, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    await Door(_not_found, predictor)({"type": "http", "path": "/predict", "method": "POST", "headers": headers}, receive, send)
    assert sent[0]["status"] == 413
    assert read <= MAX_BODY_BYTES + 1_000_000


async def test_a_model_that_breaks_on_a_request_answers_500_without_the_value_and_answers_the_next(
    client: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    response = await _post(client, {**ROW, "carrier": SECRET})
    assert response.status_code == 500
    assert response.json()["error"] == "ModelFailed"
    captured = capfd.readouterr()
    assert "model failed" in captured.err
    assert "Traceback" not in response.text + captured.err
    assert SECRET not in response.text + captured.out + captured.err
    assert (await _post(client, ROW)).status_code == 200


async def test_everything_but_predictions_is_left_to_bentoml(client: httpx.AsyncClient) -> None:
    assert (await client.get("/predict")).status_code == 404
    assert (await client.post("/other")).text == "BentoML's own routes"


def test_a_feature_may_have_any_name() -> None:
    names = ["class", "model_config", "a b", "日本", "f0"]
    features = features_of({"features": [{"name": name, "kind": "numeric", "nullable": False, "example": 1} for name in names]})
    requests = RequestModel(features)
    body = json.dumps({"instances": [{name: index for index, name in enumerate(names)}]}).encode()
    assert requests.columns(requests.parse(body)) == {name: [float(index)] for index, name in enumerate(names)}


@pytest.mark.parametrize(
    "schema", [{}, {"features": []}, {"features": [{"name": "a"}]}, {"features": [{"name": "a", "kind": "x", "nullable": True}]}]
)
def test_a_schema_that_prepare_did_not_write_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaBroken):
        features_of(schema)
