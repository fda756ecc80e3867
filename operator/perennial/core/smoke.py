"""A smoke run: a version is made and judged as any other, but with fast hyperparameters, and the judgement is all that is wanted.

It is a ModelDeployment of its own, so it has no route, no Service and no history in common with the one that it stands for.
A version that passes ends as `Passed`; nothing in it ever becomes stable, and what is not stable is not served.
"""

from __future__ import annotations

from perennial.api.base import seconds
from perennial.api.v1alpha1 import ModelVersionSpec
from perennial.core.actions import DeleteModel
from perennial.core.draft import Draft


def hyperparameters(spec: ModelVersionSpec) -> dict[str, float]:
    """What a version trains with: the recipe's, and in a smoke run those of training.smoke in their place."""
    recipe, smoke = spec.training.recipe, spec.training.smoke if spec.smoke else None
    return {**(recipe.hyperparameters if recipe else {}), **(smoke.hyperparameters if smoke else {})}


def passed(draft: Draft, number: int) -> None:
    """A version of a smoke run has passed its gates: that is its end."""
    words = draft.versions[number].status.message
    draft.set(candidate=None)
    draft.finish(number, "Passed", words)
    draft.event("Normal", "Passed", f"v{number} passed: {words}", number)


def is_over(draft: Draft) -> bool:
    """Whether the newest version has passed, which is all that a smoke run is for."""
    return draft.observed.spec.smoke is not None and draft.state(draft.status.latest) == "Passed"


def tell(draft: Draft) -> None:
    """Ready, where it has come to its good end."""
    number = draft.status.latest
    draft.find("Ready", True, "Passed", f"v{number} passed and is not served: {draft.versions[number].status.message}")


def expire(draft: Draft) -> None:
    """The object goes when its time is over; nothing else remembers to remove one whose maker was killed."""
    wish, meta = draft.observed.spec.smoke, draft.observed.meta
    if wish is None or meta.created_at is None:
        return
    left = seconds(wish.expires_after) - (draft.observed.now - meta.created_at).total_seconds()
    if left > 0:
        draft.wake(left)
    else:
        draft.after.append(DeleteModel())
