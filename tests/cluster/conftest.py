"""Fixtures of the cluster suites: the running cluster, the operator by Helm once a session, and a namespace for each test.

Run them with `make test`, or on a cluster that is up: `pytest tests/cluster`. Nothing is skipped where there is no cluster:
the error says how to start one.
"""

from __future__ import annotations

import pytest

from cluster_support.fixtures import ground, images, operator, place, shared_place

__all__ = ["ground", "images", "operator", "place", "shared_place"]


def pytest_configure(config: pytest.Config) -> None:
    """The marker of this folder: two processes share its files, and those marked so come after them, one by one."""
    words = "takes away what other tests stand on (the operator, the store, the accelerators), or measures what they slow down"
    config.addinivalue_line("markers", f"alone: {words}")
