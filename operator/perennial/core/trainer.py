"""Whose user a trainer's image runs as, told where that may be why its container did not start or ended badly.

Every pod runs in the restricted profile, so an image that wants root gets another user, and finds its own files closed to it.
"""

from __future__ import annotations

import re

from perennial.api.training import Training
from perennial.core.jobs import Reading
from perennial_runtime.contract import USER

_DENIED = re.compile(r"permission denied|runAsNonRoot|non-root|run as root", re.IGNORECASE)
"""How the container runtime and the kubelet say that a user may not, or is not wanted."""
FIX = "set spec.training.runAsUser to the user that its files belong to, never root"


def user_words(training: Training, reading: Reading) -> str:
    """What to add to a reading of a train Job; empty where the user is not to blame, or a recipe is trained."""
    if training.image is None:
        return ""
    if reading.reason in ("ContainerCannotBeCreated", "ContainerCannotStart") and _DENIED.search(reading.message):
        return f"; the image runs as user {training.run_as_user or USER}: {FIX}"
    if reading.reason == "TrainerFailed" and training.run_as_user is None:
        return f"; it ran as user {USER}: where its log says that permission is denied, {FIX}"
    return ""
