"""`spec.data`: where the data is, what each column is for, and what is held out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import LIST_BY_NAME, SpecModel, cel, rules
from perennial.api.lineage import Provenance
from perennial.api.source import Duplicates, Source

Task = Literal["classification", "regression"]
COLUMN_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"


class DataColumn(SpecModel):
    """A column that is used, and what for; columns not named are ignored."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.role != 'feature' || self.name != 'score'",
                "a feature can't be named score, which is the model's output: rename the column in the data",
            ),
            cel(
                "!has(self.allowLeakage) || self.role == 'feature' || self.role == 'time'",
                "allowLeakage is for columns with role feature or time, which are looked at for leakage: remove it",
                "'column %s has role %s, which is not looked at for leakage: remove allowLeakage'.format([self.name, self.role])",
            ),
        )
    )

    name: Annotated[
        str,
        Field(
            pattern=COLUMN_PATTERN,
            max_length=63,
            examples=["dep_hour"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{COLUMN_PATTERN}') && !self.startsWith('__')",
                    "a column's name has letters, digits and _, starts with no digit and not with __: rename it in the data",
                    "'column %s: use letters, digits and _, first no digit and not __; rename it in the data'.format([self])",
                )
            ),
        ),
    ]
    """As it stands in the data."""
    role: Literal["feature", "label", "id", "time", "slice", "weight"]
    """feature: input of the model; label: what it predicts (0/1 or bool; of a regression a number); time: when the row became
    known, for the split; id: kept beside the row; slice: no input, only for evaluation.slices, and never given to the trainer;
    weight: no input, how much the row counts in training and in the gates, 0 or more."""
    allow_leakage: Annotated[str, Field(min_length=1, max_length=256, examples=["known at the counter"])] | None = None
    """Why this column may tell the label, or the rows, by itself: it is left out of the search for leakage."""


class Holdout(SpecModel):
    """The part of the data that the trainer never sees: the newest `fraction` of the rows, by the time column."""

    fraction: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            json_schema_extra=rules(
                cel(
                    "self > 0.0 && self < 1.0",
                    "holdout.fraction must be more than 0 and less than 1, e.g. 0.2",
                    "'data.holdout.fraction is %s: it must be more than 0 and less than 1, e.g. 0.2'.format([self])",
                )
            ),
        ),
    ] = 0.2
    """Share of the rows."""
    by: Literal["time"] = "time"
    """How rows are chosen: by the column with role time."""


class Data(SpecModel):
    """The data of a model."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.columns.exists_one(c, c.role == 'label')",
                "data.columns must name exactly one column with role: label",
                "'data.columns has %d columns with role: label; give that role to exactly one'"
                ".format([self.columns.filter(c, c.role == 'label').size()])",
            ),
            cel(
                "self.columns.exists(c, c.role == 'feature')",
                "data.columns has no column with role: feature; name at least one that the model may read",
            ),
            cel(
                "self.columns.filter(c, c.role == 'weight').size() <= 1",
                "data.columns can name one column with role: weight, by which rows count",
                "'data.columns has %d columns with role: weight; give that role to one at most'"
                ".format([self.columns.filter(c, c.role == 'weight').size()])",
            ),
            cel(
                "self.holdout.by != 'time' || self.columns.exists_one(c, c.role == 'time')",
                "data.columns must name exactly one column with role: time, because holdout.by is time",
                "'data.columns has %d columns with role: time; give that role to exactly one, because holdout.by is time'"
                ".format([self.columns.filter(c, c.role == 'time').size()])",
            ),
        )
    )

    source: Source
    columns: Annotated[list[DataColumn], Field(min_length=2, max_length=256, json_schema_extra=LIST_BY_NAME)]
    """Every column that is used; one label, one time, at least one feature."""
    task: Task | None = None
    """What the label is, where training.image trains or spec.model is there already: classification, when not given, a label of
    two classes; regression, a number. A recipe is told by training.recipe.task."""
    duplicates: Duplicates = Duplicates()
    """Rows that are there more than once."""
    holdout: Holdout = Holdout()
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    """Fewer rows after duplicates are removed: refused, because nothing honest can be said."""
    provenance: Provenance | None = None
    """Where the data comes from and who may use it; copied to every version."""
