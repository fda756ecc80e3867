"""Fixtures of the suites about training on the cluster: triggers, sources, gates, nodes, lineage, smoke runs.

Run them with `make training`, or on a cluster that is up: `pytest tests/training`.
"""

from __future__ import annotations

from cluster_support.fixtures import ground, images, operator, place, shared_place

__all__ = ["ground", "images", "operator", "place", "shared_place"]
