"""An image that wants root, on the real cluster: as the user that its files belong to it trains, and without, it is told which
field to set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from demo.ground import REPOSITORY

ROWS = 1500
OWNED, CLOSED = "owned", "closed"
OWNER = 1000
DOCKERFILE = f"""\
ARG BASE_IMAGE
FROM ${{BASE_IMAGE}}
USER 0
COPY train.py train.sh /home/app/
RUN chown -R {OWNER}:{OWNER} /home/app && chmod -R u=rwX,go= /home/app && chmod u+x /home/app/train.sh
ENTRYPOINT ["/home/app/train.sh"]
"""
SCRIPT = '#!/bin/sh\ntouch "$HOME/there" "$TMPDIR/too" && exec python3 /home/app/train.py\n'


@pytest.fixture(scope="module")
def both(shared_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same image twice: with training.runAsUser, and without."""
    place, folder = shared_place, tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "train.sh").write_text(SCRIPT)
    shutil.copy(Path(REPOSITORY) / "examples/scikit-learn/train.py", folder / "train.py")
    image = place.ground.cluster.push("perennial/root-example", folder, parent="perennial/training")
    place.upload(synthetic.table(ROWS))

    def wish(name: str, **training: Any) -> dict[str, Any]:
        manifest = place.manifest(name, training={"recipe": None, "image": image, "retries": 0, **training})
        manifest["spec"]["evaluation"] = {"gates": [{"metric": "roc_auc", "minimum": 0.5}]}
        return manifest

    place.kubectl.apply(wish(OWNED, runAsUser=OWNER), wish(CLOSED))
    return place


def test_image_that_wants_root_trains_as_the_user_that_is_given(both: Place) -> None:
    both.serving(1, name=OWNED, seconds=170)
    (pod,) = both.kubectl.list("pods", f"perennial.dev/model={OWNED},perennial.dev/step=train")
    (trainer,) = pod["spec"]["containers"]
    assert trainer["securityContext"]["runAsUser"] == OWNER
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_image_that_wants_root_is_told_the_field_to_set(both: Place) -> None:
    state = both.until("v1 to fail", lambda seen: seen.state(1) == "Failed", name=CLOSED, seconds=170)
    message = state.version(1)["message"]
    for words in ("could not be started", "permission denied", "runs as user 65532", "set spec.training.runAsUser"):
        assert words in message.lower() or words in message
