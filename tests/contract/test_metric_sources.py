"""The contract of `perennial.ports.MetricProvider` on the fake; tests/cluster runs the same cases on a real Prometheus server."""

from __future__ import annotations

import pytest

from fakes.metric_cases import CASES, Case
from fakes.prometheus import FakePrometheus


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_the_fake_keeps_the_contract(case: Case) -> None:
    async with FakePrometheus() as server:
        await case(server)
