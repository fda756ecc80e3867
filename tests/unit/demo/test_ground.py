"""What the story stands on, as far as it can be tested without a cluster: manifests of the demo, and small data sets."""

from __future__ import annotations

from pathlib import Path

import yaml

from cluster_support import synthetic
from cluster_support.place import merged
from demo import flights
from perennial.api.v1alpha1 import ModelDeploymentSpec

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_demo_manifest_is_valid_and_uses_the_columns_of_the_data() -> None:
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load((EXAMPLES / "flights/modeldeployment.yaml").read_text())["spec"])
    roles = {column.name: column.role for column in spec.data.columns}
    assert {name for name, role in roles.items() if role == "feature"} == set(flights.FEATURES)
    assert (roles[flights.LABEL], roles[flights.TIME], roles[flights.ROW]) == ("label", "time", "id")


def test_the_smallest_manifest_is_valid_and_under_thirty_lines() -> None:
    text = (EXAMPLES / "smallest.yaml").read_text()
    assert len(text.splitlines()) < 30
    spec = ModelDeploymentSpec.model_validate(yaml.safe_load(text)["spec"])
    assert {column.name for column in spec.data.columns} <= {*flights.FEATURES, flights.LABEL, flights.TIME}


def test_the_same_seed_gives_the_same_table_and_growth_keeps_old_rows() -> None:
    assert synthetic.table(50, seed=3).equals(synthetic.table(50, seed=3))
    later = synthetic.table(50, seed=3, first=50)
    assert later[synthetic.TIME].min() > synthetic.table(50, seed=3)[synthetic.TIME].max()  # type: ignore[operator]


def test_a_wish_is_merged_as_a_merge_patch_does() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]}) == {"a": {"c": 2, "e": 3}, "d": [2]}
