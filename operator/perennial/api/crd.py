"""`python -m perennial.api.crd`: writes crds/ and docs/api.md from the models; with --check it only says whether they are stale.

The schemas come from `perennial.api.structural`; names, printer columns and the rules on metadata.name stand here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from perennial.api import reference
from perennial.api.base import cel
from perennial.api.structural import VALIDATIONS, Schema, describe, structural
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionSpec, ModelVersionStatus

GROUP = "perennial.dev"
VERSION = "v1alpha1"
NAME_PATTERN = "^[a-z]([-a-z0-9]{0,34}[a-z0-9])?$"
HEADER = "# Generated from operator/perennial/api by `make crds`; edit the models, not this file.\n"

MEANINGS = {
    "ModelDeployment": "A model kept in service and good: trained, judged, served, rolled out, and taken back when it harms.",
    "ModelVersion": "One attempt to train a ModelDeployment's model: its inputs, and in status its evidence and verdicts.",
}
NAME_RULES = [
    cel(
        f"self.metadata.name.matches('{NAME_PATTERN}')",
        "metadata.name must have at most 36 of a-z, 0-9 and -, first a letter, last no -",
        "'metadata.name %s (%d characters): use at most 36 of a-z, 0-9 and -, first a letter, last no -, so that the names of its"
        " versions and Jobs fit'.format([self.metadata.name, size(self.metadata.name)])",
    ),
    cel(
        "!self.metadata.name.matches('-v[0-9]+$')",
        "metadata.name must not end in -v<number>, which names a version; choose another name",
        "'metadata.name %s ends in -v<number>, which names a version: choose another name'.format([self.metadata.name])",
    ),
]
VERSION_NAME_RULES = [
    cel(
        "self.metadata.name == '%s-v%d'.format([self.spec.modelDeployment, self.spec.number])",
        "metadata.name must be <modelDeployment>-v<number>",
        "'metadata.name is %s: it must be %s-v%d, from spec.modelDeployment and spec.number'"
        ".format([self.metadata.name, self.spec.modelDeployment, self.spec.number])",
    )
]

Column = tuple[str, str, str, str, int]
DEPLOYMENT_COLUMNS: tuple[Column, ...] = (
    ("Serving", "integer", ".status.stable", "The version that serves.", 0),
    ("State", "string", ".status.summary", "What is happening.", 0),
    ("Candidate", "integer", ".status.candidate", "The version that is on its way.", 0),
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether it is well.", 0),
    ("Address", "string", ".status.address", "Where to send predictions to.", 1),
    ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', "Why it is as it is.", 1),
    ("Due", "string", ".status.triggers.schedule.next", "When the schedule begins a retrain next.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Since when it is here.", 0),
)
VERSION_COLUMNS: tuple[Column, ...] = (
    ("State", "string", ".status.state", "Where in its life it is.", 0),
    (
        "Score",
        "string",
        ".status.score",
        "The first gate's metric with its interval, or by how much it is better or worse than what served.",
        0,
    ),
    ("Rows", "integer", ".status.rows", "Rows it was trained and judged on.", 0),
    ("Why", "string", ".spec.trigger.reason", "Why it was made.", 0),
    ("Holdout", "integer", ".status.holdoutRows", "Rows that only its judge saw.", 1),
    ("Message", "string", ".status.message", "Why it is as it is.", 1),
    ("Age", "date", ".metadata.creationTimestamp", "Since when it is here.", 0),
)


def custom_resource_definitions() -> dict[str, Schema]:
    """File name -> CustomResourceDefinition."""
    return {
        f"{GROUP}_modeldeployments.yaml": _definition(
            "ModelDeployment",
            "mdep",
            columns=DEPLOYMENT_COLUMNS,
            rules=NAME_RULES,
            spec=ModelDeploymentSpec,
            status=ModelDeploymentStatus,
            unseen={"observedGeneration": 0},
        ),
        f"{GROUP}_modelversions.yaml": _definition(
            "ModelVersion",
            "mver",
            columns=VERSION_COLUMNS,
            rules=VERSION_NAME_RULES,
            spec=ModelVersionSpec,
            status=ModelVersionStatus,
        ),
    }


def _definition(
    kind: str,
    short: str,
    *,
    columns: tuple[Column, ...],
    rules: list[Schema],
    spec: type[BaseModel],
    status: type[BaseModel],
    unseen: Schema | None = None,
) -> Schema:
    """`unseen` is the status of an object that no operator has seen: without one, GitOps tools would call it finished."""
    plural = f"{kind.lower()}s"
    schema = {
        "description": MEANINGS[kind],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": describe(structural(spec), spec),
            "status": {**describe(structural(status, defaults=False), status), **({"default": unseen} if unseen else {})},
        },
        VALIDATIONS: rules,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["perennial"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_printer_column(column) for column in columns],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _printer_column(column: Column) -> Schema:
    name, kind, path, description, priority = column
    found = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return found | ({"priority": priority} if priority else {})


class _Dumper(yaml.SafeDumper):
    """No anchors: a reader and other tools see every value where it belongs."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered(document: Schema) -> str:
    """YAML text, as it is kept in crds/."""
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=130, allow_unicode=True)


def generated(root: Path) -> dict[Path, str]:
    """Every generated file and its text."""
    definitions = custom_resource_definitions()
    files = {root / "crds" / name: rendered(document) for name, document in definitions.items()}
    chart = root / "charts" / "perennial-crds" / "templates"
    for name, document in definitions.items():
        kept = {**document, "metadata": {**document["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
        files[chart / name] = rendered(kept)
    files[root / "docs" / "api.md"] = reference.page(definitions.values())
    return files


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 when --check finds a stale file."""
    parser = argparse.ArgumentParser(prog="python -m perennial.api.crd", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when a file is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="root of the repository (default: the working directory)")
    options = parser.parse_args(arguments)
    stale = [(path, text) for path, text in generated(options.root).items() if not path.is_file() or path.read_text() != text]
    for path, text in stale:
        if options.check:
            sys.stdout.write(f"{path} is stale: run `make crds` and commit the result\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"{path} written\n")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
