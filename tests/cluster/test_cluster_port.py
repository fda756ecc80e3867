"""The contract of `perennial.ports.Cluster` on the real API server, with the operator's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from cluster.api import current
from fakes.port_cases import CASES, Case
from perennial.adapters.cluster import ApiServer
from perennial.adapters.credentials import Credentials


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    monkeypatch.setenv("KUBECONFIG", str(Path(current().kubeconfig)))
    async with ApiServer(Credentials.from_environment()) as server:
        yield server


@pytest.fixture
def namespace() -> AsyncIterator[str]:
    name = f"port-{uuid4().hex[:8]}"
    current().kubectl("create", "namespace", name)
    yield name
    current().kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_api_server_keeps_the_contract(case: Case, api: ApiServer, namespace: str) -> None:
    await case(api, namespace)
