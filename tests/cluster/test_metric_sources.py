"""The contract of `perennial.ports.MetricProvider` on a real Prometheus server. It needs the host's packages, not the cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster_support.prometheus import RealPrometheus, running
from fakes.metric_cases import CASES, Case


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    with running(tmp_path_factory.mktemp("prometheus")) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_prometheus_keeps_the_contract(case: Case, server: RealPrometheus) -> None:
    await case(server)
