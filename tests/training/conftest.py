"""Fixtures of the suites about training on the cluster: triggers, sources, gates, nodes, lineage, smoke runs.

Run them with `make training`, or on a cluster that is up: `pytest tests/training`.
"""

from __future__ import annotations

import polars as pl
import pytest

from cluster.settings import from_environment
from cluster_support.fixtures import ground, images, operator, place, shared_place
from demo import flights

__all__ = ["ground", "images", "operator", "place", "shared_place"]


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """Real flights of one airline with the minutes of their delays."""
    return flights.minutes(flights.airline(flights.archive(from_environment().cache)))
