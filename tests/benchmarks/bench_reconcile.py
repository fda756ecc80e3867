"""How soon a changed spec leads to the first write of a child, when the operator is idle.

Both times are the API server's own, from its audit log: from the arrival of the request that changes the spec to the arrival of
the operator's first write of a child, so that what the API server takes for the change is in it. A changed seed asks for a new
version; a hundred changes come one after the other. The namespace has a quota of no pods.
"""

from __future__ import annotations

import time
from datetime import datetime

from benchmarks.bench_scale import create, percentiles, settled
from benchmarks.report import Report, histogram
from benchmarks.stand import Stand, without_pods
from cluster_support import audit
from cluster_support.place import Place

MODELS = 20
CHANGES = 100
P50_MS, P99_MS = 40.0, 150.0
BETWEEN_SECONDS = 0.4
CHILDREN = ("modelversions", "jobs", "deployments", "services", "httproutes")


def run(stand: Stand) -> Report:
    """A hundred changes, one after the other."""
    report = Report("reconcile", "From a changed spec to the first write", " ".join((__doc__ or "").split("\n\n")[1].split()))
    with stand.place("reconcile") as place:
        without_pods(place)
        with stand.operator(place) as operator:
            create(place, [operator.given(place.manifest(f"model-{number}")) for number in range(MODELS)])
            settled(place)
            since = audit.now()
            for number in range(CHANGES):
                change = {"spec": {"training": {"seed": 100 + number}}}
                place.kubectl.patch("mdep", f"model-{number % MODELS}", change)
                time.sleep(BETWEEN_SECONDS)
            time.sleep(2.0)
            found = delays(place, since)
    if len(found) != CHANGES:
        raise AssertionError(f"{len(found)} of {CHANGES} changes led to a write of a child")
    percentiles(report, "changed spec to first child write", found, P50_MS, P99_MS)
    report.pictures.append(histogram("milliseconds", found, 10.0, "ms"))
    return report


def delays(place: Place, since: datetime) -> list[float]:
    """Milliseconds for each change, in their order."""
    waiting: dict[str, datetime] = {}
    found: list[float] = []
    for event in audit.events(place.ground.cluster, since, place.namespace):
        about = event["objectRef"]
        model = about.get("name", "").rpartition("-v")[0] if about["resource"] != "modeldeployments" else about["name"]
        if about["resource"] == "modeldeployments" and event["verb"] == "patch" and not audit.is_operator(event):
            waiting[model] = datetime.fromisoformat(event["requestReceivedTimestamp"])
        elif about["resource"] in CHILDREN and not about.get("subresource") and audit.is_operator(event):
            # the name of a created version is in the answer only: the changes come one at a time
            name = model if model in waiting else next(iter(waiting), "")
            if name in waiting:
                arrived = datetime.fromisoformat(event["requestReceivedTimestamp"])
                found.append((arrived - waiting.pop(name)).total_seconds() * 1000)
    return found
