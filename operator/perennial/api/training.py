"""`spec.training`: a built-in recipe or an image of the user's, and what it runs on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Duration, SpecModel, cel, rules
from perennial.api.pods import PodOptions
from perennial.api.smoke import SmokeTraining

RESOURCE_PATTERN = "^[a-z0-9.-]+/[A-Za-z0-9._-]+$"


UserId = Annotated[
    int,
    Field(
        json_schema_extra=rules(
            cel(
                "self >= 1 && self <= 2147483647",
                "training.runAsUser must be from 1 to 2147483647: root (0) is never run; give the image's files to another user",
                "'training.runAsUser is %d: write a number from 1 to 2147483647; root (0) is never run, so give the files of"
                " the image to another user'.format([self])",
            )
        )
    ),
]


class Recipe(SpecModel):
    """A built-in trainer."""

    task: Literal["classification"] = "classification"
    """What is predicted: a label of two classes."""
    algorithm: Literal["gradient-boosting", "logistic-regression"] = "gradient-boosting"
    """The trainer."""
    hyperparameters: Annotated[dict[str, float], Field(max_length=16)] = {}
    """Numbers for the trainer, e.g. learning_rate: 0.1."""


class Accelerator(SpecModel):
    """An extended resource for the train container, and for no other."""

    resource: Annotated[
        str,
        Field(
            pattern=RESOURCE_PATTERN,
            max_length=253,
            json_schema_extra=rules(
                cel(
                    f"self.matches('{RESOURCE_PATTERN}')",
                    "accelerator.resource must be <domain>/<name>, e.g. nvidia.com/gpu",
                    "'training.accelerator.resource is %s: write <domain>/<name>, e.g. nvidia.com/gpu'.format([self])",
                )
            ),
        ),
    ] = "nvidia.com/gpu"
    """Name under which nodes advertise it."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many."""


class Training(PodOptions):
    """How to train: a built-in recipe, or any image that keeps the file contract."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.recipe), has(self.image)].exists_one(given, given)",
                "training needs exactly one of recipe and image",
                "has(self.image) ? 'training has both recipe and image: keep one of them' "
                ": 'training has neither recipe nor image: add recipe: {} for the built-in trainer, or an image of yours'",
            ),
            cel(
                "!has(self.command) || size(self.command) == 0 || has(self.image)",
                "training.command needs training.image: a recipe has its own command; remove command",
            ),
            cel(
                "!has(self.runAsUser) || has(self.image)",
                "training.runAsUser needs training.image: a recipe has its own user; remove runAsUser",
            ),
            cel(
                "!has(self.accelerator) || !has(self.resources)"
                " || !(has(self.resources.limits) && self.accelerator.resource in self.resources.limits)"
                " && !(has(self.resources.requests) && self.accelerator.resource in self.resources.requests)",
                "training.resources names the accelerator's resource too: leave it to training.accelerator",
            ),
        )
    )

    recipe: Recipe | None = None
    """A built-in trainer; {} for its defaults."""
    image: Annotated[str, Field(min_length=1, max_length=512, examples=["registry/trainer@sha256:..."])] | None = None
    """A training image of yours: reads /perennial/data/train.parquet and /perennial/params.json, writes /perennial/out/model.onnx
    and parity.parquet. By digest, if it shall be the same for ever."""
    command: Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=32)] = []
    """Command of the training image, if not its own."""
    run_as_user: UserId | None = None
    """User and group of the training image, if its files are another user's than 65532; root is never run."""
    smoke: SmokeTraining | None = None
    """What `kubectl perennial smoke` trains with; it is no part of a version's inputs."""
    accelerator: Accelerator | None = None
    """An accelerator for the train container."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Given to the trainer, and used for every sample of ours."""
    timeout: Duration = "1h"
    """Longest run of one attempt, queueing not counted."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """More attempts after one that failed (disruptions are not counted)."""
