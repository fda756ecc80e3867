"""The metrics that need no program: what a gate may ask of each, in one table.

`evaluation`, `own_metrics` and `task` make the lists in their CEL rules, and the words of their messages, from it. How a metric
is measured is the runtime's business (`perennial_runtime.measures`, `evaluate_facts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from perennial.api.data import Task

ANY: Final[tuple[Task, ...]] = get_args(Task)
CLASSES: Final[tuple[Task, ...]] = ("classification", "multiclass")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A metric, and what a gate may hold against it."""

    name: str
    tasks: tuple[Task, ...]
    """What a model must predict to be measured by it."""
    better: Literal["more", "less"]
    """Which way is good: more takes a minimum, less a maximum, and is never under 0."""
    share: bool = False
    """It lies from 0 to 1, or under 1 and is held against nothing else: so do a minimum and a margin."""
    by_slice: bool = False
    """It is measured in parts of the holdout, too."""
    compared: bool = True
    """The version that serves is measured beside it."""


METRICS: Final = (
    BuiltIn("roc_auc", CLASSES, "more", share=True, by_slice=True),
    BuiltIn("average_precision", ("classification",), "more", share=True, by_slice=True),
    BuiltIn("accuracy", CLASSES, "more", share=True, by_slice=True),
    BuiltIn("calibration_error", ("classification",), "less", share=True),
    BuiltIn("log_loss", CLASSES, "less"),
    BuiltIn("rmse", ("regression",), "less"),
    BuiltIn("mae", ("regression",), "less"),
    BuiltIn("r2", ("regression",), "more", share=True),
    BuiltIn("model_bytes", ANY, "less", compared=False),
    BuiltIn("latency_p99_ms", ANY, "less", compared=False),
    BuiltIn("data_age_hours", ANY, "less", compared=False),
)


def named(wanted: Callable[[BuiltIn], bool] = lambda _: True) -> list[str]:
    """The names of those that are wanted, in the table's order; as CEL writes a list, too."""
    return [one.name for one in METRICS if wanted(one)]


def of_task(task: Task) -> list[str]:
    """The names of those that say something about the predictions of this task."""
    return named(lambda one: task in one.tasks and one.tasks != ANY)


def words(names: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)
