"""CRDs that are older than the operator: what it writes and they do not have is named."""

from __future__ import annotations

import pytest

from fakes.cluster import shipped
from perennial.api.served import missing


def test_crds_of_this_operator_have_all_that_it_writes() -> None:
    assert missing(shipped()) == ()


@pytest.mark.parametrize(
    ("kind", "place", "found"),
    [
        ("ModelDeployment", "status.triggers", "ModelDeployment.status.triggers"),
        ("ModelDeployment", "status.triggers.starts.automatic", "ModelDeployment.status.triggers.starts.automatic"),
        ("ModelVersion", "status.progress", "ModelVersion.status.progress"),
        ("ModelVersion", "status.steps.device", "ModelVersion.status.steps.device"),
        ("ModelVersion", "spec.evaluation.gates.onUndecided", "ModelVersion.spec.evaluation.gates.onUndecided"),
        ("ModelVersion", "status", "ModelVersion.status.state"),
    ],
)
def test_a_field_that_they_do_not_have_is_named_with_its_way(kind: str, place: str, found: str) -> None:
    served = shipped()
    *way, last = place.split(".")
    node = served[kind]
    for part in way:
        node = node["properties"][part]
        node = node.get("items", node)
    del node["properties"][last]
    assert found in missing(served)
    assert len(missing(served)) == 1 or last == "status"


def test_newer_crds_and_what_a_person_writes_are_no_matter() -> None:
    served = shipped()
    served["ModelVersion"]["properties"]["status"]["properties"]["later"] = {"type": "string"}
    del served["ModelDeployment"]["properties"]["spec"]["properties"]["history"]
    assert missing(served) == ()


def test_a_kind_that_is_not_told_and_a_part_that_takes_anything_are_not_looked_at() -> None:
    assert missing({}) == ()
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert missing({"ModelDeployment": {"properties": {"status": anything}}}) == ()
