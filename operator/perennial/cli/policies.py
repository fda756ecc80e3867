"""A rollout's policy in a file: a ModelDeployment, a manifest's `rollout:`, or what stands under it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from perennial.api.rollout import Rollout
from perennial.cli import documents, validation
from perennial.cli.documents import STANDARD_INPUT
from perennial_runtime.contract import API_VERSION

_REST: dict[str, Any] = {
    "data": {
        "source": {"uri": "s3://policy/"},
        "columns": [{"name": "x", "role": "feature"}, {"name": "t", "role": "time"}, {"name": "y", "role": "label"}],
    },
    "training": {"recipe": {}},
    "serving": {"route": {"parentRefs": [{"name": "policy"}], "path": "/policy"}},
}


class Unusable(Exception):
    """No policy; the message says what is wrong."""


def read(file: str) -> Rollout:
    """The policy, checked as the API server would. Raises Unusable."""
    try:
        text = sys.stdin.read() if file == STANDARD_INPUT else Path(file).read_text(encoding="utf-8")
        found = [document.value for document in documents.documents(text)]
    except documents.Unreadable as error:
        raise Unusable(f"line {error.line}: {error}" if error.line else str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(getattr(error, "strerror", None) or str(error)) from None
    models = [value for value in found if isinstance(value, dict) and value.get("kind") == "ModelDeployment"]
    if len(models) > 1 or (not models and len(found) != 1):
        raise Unusable(f"one policy is needed; found {len(models)} ModelDeployments in {len(found)} documents")
    wish = models[0] if models else found[0]
    spec = wish.get("spec") if models else wish
    if not isinstance(spec, dict):
        raise Unusable("a policy is a ModelDeployment, or the fields of its spec.rollout")
    fields = spec.get("rollout", {}) if models or set(spec) == {"rollout"} else spec
    whole = {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": "policy"},
        "spec": {**_REST, "rollout": fields},
    }
    for problem in validation.problems(whole):
        raise Unusable(f"{problem.path}: {problem.message}" if problem.path else problem.message)
    return Rollout.model_validate(fields)
