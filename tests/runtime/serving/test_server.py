"""The process of a serving pod, started as such: ready only when it answers as judged, and leaving without a lost request."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from perennial_runtime.contract import Refusal, decode_answer
from runtime.serving.bentos import ROW, VERSION, write_source
from runtime.serving.pods import Pod, running

BODY = {"instances": [ROW]}


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    work = tmp_path_factory.mktemp("pod")
    spec = write_source(work / "src", breaks_on_unknown=True)
    with running(spec, work, work) as found:
        found.wait_ready()
        yield found


def _metric(pod: Pod, line: str) -> float:
    text = httpx.get(f"{pod.management}/metrics").text
    return float(next(found.rsplit(" ", 1)[1] for found in text.splitlines() if found.startswith(line)))


def _requests(pod: Pod, kind: str, outcome: str) -> float:
    return _metric(pod, f'perennial_requests_total{{kind="{kind}",outcome="{outcome}",version="{VERSION}"}}')


def test_is_ready_only_after_its_golden_requests_went_through(pod: Pod) -> None:
    assert _requests(pod, "golden", "good") >= 3
    assert _requests(pod, "golden", "bad") == 0


def test_counts_good_and_bad_answers_of_clients(pod: Pod) -> None:
    good, bad = _requests(pod, "live", "good"), _requests(pod, "live", "bad")
    scores = _metric(pod, f'perennial_scores_count{{kind="live",version="{VERSION}"}}')
    assert httpx.post(f"{pod.url}/predict", json=BODY).status_code == 200
    assert httpx.post(f"{pod.url}/predict", json={"instances": [{}]}).status_code == 422
    assert httpx.post(f"{pod.url}/predict", json={"instances": [{**ROW, "carrier": "?"}]}).status_code == 500
    assert (_requests(pod, "live", "good"), _requests(pod, "live", "bad")) == (good + 1, bad + 2)
    assert _metric(pod, f'perennial_scores_count{{kind="live",version="{VERSION}"}}') == scores + len(BODY["instances"])


def test_what_comes_on_the_mirror_port_is_answered_alike_and_counted_as_mirrored(pod: Pod) -> None:
    live = _requests(pod, "live", "good"), _requests(pod, "live", "bad")
    assert httpx.post(f"{pod.mirror}/predict", json=BODY).json() == httpx.post(f"{pod.url}/predict", json=BODY).json()
    assert httpx.post(f"{pod.mirror}/predict", json={"instances": [{**ROW, "carrier": "?"}]}).status_code == 500
    assert (_requests(pod, "mirror", "good"), _requests(pod, "mirror", "bad")) == (1, 1)
    assert (_requests(pod, "live", "good"), _requests(pod, "live", "bad")) == (live[0] + 1, live[1])


def test_shows_an_openapi_page_with_a_filled_in_example(pod: Pod) -> None:
    assert "html" in httpx.get(f"{pod.url}/").text
    document = httpx.get(f"{pod.url}/docs.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    example = schema["example"]
    assert example["instances"][0]["carrier"] == "AA"
    assert httpx.post(f"{pod.url}/predict", json=example).status_code == 200
    instance = document["components"]["schemas"]["Instance"]
    assert instance["required"] == ["dep hour", "distance", "carrier"]
    assert VERSION in document["info"]["description"]


def test_management_is_not_on_the_serving_port(pod: Pod) -> None:
    assert httpx.get(f"{pod.url}/metrics").status_code == 404


@pytest.mark.refusal(19)
def test_a_body_of_50_mb_is_refused_without_being_kept(pod: Pod) -> None:
    before = pod.rss_mb()
    response = httpx.post(f"{pod.url}/predict", content=b" " * 50_000_000, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert pod.rss_mb() - before < 20
    assert httpx.post(f"{pod.url}/predict", json=BODY).status_code == 200


def test_a_client_that_hangs_up_in_its_request_is_counted_as_bad(pod: Pod) -> None:
    bad = _requests(pod, "live", "bad")
    with socket.create_connection(("127.0.0.1", pod.port)) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: pod\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        time.sleep(0.1)
    until = time.monotonic() + 5
    while _requests(pod, "live", "bad") == bad and time.monotonic() < until:
        time.sleep(0.02)
    assert _requests(pod, "live", "bad") == bad + 1


def test_its_log_holds_no_value_and_no_traceback(pod: Pod) -> None:
    httpx.post(f"{pod.url}/predict", json={"instances": [{**ROW, "carrier": "a secret", "dep hour": "another secret"}]})
    log = pod.log.read_text()
    assert "secret" not in log
    assert "Traceback" not in log


def test_golden_requests_that_are_off_end_the_process_with_a_refusal(tmp_path: Path) -> None:
    spec = write_source(tmp_path / "src")
    golden = tmp_path / "src" / "golden.json"
    document = json.loads(golden.read_text())
    document["scores"][1] += 0.01
    golden.write_text(json.dumps(document))
    answer = _ends_refused(tmp_path, spec)
    assert answer.reason == "GoldenMismatch"
    assert "golden request 1 is off by 0.01" in answer.message


@pytest.mark.refusal(13)
def test_a_model_that_was_not_judged_is_not_served(tmp_path: Path) -> None:
    spec = write_source(tmp_path / "src")
    assert _ends_refused(tmp_path, dataclasses.replace(spec, identity="f" * 64)).reason == "IdentityMismatch"


def _ends_refused(work: Path, spec: object) -> Refusal:
    with running(spec, work, work) as pod:  # type: ignore[arg-type]
        assert pod.process.wait(timeout=20) == 64
        answer = decode_answer(pod.answer.read_text())
    assert isinstance(answer, Refusal)
    return answer


def test_sigterm_before_ready_ends_it_at_once(tmp_path: Path) -> None:
    spec = write_source(tmp_path / "src")
    with running(spec, tmp_path, tmp_path, warm=30.0) as pod:
        until = time.monotonic() + 20
        while pod.ready_status() != 503 and time.monotonic() < until:
            time.sleep(0.02)
        started = time.monotonic()
        assert pod.end() == 0
        assert time.monotonic() - started < 3


async def test_no_request_is_lost_while_it_drains(tmp_path: Path) -> None:
    """Eight clients that keep their connections alive go on until each was asked to close; every request has an answer."""
    spec = write_source(tmp_path / "src")
    with running(spec, tmp_path, tmp_path, drain=3.0) as pod:
        await asyncio.to_thread(pod.wait_ready)
        leaving = asyncio.Event()
        busy = [asyncio.Event() for _ in range(8)]
        clients = [asyncio.create_task(_ask_until_closed(pod.url, one, leaving)) for one in busy]
        for one in busy:
            await one.wait()
        leaving.set()
        pod.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        assert pod.ready_status() == 503
        assert await asyncio.to_thread(pod.process.wait, 20) == 0


async def _ask_until_closed(url: str, busy: asyncio.Event, leaving: asyncio.Event) -> None:
    answered = 0
    async with httpx.AsyncClient(base_url=url) as client:
        while True:
            response = await client.post("/predict", json=BODY)
            assert response.status_code == 200
            answered += 1
            if answered == 5:
                busy.set()
            if response.headers.get("connection") == "close":
                assert leaving.is_set()
                return
            await asyncio.sleep(0.01)
