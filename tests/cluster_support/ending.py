"""What a story leaves behind in the cluster, masked, so that two that were told in two namespaces can be compared.

One line for each leaf of each object: a difference between two ends is a few lines that can be read.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from cluster_support.watching import Seen, Watch

KINDS = ("ModelDeployment", "ModelVersion", "Deployment", "Service", "HTTPRoute")
NOTHING = re.compile(r"(?!)")

Manifest = dict[str, Any]

UNEQUAL = re.compile(
    r"""
    .*At | since | lastTransitionTime  # when it happened
    | ledger                           # entries bear times and counts, and digests of these; they are compared by themselves
    | shadowEvidence
    | evidence                         # requests that a rollout counted, and what its test made of them
    | message                          # words about those, about pods by their names and about seconds waited
    | clusterIPs?                      # given out by the API server
    | perennial\.dev/rendered          # digest of a manifest, in which namespace and owner's UID stand
    | perennial\.dev/operator          # each story has an operator of its own, who does not look at the others'
    | kubectl\.kubernetes\.io/.*       # what kubectl noted of the wish, that operator's name in it
    """,
    re.VERBOSE,
)
"""Fields that differ between two namespaces and two times. No digest but `rendered` does: what lies in the store is named by its
bytes, and neither rows and split (`prepare`), model and schema (`identity`) nor the packed Bento (it knows its version by name,
and no time) hold a UID or a namespace; `inputsDigest` names the data, which is the first story's for all."""
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Part of the store's URI, and what a version calls its parent by."""


def end(watch: Watch, namespaces: re.Pattern[str], also: re.Pattern[str] = NOTHING) -> set[str]:
    """The state that is left, one line for each leaf; `also` are names of fields that differ too."""
    left = [(f"{kind} {one['metadata']['name']}", _left(kind, one)) for kind in KINDS for one in watch.of(kind)]
    found = {name: masked(manifest, namespaces, also) for name, manifest in left}
    return set(lines(found))


def made(events: Iterable[Seen]) -> dict[str, int]:
    """How many objects of each kind and role came and went."""
    unique = {(seen.uid, seen.type): seen for seen in events if seen.type in ("ADDED", "DELETED")}.values()
    return dict(sorted(Counter(f"{seen.type} {seen.kind} {_role(seen)}" for seen in unique).items()))


def _role(seen: Seen) -> str:
    labels = seen.labels
    return " ".join(labels.get(f"perennial.dev/{name}", "-") for name in ("version", "step"))


def _left(kind: str, manifest: Manifest) -> Manifest:
    meta = manifest["metadata"]
    kept = {"labels": meta.get("labels"), "annotations": meta.get("annotations"), "spec": manifest.get("spec")}
    if kind.startswith("Model"):
        kept["status"] = manifest.get("status")
    return kept


def masked(value: Any, namespaces: re.Pattern[str], also: re.Pattern[str] = NOTHING) -> Any:
    """Without what must differ between two namespaces and two times. Answers of steps are JSON in a text: masked within."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in sorted(value.items()) if not UNEQUAL.fullmatch(key) and not also.fullmatch(key)}
        return {key: masked(inner, namespaces, also) for key, inner in kept.items()}
    if isinstance(value, list):
        return [masked(inner, namespaces, also) for inner in value]
    if isinstance(value, str):
        if value.startswith("{"):
            return masked(json.loads(value), namespaces, also)
        return namespaces.sub("<namespace>", UID.sub("<uid>", value))
    return value


def lines(value: Any, path: str = "") -> Iterator[str]:
    """One line for each leaf, so that a difference can be read."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from lines(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from lines(inner, f"{path}/{index}")
    else:
        yield f"{path} = {value}"
