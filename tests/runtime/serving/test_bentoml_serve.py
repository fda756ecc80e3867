"""The stored Bento under plain `bentoml serve`: the same service without Perennial's server around it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from perennial_runtime.archive import pack, unpack
from runtime.serving.bentos import ROW, VERSION, build_bento
from runtime.serving.pods import free_port


def test_the_stored_bento_runs_under_bentoml_serve(tmp_path: Path) -> None:
    built, _ = build_bento(tmp_path / "work")
    pack(built, tmp_path / "bento.tar")
    unpack(tmp_path / "bento.tar", tmp_path / "bento")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "bentoml", "serve", str(tmp_path / "bento"), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        answer = _first_answer(f"http://127.0.0.1:{port}", process, tmp_path / "log")
        assert answer.json()["version"] == VERSION
        assert httpx.post(answer.url, json={"instances": [{}]}).status_code == 422
        assert httpx.post(answer.url, content=b"x", headers={"content-type": "application/vnd.bentoml+pickle"}).status_code == 415
        assert "example" in httpx.get(answer.url.join("/docs.json")).text
    finally:
        process.terminate()
        process.wait(timeout=20)


def _first_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> httpx.Response:
    until = time.monotonic() + 40
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            response = httpx.post(f"{url}/predict", json={"instances": [ROW]})
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        assert response.status_code == 200, response.text
        return response
    raise AssertionError(log.read_text())
