"""`spec.training`: a built-in recipe or an image of the user's, and what it runs on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Duration, SpecModel, cel, rules
from perennial.api.data import Task
from perennial.api.hyperparameters import recipe_rules, smoke_rules
from perennial.api.pods import LabelMap, PodOptions, ResourceRequirements, Toleration
from perennial.api.smoke import SmokeTraining
from perennial_runtime.contract import MOST_CLASSES

MOST_WORKERS = 64
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


class Balanced(SpecModel):
    """Each class counts the same as a whole: its rows are weighted by the reverse of their share."""


ClassWeight = Annotated[
    float,
    Field(
        gt=0,
        le=1e6,
        json_schema_extra=rules(
            cel(
                "self > 0.0",
                "a weight of recipe.classWeights.weights must be more than 0: leave rows of a class out of the data instead",
            )
        ),
    ),
]
"""The API server takes a fraction as a lower bound for 0 where whole numbers are given, so it is a rule."""


class ClassWeights(SpecModel):
    """How much more, or less, rows of a class count in training. What evaluate measures is not weighted by it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.balanced) != has(self.weights)",
                "recipe.classWeights needs either balanced: {} or, of two classes alone, weights, e.g. {'0': 1, '1': 5}",
            ),
        )
    )

    balanced: Balanced | None = None
    """By their share of the training rows (of their weights, where rows have any); {}."""
    weights: Annotated[dict[str, ClassWeight], Field(max_length=MOST_CLASSES)] | None = None
    """By class, of two: {'0': 1, '1': 5}."""


class Recipe(SpecModel):
    """A built-in trainer."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.task != 'regression' || self.algorithm == 'gradient-boosting'",
                "logistic-regression predicts classes: for a regression take algorithm: gradient-boosting",
            ),
            cel(
                "!has(self.classWeights) || self.task != 'regression'",
                "recipe.classWeights is for classes, and a regression has none: remove it",
            ),
            cel(
                "!has(self.classWeights) || !has(self.classWeights.weights) || self.task != 'multiclass'",
                "recipe.classWeights.weights is for two classes: for several take balanced: {}, or a column with role: weight",
            ),
            cel(
                "!has(self.classWeights) || !has(self.classWeights.weights) || self.task != 'classification' || "
                "(self.classWeights.weights.size() == 2 && self.classWeights.weights.all(name, name in ['0', '1']))",
                "recipe.classWeights.weights needs a number for each of the classes '0' and '1', and for no other",
            ),
            *recipe_rules(),
        )
    )

    task: Task = "classification"
    """What is predicted: classification, a label of two classes; multiclass, one of 3 to 50 classes; regression, a number."""
    algorithm: Literal["gradient-boosting", "logistic-regression"] = "gradient-boosting"
    """The trainer."""
    hyperparameters: Annotated[dict[str, float], Field(max_length=16, examples=["{learning_rate: 0.1}"])] = {}
    """Numbers for the trainer; docs/recipes.md lists what each algorithm takes."""
    class_weights: ClassWeights | None = None
    """For classes of which one is rare, or whose mistakes cost more; scores are no calibrated probabilities then. Not given:
    every row counts by its own weight."""


class FallbackToCpu(SpecModel):
    """When to train on a CPU instead, and what is different then; what is not given is as in training."""

    after: Duration = "10m"
    """How long a pod may wait for a node; time in a queue (a suspended Job) is not counted."""
    resources: ResourceRequirements | None = None
    """Requests and limits of the main container on a CPU."""
    node_selector: LabelMap | None = None
    """Labels that a node must have; {} for none, where those of training lead to the accelerator's nodes."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    """Taints that the pods accept; [] for none."""
    affinity: Annotated[dict[str, Any] | None, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = None
    """A pod's affinity; {} for none."""


class Accelerator(SpecModel):
    """An extended resource for the train container, and for no other."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!has(self.fallbackToCPU) || !has(self.fallbackToCPU.resources)"
                " || !(has(self.fallbackToCPU.resources.limits) && self.resource in self.fallbackToCPU.resources.limits)"
                " && !(has(self.fallbackToCPU.resources.requests) && self.resource in self.fallbackToCPU.resources.requests)",
                "accelerator.fallbackToCPU.resources names the accelerator's resource: on a CPU there is none; remove it",
            )
        )
    )

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
    """How many, for each worker."""
    fallback_to_cpu: Annotated[FallbackToCpu | None, Field(alias="fallbackToCPU")] = None
    """Train without the accelerator when no node has had room for so long; {} for the default below. Not given: wait."""


class Training(PodOptions):
    """How to train: a built-in recipe, or any image that keeps the file contract. With spec.model neither: then only what is said
    of pods counts, for those that prepare and judge."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "!(has(self.recipe) && has(self.image))",
                "training has both recipe and image: keep one of them",
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
            cel(
                "!has(self.workers) || self.workers == 1 || has(self.image)",
                "training.workers needs training.image: a recipe trains in one pod; remove workers",
                "'training.workers is %d and training has a recipe, which trains in one pod: give an image of yours, or remove "
                "workers'.format([self.workers])",
            ),
            *smoke_rules(),
        )
    )

    recipe: Recipe | None = None
    """A built-in trainer; {} for its defaults."""
    image: Annotated[str, Field(min_length=1, max_length=512, examples=["registry/trainer@sha256:..."])] | None = None
    """A training image of yours: reads /perennial/data/train.parquet and /perennial/params.json, writes /perennial/out/model.onnx
    and parity.parquet. By digest, if it shall be the same for ever."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = []
    """Command of the training image, if not its own."""
    run_as_user: UserId | None = None
    """User and group of the training image, if its files are another user's than 65532; root is never run."""
    smoke: SmokeTraining | None = None
    """What `kubectl perennial smoke` trains with; it is no part of a version's inputs."""
    accelerator: Accelerator | None = None
    """An accelerator for the train container."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    """Pods that train together: each gets the whole training data, its RANK and where the others are (docs/training.md)."""
    job_labels: LabelMap = {}
    """More labels for the train Job itself, e.g. kueue.x-k8s.io/queue-name: a queue."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Given to the trainer, and used for every sample of ours."""
    timeout: Duration = "1h"
    """Longest run of one attempt, queueing not counted."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """More attempts after one that failed (disruptions are not counted)."""
