"""Fills the cache by LIST: once before the first worker starts, after every reopening of the door, and now and then.

The watches lose an event now and then, and for ever; a relist heals that. Called by `perennial.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence

from perennial.adapters.cache import Cache, Key, slim
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, WATCHED, WHOLE
from perennial.manifests.common import MODEL_LABEL, OPERATOR_LABEL
from perennial.ports import Cluster


async def relist(cluster: Cluster, cache: Cache, namespaces: Sequence[str], operator: str = "") -> set[Key]:
    """Takes in all objects that matter, ModelDeployments first. The keys for which something was news. Raises ClusterError."""
    ours = f"{OPERATOR_LABEL}={operator}" if operator else f"!{OPERATOR_LABEL}"
    news: set[Key] = set()
    for kind in WATCHED:
        labels = ours if kind == DEPLOYMENTS_OF_MODELS else "" if kind in WHOLE else MODEL_LABEL
        for namespace in namespaces or (None,):
            items, resource_version = await cluster.list(kind, namespace, labels, keep=slim)
            news |= cache.refill(kind, items, resource_version, namespace)
    return news
