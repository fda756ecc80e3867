"""The CycloneDX document of a version: valid, complete, and the same for the same."""

from __future__ import annotations

import json
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from perennial_runtime import sbom
from perennial_runtime.contract import EvaluateSpec
from perennial_runtime.store import Store

PACKAGES = "# python 3.11.2\n# system Linux-x86_64\nnumpy==2.2.1\nscikit-learn==1.7.0\n"


def spec(environment: str | None = "e" * 64, image: str = f"registry/trainer@sha256:{'b' * 64}") -> EvaluateSpec:
    return EvaluateSpec("delays-v3", "uid-3", "", "a" * 64, "p", "t", "h", "s", 1e-4, (), 7, environment=environment, image=image)


def test_document_keeps_the_schema_of_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom.document(spec(), PACKAGES).decode()) is None


def test_document_names_the_model_the_packages_and_what_they_ran_on() -> None:
    document = json.loads(sbom.document(spec(), PACKAGES))
    subject = document["metadata"]["component"]
    assert (subject["name"], subject["version"], subject["type"]) == ("delays", "v3", "machine-learning-model")
    assert subject["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert [one["purl"] for one in document["components"] if "purl" in one] == [
        "pkg:pypi/numpy@2.2.1",
        "pkg:pypi/scikit-learn@1.7.0",
    ]
    others = {one["type"]: one for one in document["components"] if "purl" not in one}
    assert (others["platform"]["version"], others["operating-system"]["name"]) == ("3.11.2", "Linux-x86_64")
    assert others["container"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    needs = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert "numpy==2.2.1" in needs["delays-v3"]


def test_same_environment_gives_the_same_bytes() -> None:
    assert sbom.document(spec(), PACKAGES) == sbom.document(spec(), PACKAGES)
    assert "timestamp" not in json.loads(sbom.document(spec(), PACKAGES))["metadata"]


def test_image_that_is_not_told_and_one_without_a_digest_are_told_as_they_are() -> None:
    none = json.loads(sbom.document(spec(image=""), PACKAGES))["components"]
    assert not [one for one in none if one["type"] == "container"]
    tagged = json.loads(sbom.document(spec(image="trainer:1"), PACKAGES))["components"]
    assert [(one["name"], "hashes" in one) for one in tagged if one["type"] == "container"] == [("trainer:1", False)]


def test_document_is_stored_by_digest_where_a_trainer_told_its_packages(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    digest = sbom.stored(spec(store.put_bytes(PACKAGES.encode())), store)
    assert digest is not None
    assert json.loads(store.get_bytes(digest))["bomFormat"] == "CycloneDX"
    assert sbom.stored(spec(None), store) is None
