"""The operator as a process: what it says to a person who starts it, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from fakes.cluster import shipped
from fakes.watch_api import WatchApi
from perennial.settings import VARIABLES

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "PERENNIAL_SERVING_IMAGE": "registry/runtime@sha256:1",
    "PERENNIAL_TRAINING_IMAGE": "registry/training@sha256:2",
    "PERENNIAL_STORE_URI": "s3://bucket/prefix",
}


async def perennial(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PERENNIAL_", "KUBE"))}
    path = os.pathsep.join(str(REPOSITORY / name) for name in ("operator", "serving"))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perennial",
        *arguments,
        env={**clean, "PYTHONPATH": path, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_help_names_every_setting() -> None:
    process = await perennial("--help")
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert not [name for name, _ in VARIABLES if f"PERENNIAL_{name}" not in out.decode()]


async def test_a_missing_setting_is_one_line_and_exit_code_2() -> None:
    process = await perennial()
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "PERENNIAL_SERVING_IMAGE is not set" in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize(
    ("environment", "words"),
    [({}, "KUBECONFIG is not set"), ({"KUBECONFIG": "/nonexistent"}, "the Kubernetes configuration cannot be used")],
)
async def test_no_cluster_to_work_on_is_told(environment: dict[str, str], words: str) -> None:
    process = await perennial(**SETTINGS, **environment)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert words in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.fixture
async def api() -> AsyncIterator[tuple[WatchApi, str]]:
    api = WatchApi()
    server = await api.start()
    yield api, server
    await api.stop()


def kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until_ready(port: int) -> None:
    async with asyncio.timeout(15), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


async def test_it_gets_ready_writes_nothing_and_ends_within_seconds_of_sigterm(api: tuple[WatchApi, str], tmp_path: Path) -> None:
    watch_api, server = api
    port = free_port()
    process = await perennial(**SETTINGS, KUBECONFIG=kubeconfig(tmp_path, server), PERENNIAL_METRICS_PORT=str(port))
    await until_ready(port)
    async with asyncio.timeout(10):
        while not watch_api.streams.get("jobs"):  # noqa: ASYNC110 - happens in another process
            await asyncio.sleep(0.02)
    told = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()
    assert process.returncode == 0
    assert time.monotonic() - told < 5
    assert "Traceback" not in errors.decode()
    assert {method for method, _, _ in watch_api.requests} == {"GET"}


async def test_crds_that_are_older_than_the_operator_are_told_once_at_the_start(
    api: tuple[WatchApi, str], tmp_path: Path
) -> None:
    watch_api, server = api
    for kind, schema in shipped().items():
        schema["properties"]["status"]["properties"].pop("progress", None)
        name = {"group": "perennial.dev", "version": "v1alpha1", "kind": kind}
        watch_api.schemas[kind] = {**schema, "x-kubernetes-group-version-kind": [name]}
    port = free_port()
    process = await perennial(**SETTINGS, KUBECONFIG=kubeconfig(tmp_path, server), PERENNIAL_METRICS_PORT=str(port))
    await until_ready(port)
    process.send_signal(signal.SIGTERM)
    out, errors = await process.communicate()
    said = (out + errors).decode()
    assert said.count("the CRDs in this cluster are older than the operator and do not have ModelVersion.status.progress:") == 1
