"""crds/, offline: structural, bounded, described, up to date, and no rule without a case for the API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

import crd_cases
from perennial.api import crd
from perennial.api.structural import VALIDATIONS
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionSpec
from perennial_runtime.contract import LATENCY_BOUNDS_MS

ROOT = Path(__file__).resolve().parents[3]
Schema = dict[str, Any]
FORBIDDEN = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title", "not", "exclusiveMinimum", "exclusiveMaximum"}
DEFINITIONS = crd.custom_resource_definitions()


def root(name: str) -> Schema:
    schema: Schema = DEFINITIONS[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


everywhere = pytest.mark.parametrize("name", sorted(DEFINITIONS))


@everywhere
def test_a_crd_is_what_kubernetes_expects_of_one(name: str) -> None:
    kubernetes_validate.validate(DEFINITIONS[name], "1.31", strict=True)


@everywhere
def test_nothing_in_a_schema_is_unstructural(name: str) -> None:
    found = {(path, key) for path, schema in nodes(root(name)) for key in schema if key in FORBIDDEN}
    assert not found


@everywhere
def test_every_node_has_a_type(name: str) -> None:
    untyped = [path for path, schema in nodes(root(name)) if "type" not in schema and "x-kubernetes-int-or-string" not in schema]
    assert not untyped


@everywhere
def test_every_string_list_and_map_is_bounded_so_that_rules_stay_cheap(name: str) -> None:
    unbounded = []
    for path, schema in nodes(root(name)):
        kind = schema.get("type")
        if path in {".apiVersion", ".kind"}:
            continue
        if kind == "string" and not {"maxLength", "enum"} & schema.keys():
            unbounded.append(path)
        if kind == "array" and "maxItems" not in schema:
            unbounded.append(path)
        if "additionalProperties" in schema and "maxProperties" not in schema:
            unbounded.append(path)
    assert not unbounded


@everywhere
def test_every_field_that_a_person_writes_is_described(name: str) -> None:
    spec = root(name)["properties"]["spec"]
    silent = [path for path, schema in nodes(spec) if not path.endswith("]") and "description" not in schema]
    assert not silent


@everywhere
def test_defaults_keep_the_schema_they_stand_in(name: str) -> None:
    for path, schema in nodes(root(name)):
        if "default" in schema:
            assert not list(Draft202012Validator(schema).iter_errors(schema["default"])), path


@everywhere
def test_no_list_item_has_a_default_that_a_tool_would_take_for_drift(name: str) -> None:
    assert not [path for path, schema in nodes(root(name)) if "[]." in path and "default" in schema]


def test_object_that_no_operator_has_seen_has_an_older_generation_than_its_own() -> None:
    status = root("perennial.dev_modeldeployments.yaml")["properties"]["status"]
    assert status["default"] == {"observedGeneration": ModelDeploymentStatus().observed_generation}


def test_files_in_the_repository_are_what_the_models_say() -> None:
    assert crd.main(["--check", "--root", str(ROOT)]) == 0


def test_a_stale_file_is_named_with_the_command_that_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crd.main(["--root", str(tmp_path)])
    stale = tmp_path / "crds" / "perennial.dev_modelversions.yaml"
    stale.write_text("old\n")
    capsys.readouterr()
    assert crd.main(["--check", "--root", str(tmp_path)]) == 1
    assert f"{stale} is stale: run `make crds`" in capsys.readouterr().out
    assert crd.main(["--root", str(tmp_path)]) == 0
    assert crd.main(["--check", "--root", str(tmp_path)]) == 0


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    rules = {rule["message"] for name in DEFINITIONS for _, schema in nodes(root(name)) for rule in schema.get(VALIDATIONS, [])}
    assert rules == {case.rule for case in crd_cases.CASES}


def test_every_message_of_a_rule_is_short_enough_for_the_api_server() -> None:
    for name in DEFINITIONS:
        for path, schema in nodes(root(name)):
            for rule in schema.get(VALIDATIONS, []):
                assert "\n" not in rule["message"], path
                assert len(rule["message"]) <= 2048, path


def test_the_printed_columns_exist_in_the_schema() -> None:
    for name, definition in DEFINITIONS.items():
        for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]:
            path = column["jsonPath"].split("[")[0].strip(".").split(".")
            schema = root(name)
            for part in path if path[0] != "metadata" else []:
                schema = schema["properties"][part]


def test_a_latency_bound_is_one_of_the_pods_buckets() -> None:
    spec = root("perennial.dev_modeldeployments.yaml")["properties"]["spec"]["properties"]
    metric = spec["rollout"]["properties"]["metrics"]["items"]["properties"]["latency"]
    allowed = {int(value.removesuffix("ms")) for value in metric["properties"]["slowerThan"]["enum"]}
    assert allowed == {bound for bound in LATENCY_BOUNDS_MS if bound >= 5}


def test_what_the_cases_accept_the_operator_can_read() -> None:
    for case in crd_cases.CASES:
        manifest = crd_cases.edited(crd_cases.base(case.kind), case.accepted)
        model = ModelVersionSpec if case.kind == "ModelVersion" else ModelDeploymentSpec
        model.model_validate(manifest["spec"])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_keeps_the_schema_and_names_no_field_that_is_not_there(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] != "ModelDeployment":
            continue
        ModelDeploymentSpec.model_validate(manifest["spec"])
        schema = root("perennial.dev_modeldeployments.yaml")["properties"]["spec"]
        assert not list(Draft202012Validator(schema).iter_errors(manifest["spec"]))


def test_the_smallest_example_fits_on_a_screen() -> None:
    lines = [line for line in (ROOT / "examples" / "smallest.yaml").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) < 30


def test_the_complete_example_has_every_field_of_a_rollout_and_every_kind_of_metric() -> None:
    rollout = root("perennial.dev_modeldeployments.yaml")["properties"]["spec"]["properties"]["rollout"]["properties"]
    shown = yaml.safe_load((ROOT / "examples" / "complete.yaml").read_text())["spec"]["rollout"]
    assert rollout.keys() == shown.keys()
    assert rollout["metrics"]["items"]["properties"].keys() == {key for metric in shown["metrics"] for key in metric}
