"""Rows by class on both sides of the split, and what is refused where there are several classes.

The classes are the different labels of the training rows, in order: text by code point, numbers by size. `prepare_sides` counts
them as the rows pass by; their number is bounded here, however many labels a column has. Used by `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from perennial_runtime.answers import Refused
from perennial_runtime.contract import FEWEST_CLASSES, MOST_CLASSES, ContractError, PrepareResult, encode_answer

MOST_COUNTED = 10_000
"""Different labels that are counted; there are far too many then."""
FEWEST_ROWS = 2
"""Training rows of a class: one alone can't be learnt and checked."""
_LISTED = 5

Label = str | int


@dataclass(slots=True)
class ClassCounts:
    """Rows of each label in a side, and of them those that count for more than nothing."""

    rows: dict[Label, int] = field(default_factory=dict)
    weighing: dict[Label, int] = field(default_factory=dict)
    has_more: bool = False
    """More different labels than are counted."""

    def add(self, labels: pl.Series, weights: pl.Series | None) -> None:
        """Some rows of the side."""
        self._sum(self.rows, labels)
        self._sum(self.weighing, labels if weights is None else labels.filter(weights > 0))

    def _sum(self, into: dict[Label, int], labels: pl.Series) -> None:
        for label, rows in labels.alias("label").value_counts(name="rows").iter_rows():  # the column may be called rows, too
            if label in into or len(into) < MOST_COUNTED:
                into[label] = into.get(label, 0) + rows
            else:
                self.has_more = True

    @property
    def ordered(self) -> list[Label]:
        """The labels, in the order of classes."""
        return sorted(self.rows)  # all of one kind: the column has one type


def told_in(result: PrepareResult, classes: Sequence[Label]) -> PrepareResult:
    """The result with the classes, as many by name as fit into one termination message; as it is where there are none."""
    for named in range(len(classes), -1, -1):
        told = replace(result, classes=tuple(map(repr, classes[:named])), class_count=len(classes))
        try:
            encode_answer(told)
        except ContractError:
            continue
        return told
    return result


def check(label: str, train: ClassCounts, holdout: ClassCounts, weight: str = "") -> None:
    """Raises Refused where the label's classes are too few or too many, too small, or unknown to the training rows."""
    _check_number(label, train)
    _check_sizes(label, train)
    _check_unknown(label, train, holdout)
    if weight:
        _check_weighing(weight, train, holdout)
    if len(holdout.rows) == 1:
        raise Refused(
            "OneClass",
            f"column {label!r} has only the class {_told(holdout.ordered)} in the {sum(holdout.rows.values())} holdout rows: "
            "there is nothing to tell apart; check the label, or add data",
        )


def _check_number(label: str, train: ClassCounts) -> None:
    found, rows = len(train.rows), sum(train.rows.values())
    if found < FEWEST_CLASSES:
        two = "two classes are task: classification, with labels 0 and 1; " if found == FEWEST_CLASSES - 1 else ""
        raise Refused(
            "TooFewClasses",
            f"column {label!r} has {found} class{'es' if found > 1 else ''} in the {rows} training rows "
            f"({_told(train.ordered)}), and task: multiclass is for {FEWEST_CLASSES} to {MOST_CLASSES}: {two}check the label, or "
            "add data",
        )
    if found > MOST_CLASSES:
        many = f"over {MOST_COUNTED}" if train.has_more else str(found)
        raise Refused(
            "TooManyClasses",
            f"column {label!r} has {many} classes in the {rows} training rows, and task: multiclass is for {FEWEST_CLASSES} to "
            f"{MOST_CLASSES}: put rare ones together, or take task: regression where the label is a number",
        )


def _check_sizes(label: str, train: ClassCounts) -> None:
    small = [one for one in train.ordered if train.rows[one] < FEWEST_ROWS]
    if small:
        raise Refused(
            "ClassTooSmall",
            f"column {label!r} has fewer than {FEWEST_ROWS} training rows of {_told(small)}: add rows of "
            f"{'these classes' if len(small) > 1 else 'this class'}, put it together with another, or leave its rows out",
        )


def _check_unknown(label: str, train: ClassCounts, holdout: ClassCounts) -> None:
    unknown = [one for one in holdout.ordered if one not in train.rows]
    if unknown:
        shown = [f"{one!r} in {holdout.rows[one]} row{'s' if holdout.rows[one] > 1 else ''}" for one in unknown[:_LISTED]]
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise Refused(
            "ClassUnknown",
            f"column {label!r} has classes in the holdout that no training row has ({', '.join(shown)}{more}): a model can't "
            "learn them; add rows of them to the training side, leave these rows out, or, in a new ModelDeployment, hold out by "
            "hash, where the order of rows means nothing",
        )


def _check_weighing(weight: str, train: ClassCounts, holdout: ClassCounts) -> None:
    without = [one for one in train.ordered if one not in train.weighing]
    if without and train.weighing:  # nothing at all is told of by the side itself
        raise Refused(
            "WeightsZero",
            f"column {weight!r} (role weight) is 0 in all training rows of {_told(without)}: rows that count are needed of every "
            "class; correct the weights, or leave the column or these rows out",
        )
    if len(holdout.weighing) == 1:
        raise Refused(
            "WeightsZero",
            f"column {weight!r} (role weight) is 0 in all holdout rows but those of {_told(list(holdout.weighing))}: rows that "
            "count are needed of several classes; correct the weights, or leave the column out",
        )


def _told(labels: Sequence[Label]) -> str:
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(map(repr, labels[:_LISTED])) + more
