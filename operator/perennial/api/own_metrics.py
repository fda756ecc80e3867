"""`spec.evaluation.metrics`: numbers of the user's own that gates hold against a version, measured by a program in an image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.api.base import LIST_BY_NAME, Duration, SpecModel, cel, rules
from perennial.api.builtin_metrics import named
from perennial.api.data import COLUMN_PATTERN
from perennial.api.pods import ResourceRequirements

METRIC_PATTERN = "^[a-z][a-z0-9_]{0,30}[a-z0-9]$"
"""Of a metric in a gate: a built-in one (`builtin_metrics`), or one of `evaluation.metrics`."""

OWN_METRICS_HAVE_AN_IMAGE = cel(
    "!has(self.evaluation) || !has(self.evaluation.metrics) || has(self.evaluation.metrics.image)"
    " || (has(self.training) && has(self.training.image))",
    "evaluation.metrics needs an image that holds the program: add evaluation.metrics.image, for training has none of yours",
)
OWN_METRICS_READ_COLUMNS = cel(
    "!has(self.evaluation) || !has(self.evaluation.metrics) || !has(self.evaluation.metrics.columns)"
    " || self.evaluation.metrics.columns.all(name, self.data.columns.exists(c, c.name == name && "
    "c.role in ['feature', 'id', 'time', 'slice']))",
    "evaluation.metrics.columns must name columns of data.columns with role feature, id, time or slice: add the column, or "
    "correct its name",
)
"""Rules of the whole spec."""


class OwnMetric(SpecModel):
    """One number: the mean of what the program says of each holdout row."""

    name: Annotated[
        str,
        Field(
            pattern=METRIC_PATTERN,
            max_length=32,
            examples=["cost"],
            json_schema_extra=rules(
                cel(
                    f"!(self in {named()})",
                    "a metric of your own can't have the name of one that is measured anyway: rename it",
                    "'%s is measured anyway: give your metric another name'.format([self])",
                )
            ),
        ),
    ]
    """As gates name it, and as the program's column is called."""
    better: Literal["less", "more"]
    """Which way is good: less, as of a cost (gates give maximum), or more, as of a gain (gates give minimum)."""


class OwnMetrics(SpecModel):
    """A program of yours that says of each holdout row what a model's answer is worth (docs/evaluation.md). It runs when the
    model is judged, in a container of its own without credentials."""

    image: Annotated[str, Field(min_length=1, max_length=512, examples=["registry/cost@sha256:..."])] | None = None
    """Image that holds the program; training.image when not given. By digest, if it shall be the same for ever."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(min_length=1, max_length=32)]
    """The program: reads the Parquet files in $PERENNIAL_ROWS, writes one of the same name for each into $PERENNIAL_VALUES."""
    values: Annotated[list[OwnMetric], Field(min_length=1, max_length=8, json_schema_extra=LIST_BY_NAME)]
    """The metrics that it measures: columns of numbers, one for each row."""
    columns: Annotated[
        list[
            Annotated[
                str,
                Field(
                    pattern=COLUMN_PATTERN,
                    max_length=63,
                    json_schema_extra=rules(
                        cel(
                            "self != 'label' && self != 'score'",
                            "label and score are there anyway, and no other column can have their names: rename it in the data",
                        )
                    ),
                ),
            ]
        ],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Columns of data.columns that it gets beside label and score (of several classes: probability_0, probability_1 and so on);
    no more than it needs."""
    timeout: Duration = "10m"
    """Longest run of the program."""
    resources: ResourceRequirements = ResourceRequirements()
    """Requests and limits of its container."""
