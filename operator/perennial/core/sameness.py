"""The same inputs are not trained on twice: a version that began by itself ends after prepare when nothing is new, whether
prepare found the rows good or had to refuse them beside the version that serves.

The same: data, training and evaluation of the spec, the rows that prepare found, and the image that trains, by its name: what a
tag points to now only the registry knows. A person's retrain and a changed spec train anyway. Used by `perennial.core.training`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from perennial.api.triggers import AutomaticReason
from perennial.core.answers import data_of
from perennial.core.lineage import BY_DIGEST
from perennial.core.observed import Version

SAME = "SameInputs"
_AUTOMATIC = get_args(AutomaticReason)


def is_automatic(version: Version) -> bool:
    """Whether a trigger began it: neither the spec nor a person."""
    return version.spec.trigger.reason in _AUTOMATIC


def twin_of(versions: Iterable[Version], version: Version) -> Version | None:
    """The newest version before this one that was made of the same and has been judged."""
    found = [one for one in versions if one.number < version.number and _is_judged(one) and _is_same(one, version)]
    return max(found, key=lambda one: one.number, default=None)


def twin_of_automatic(versions: Iterable[Version], version: Version) -> Version | None:
    """Why a version that began by itself is not trained: the one that it would repeat. None for any other version."""
    return twin_of(versions, version) if is_automatic(version) else None


def ended_as_same(version: Version) -> bool:
    """Whether it ended for that, and so trained nothing."""
    return is_automatic(version) and version.status.state == "Superseded" and version.status.message.startswith(f"{SAME}: ")


def stands_for(versions: Iterable[Version], version: Version) -> Version:
    """Whose verdict a version's end is: that of the one that it would have repeated, where it ended for that, or its own."""
    return (twin_of(versions, version) if ended_as_same(version) else None) or version


def words(twin: Version) -> str:
    """What a version says that ended for that."""
    image = twin.spec.training.image
    moved = f" (if the tag of {image} was moved: name it by its digest)" if image and BY_DIGEST not in image else ""
    return (
        f"{SAME}: the data, the spec and the training image are those of v{twin.number}, which was judged already "
        f"({twin.status.state}): nothing is trained; perennial.dev/retrain=<why> trains anyway{moved}"
    )


def _is_judged(version: Version) -> bool:
    return version.status.identity is not None or version.status.state == "Rejected"


def _is_same(one: Version, other: Version) -> bool:
    before, after = data_of(one.status), data_of(other.status)
    return (
        before != ""
        and before == after
        and one.spec.inputs_digest == other.spec.inputs_digest
        and one.spec.runtime.training_image == other.spec.runtime.training_image
    )
