"""A train Job of several workers: an Indexed Job, the headless Service by which they find each other, and what they are told.

The names follow from the Job: worker i is <job>-<i>.<version>-train. One worker's bad exit ends the attempt (backoffLimit 0);
one that is evicted gets a new pod with the same index. Used by `perennial.manifests.jobs` and `perennial.applying`.
"""

from __future__ import annotations

from perennial.core.actions import CreateJob
from perennial.core.observed import Version
from perennial.manifests.common import (
    INDEX_ANNOTATION,
    MANAGED_BY,
    ROLE_LABEL,
    STEP_LABEL,
    Manifest,
    metadata,
    version_labels,
    version_owner,
)
from perennial_runtime.contract import MACHINES_PORT, RENDEZVOUS_PORT


def service_name(version: Version) -> str:
    """Name of the Service, which is the subdomain of the workers' names."""
    return f"{version.meta.name}-train"


def as_indexed(job: Manifest, version: Version, workers: int) -> Manifest:
    """The Job with so many pods at once, each with a number and a name."""
    spec = job["spec"]
    pod = {**spec["template"]["spec"], "subdomain": service_name(version)}
    template = {**spec["template"], "spec": pod}
    more = {"completions": workers, "parallelism": workers, "completionMode": "Indexed", "template": template}
    return {**job, "spec": {**spec, **more}}


def workers_service(model: str, version: Version, action: CreateJob) -> Manifest | None:
    """The headless Service of a version's workers, for all of its attempts; None where there is one worker only.

    A worker that is not ready has a name already: they wait for each other while they start.
    """
    if action.step != "train" or version.spec.training.workers == 1:
        return None
    selector = {**version_labels(model, version.number), STEP_LABEL: action.step, ROLE_LABEL: "train"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(service_name(version), version.meta.namespace, version_owner(version), {**selector, **MANAGED_BY}),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [
                {"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"},
                {"name": "machines", "port": MACHINES_PORT, "protocol": "TCP"},
            ],
        },
    }


def rendezvous(version: Version, job: str, workers: int, processes: int) -> list[Manifest]:
    """Variables by which the workers meet: torch.distributed's (MASTER_ADDR, ...), torchrun's own (PET_...), LightGBM's list."""
    names = [f"{job}-{index}.{service_name(version)}" for index in range(workers)]
    rank = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_ANNOTATION}']"}}
    values = {
        "MASTER_ADDR": names[0],
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "WORLD_SIZE": str(workers),
        "PET_MASTER_ADDR": names[0],
        "PET_MASTER_PORT": str(RENDEZVOUS_PORT),
        "PET_NNODES": str(workers),
        "PET_NPROC_PER_NODE": str(processes),
        "PERENNIAL_MACHINES": ",".join(f"{name}:{MACHINES_PORT}" for name in names),
    }
    told = [{"name": name, "value": value} for name, value in values.items()]
    return [*told, *({"name": name, "valueFrom": rank} for name in ("RANK", "PET_NODE_RANK"))]
