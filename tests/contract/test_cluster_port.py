"""The contract of `perennial.ports.Cluster` on the fake; tests/cluster runs the same cases on a real API server."""

from __future__ import annotations

import pytest

from fakes.cluster import FakeCluster
from fakes.port_cases import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_fake_keeps_the_contract(case: Case) -> None:
    await case(FakeCluster(), "default")
