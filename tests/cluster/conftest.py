"""Fixtures of the cluster suites: the running cluster, the operator by Helm once a session, and a namespace for each test.

Run them with `make test`, or on a cluster that is up: `pytest tests/cluster`. Nothing is skipped where there is no cluster:
the error says how to start one.
"""

from __future__ import annotations

from cluster_support.fixtures import ground, images, operator, place, shared_place

__all__ = ["ground", "images", "operator", "place", "shared_place"]
