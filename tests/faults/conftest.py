"""The fixtures of the suites on the cluster."""

from __future__ import annotations

from cluster_support.fixtures import ground, images, operator

__all__ = ["ground", "images", "operator"]
