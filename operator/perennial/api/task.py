"""What a model predicts, and the rules of the whole spec that depend on it.

A recipe is told by `training.recipe.task`. An image of the user's and a model that is there already are told by `data.task`.
Nothing else may decide it: prepare, training, evaluation and serving all get the answer of `task_of`.
"""

from __future__ import annotations

from perennial.api.base import cel
from perennial.api.builtin_metrics import of_task, words
from perennial.api.data import Data, Task
from perennial.api.training import Training

_HAS_RECIPE = "(has(self.training) && has(self.training.recipe))"
_IS_REGRESSION = (
    f"({_HAS_RECIPE} ? self.training.recipe.task == 'regression' : (has(self.data.task) && self.data.task == 'regression'))"
)
_OF_NUMBERS, _OF_CLASSES = of_task("regression"), of_task("classification")
_GATES = "!has(self.evaluation) || !has(self.evaluation.gates) || self.evaluation.gates"

TOLD_ONCE = cel(
    f"!has(self.data.task) || !{_HAS_RECIPE}",
    "data.task is for training.image and model: a recipe is told by training.recipe.task; remove data.task",
)
GATES_FIT = cel(
    f"{_GATES}.all(g, !(g.metric in ({_IS_REGRESSION} ? {_OF_CLASSES} : {_OF_NUMBERS})))",
    f"a gate's metric does not fit the task: a regression has {words(_OF_NUMBERS)}, a classification {words(_OF_CLASSES)}",
    f"{_IS_REGRESSION} ? 'the task is regression, and a gate has a metric of classes: take {words(_OF_NUMBERS, 'or')}' : "
    f"'the task is classification, and a gate has a metric of numbers: take {words(_OF_CLASSES, 'or')}, or make it a "
    "regression by training.recipe.task, or data.task'",
)
SHIFTS_FIT = cel(
    f"!{_IS_REGRESSION} || !has(self.rollout) || !has(self.rollout.metrics) || "
    "!self.rollout.metrics.exists(m, has(m.predictionShift))",
    "a predictionShift compares scores, which lie from 0 to 1: predictions of a regression have no such bounds; remove it",
)
NAMES_FIT = cel(
    f"!{_IS_REGRESSION} || !self.data.columns.exists(c, c.role == 'feature' && c.name == 'prediction')",
    "a feature of a regression can't be named prediction, which is the model's output: rename the column in the data",
)
SLICES_FIT = cel(
    f"!({_HAS_RECIPE} ? self.training.recipe.task == 'regression' : has(self.data.task) && self.data.task == 'regression')"
    " || !has(self.evaluation) || !(has(self.evaluation.slices) && self.evaluation.slices.size() > 0)",
    "a regression is not judged by slices: give its gates minimum or maximum in place of minimumPerSlice, and remove "
    "evaluation.slices",
)


def task_of(data: Data, training: Training) -> Task:
    """What the model of this data and training predicts."""
    return training.recipe.task if training.recipe else data.task or "classification"
