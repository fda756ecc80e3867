"""What a model predicts, and the rules of the whole spec that depend on it.

A recipe is told by `training.recipe.task`. An image of the user's and a model that is there already are told by `data.task`.
Nothing else may decide it: prepare, training, evaluation and serving all get the answer of `task_of`.
"""

from __future__ import annotations

from perennial.api.base import cel
from perennial.api.builtin_metrics import named, of_task, words
from perennial.api.data import Data, Task
from perennial.api.training import Training
from perennial_runtime.contract import PROBABILITY

_HAS_RECIPE = "(has(self.training) && has(self.training.recipe))"
_TASK = f"({_HAS_RECIPE} ? self.training.recipe.task : has(self.data.task) ? self.data.task : 'classification')"
_TOLD_BY = f"({_HAS_RECIPE} ? 'training.recipe.task' : 'data.task')"
_IS_SEVERAL = f"{_TASK} == 'multiclass'"
_NUMBERS, _TWO, _SEVERAL = of_task("regression"), of_task("classification"), of_task("multiclass")
_GATES = "self.evaluation.gates"
_NO_GATES = "!has(self.evaluation) || !has(self.evaluation.gates)"


def _by_task(of_numbers: object, of_two: object, of_several: object) -> str:
    """A choice in CEL by the task t."""
    return f"(t == 'regression' ? {of_numbers} : t == 'multiclass' ? {of_several} : {of_two})"


def _unfit(task: Task) -> list[str]:
    return named(lambda one: task not in one.tasks)


_UNFIT = _by_task(_unfit("regression"), _unfit("classification"), _unfit("multiclass"))
_OUTPUT = _by_task("'prediction'", "''", "'probabilities'")
_FIT = _by_task(*(f"'{words(names, 'or')}'" for names in (_NUMBERS, _TWO, _SEVERAL)))

TOLD_ONCE = cel(
    f"!has(self.data.task) || !{_HAS_RECIPE}",
    "data.task is for training.image and model: a recipe is told by training.recipe.task; remove data.task",
)
GATES_FIT = cel(
    f"{_NO_GATES} || [{_TASK}].all(t, {_GATES}.all(g, !(g.metric in {_UNFIT})))",
    f"a gate's metric does not fit the task: a regression has {words(_NUMBERS)}, a classification {words(_TWO)}, several classes "
    f"{words(_SEVERAL)}",
    f"[{_TASK}].map(t, 'the task is %s, and %s of a gate does not fit it: take %s, or another task by %s'.format("
    f"[t, {_GATES}.filter(g, g.metric in {_UNFIT})[0].metric, {_FIT}, {_TOLD_BY}]))[0]",
)
SHIFTS_FIT = cel(
    f"{_TASK} == 'classification' || !has(self.rollout) || !has(self.rollout.metrics) || "
    "!self.rollout.metrics.exists(m, has(m.predictionShift))",
    "a predictionShift compares scores, one for each row and from 0 to 1: a regression and several classes have none; remove it",
)
NAMES_FIT = cel(
    f"[{_TASK}].all(t, !self.data.columns.exists(c, c.role == 'feature' && c.name == {_OUTPUT}))",
    "a feature of a regression can't be named prediction, and one of several classes not probabilities, which is the model's "
    "output: rename the column in the data",
)
OWN_COLUMNS_FIT = cel(
    "!has(self.evaluation) || !has(self.evaluation.metrics) || !has(self.evaluation.metrics.columns) || "
    f"!({_IS_SEVERAL}) || !self.evaluation.metrics.columns.exists(name, name.matches('^{PROBABILITY}[0-9]+$'))",
    "probability_0, probability_1 and so on are there anyway where there are several classes, and no other column of "
    "evaluation.metrics.columns can have their names: rename it in the data",
)
SLICES_FIT = cel(
    f"{_TASK} != 'regression' || !has(self.evaluation) || !(has(self.evaluation.slices) && self.evaluation.slices.size() > 0)",
    "a regression is not judged by slices: give its gates minimum or maximum in place of minimumPerSlice, and remove "
    "evaluation.slices",
)


def task_of(data: Data, training: Training) -> Task:
    """What the model of this data and training predicts."""
    return training.recipe.task if training.recipe else data.task or "classification"
