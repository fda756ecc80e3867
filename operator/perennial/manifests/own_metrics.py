"""The evaluate pod of a version with metrics of the user's own: two containers that run before evaluate, one after the other.

    score (ours: store in, rows out) -> metrics (the user's: rows in, values out) -> evaluate (ours: store and values in)

The user's container gets the rows, read-only, a folder for its values and a /tmp of its own: no Secret, no token, no folder of
ours. With a /tmp in common it could leave packages there that our next container would import, which has the store's keys. It has
ended when evaluate starts. Used by `perennial.manifests.jobs`; versions without such metrics have none of this.
"""

from __future__ import annotations

from perennial.api.own_metrics import OwnMetrics
from perennial.core.observed import Version
from perennial.manifests.common import Manifest, container, empty_dir, mount, resources, resources_of, with_env, with_step
from perennial_runtime.contract import ROWS_PATH, STORE_SECRET_PATH, VALUES_PATH, WORK_PATH, Command, Container

VALUES_SIZE = "4Gi"
"""Of the program's folder: more, and the kubelet ends the pod."""
_PROGRAM_RESOURCES = resources("100m", "256Mi", "2", "2Gi")
_OWN_TMP = "metrics-tmp"


def before_evaluate(version: Version, own: OwnMetrics, step: str, wanted: Manifest) -> list[Manifest]:
    """Both containers; `step` is evaluate's input, which score gets too, and `wanted` are the resources of steps of ours."""
    mounts = [mount("work", WORK_PATH), mount("store", STORE_SECRET_PATH, read_only=True), mount("rows", ROWS_PATH)]
    score = container(Container.SCORE, version.spec.runtime.training_image, mounts, wanted, Command.SCORE)
    return [with_step(score, step), _program(version, own)]


def volumes() -> list[Manifest]:
    """What the containers hand on."""
    values = {"name": "values", "emptyDir": {"sizeLimit": VALUES_SIZE}}
    return [empty_dir("rows"), values, empty_dir(_OWN_TMP)]


def values_mount() -> Manifest:
    """Where evaluate finds what the program wrote."""
    return mount("values", VALUES_PATH, read_only=True)


def _program(version: Version, own: OwnMetrics) -> Manifest:
    training = version.spec.training
    mounts = [mount("rows", ROWS_PATH, read_only=True), mount("values", VALUES_PATH)]
    made = container(
        Container.METRICS, own.image or training.image or "", mounts, resources_of(own.resources, _PROGRAM_RESOURCES)
    )
    own_tmp = [{**one, "name": _OWN_TMP} if one["name"] == "tmp" else one for one in made["volumeMounts"]]
    security = dict(made["securityContext"])
    if own.image is None and training.run_as_user is not None:
        security |= {"runAsUser": training.run_as_user, "runAsGroup": training.run_as_user}
    environment = {"PERENNIAL_ROWS": ROWS_PATH, "PERENNIAL_VALUES": VALUES_PATH, "PERENNIAL_SEED": str(training.seed)}
    return {
        **with_env({**made, "volumeMounts": own_tmp, "securityContext": security}, environment),
        "command": list(own.command),
    }
