"""Requests that stand in an applied manifest are told from those that a person types."""

from __future__ import annotations

import json
from typing import Any

from perennial.adapters import observe
from perennial.adapters.cache import slim
from perennial.adapters.declared import declared_keys

RETRAIN = "perennial.dev/retrain"


def managed(operation: str, *keys: str) -> dict[str, Any]:
    fields = {"f:metadata": {"f:annotations": {f"f:{key}": {} for key in keys}}}
    return {"manager": "somebody", "operation": operation, "fieldsV1": fields}


def test_what_server_side_apply_owns_is_declared() -> None:
    assert declared_keys({"managedFields": [managed("Apply", RETRAIN, "other.dev/x")]}) == [RETRAIN]


def test_what_kubectl_annotate_wrote_is_not() -> None:
    assert declared_keys({"managedFields": [managed("Update", RETRAIN)]}) == []


def test_what_kubectl_apply_sent_is_declared() -> None:
    applied = json.dumps({"metadata": {"annotations": {RETRAIN: "from Git"}}})
    assert declared_keys({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}) == [RETRAIN]


def test_nonsense_declares_nothing() -> None:
    for applied in ("{", "[]", '{"metadata": 3}', ""):
        assert declared_keys({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}) == []
    assert (
        declared_keys({"managedFields": [{"operation": "Apply"}, {"operation": "Apply", "fieldsV1": {"f:metadata": []}}]}) == []
    )


def test_the_slim_copy_in_the_cache_still_knows() -> None:
    manifest = {
        "apiVersion": "perennial.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {
            "namespace": "shop",
            "name": "m",
            "uid": "u",
            "resourceVersion": "1",
            "annotations": {RETRAIN: "x"},
            "managedFields": [managed("Apply", RETRAIN)],
        },
    }
    kept = slim(manifest)
    assert "managedFields" not in kept["metadata"]
    assert observe.meta_of(kept).declared == {RETRAIN}
