"""The Job of a reproduction: a version's train Job as it was rendered then, in which another sidecar waits for the trainer's end.

`fetch` and the trainer are the train Job's to the last field, but for the trainer's image, which is named by the digest that it
had; `compare` stands in the reporter's place, has read access to what the trainer wrote and was given, and uploads nothing. Its
pod has no version label, by which the version's Service selects: the version may serve.
"""

from __future__ import annotations

from perennial.core.actions import CreateJob, CreateReproduceJob
from perennial.core.inputs import job_name
from perennial.core.jobs import REPRODUCE_STEP
from perennial.core.observed import Version
from perennial.manifests.common import STEP_LABEL, VERSION_LABEL, Manifest, container, empty_dir, mount, resources, with_step
from perennial.manifests.jobs import DATA_PATH, deaf_at_first, job
from perennial_runtime.contract import OUT_PATH, STORE_SECRET_PATH, WORK_PATH, Command, Container, encode

_COMPARE_RESOURCES = resources("50m", "128Mi", "1", "2Gi")


def reproduce_job(model: str, version: Version, action: CreateReproduceJob) -> Manifest:
    """The Job of one attempt to make a version again."""
    made = job(model, version, CreateJob(version.number, "train", action.attempt, action.train, action.on_cpu))
    name = job_name(model, version.number, REPRODUCE_STEP, action.attempt)
    labels = {**made["metadata"]["labels"], STEP_LABEL: REPRODUCE_STEP}
    template = made["spec"]["template"]
    told = {**template["metadata"]["labels"], STEP_LABEL: REPRODUCE_STEP}
    told.pop(VERSION_LABEL)
    fetch, _ = template["spec"]["initContainers"]
    (trainer,) = template["spec"]["containers"]
    pod = {
        **template["spec"],
        "initContainers": [fetch, _compare(action)],
        "containers": [{**trainer, "image": action.image}],
        "volumes": [*template["spec"]["volumes"], empty_dir("work")],
    }
    return {
        **made,
        "metadata": {**made["metadata"], "name": name, "labels": labels},
        "spec": {**made["spec"], "template": {"metadata": {"labels": told}, "spec": pod}},
    }


def _compare(action: CreateReproduceJob) -> Manifest:
    mounts = [
        mount("out", OUT_PATH, read_only=True),
        mount("data", DATA_PATH, read_only=True),
        mount("work", WORK_PATH),
        mount("store", STORE_SECRET_PATH, read_only=True),
    ]
    ours = container(Container.COMPARE, action.compares, mounts, _COMPARE_RESOURCES, Command.COMPARE)
    return {**with_step(deaf_at_first(ours), encode(action.compare)), "restartPolicy": "Always"}
