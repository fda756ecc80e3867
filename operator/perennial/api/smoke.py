"""Smoke runs: `spec.smoke` says that a ModelDeployment is one, `spec.training.smoke` what any smoke run trains with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.api.base import Duration, SpecModel


class Smoke(SpecModel):
    """A version is made of all data and judged by every gate, and never served; then nothing more happens. {} with the default
    below. `kubectl perennial smoke` makes such an object and removes it."""

    expires_after: Duration = "24h"
    """So long after it was made this ModelDeployment is deleted, with all that belongs to it, whatever has become of it."""


class SmokeTraining(SpecModel):
    """What is different where a smoke run trains: it shall be fast, not good."""

    hyperparameters: Annotated[dict[str, float], Field(max_length=16, examples=["{max_iter: 5}"])] = {}
    """Take the place of the recipe's of the same names; an image of yours finds them in hyperparameters of params.json."""
