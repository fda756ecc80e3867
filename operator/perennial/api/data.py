"""`spec.data`: where the data is, what each column is for, and what is held out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import LIST_BY_NAME, SpecModel, cel, rules
from perennial.api.lineage import Provenance
from perennial.api.source import Duplicates, Source

Task = Literal["classification", "multiclass", "regression"]
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
    role: Literal["feature", "label", "id", "time", "slice", "group", "synthetic", "sensitive", "weight"]
    """feature: input of the model; label: what it predicts (0/1 or bool; of several classes text or whole
    numbers; of a regression a number); time: when the row became
    known, for the split; id: kept beside the row; slice: no input, only for evaluation.slices, and never given to the trainer;
    group: rows of one value are held out together, for holdout.by: group; synthetic: true where the row was made, which is never
    held out; sensitive: it is there and may not be used, so it is never read; weight: no input, how much the row counts in
    training and in the gates, 0 or more."""
    allow_leakage: Annotated[str, Field(min_length=1, max_length=256, examples=["known at the counter"])] | None = None
    """Why this column may tell the label, or the rows, by itself: it is left out of the search for leakage."""


class Holdout(SpecModel):
    """The part of the data that the trainer never sees. A row keeps its side in all versions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.by == oldSelf.by",
                "data.holdout.by can't be changed, for rows would change sides: make a new ModelDeployment for another split",
                "'data.holdout.by was %s and is %s: rows that were trained on would be held out; set it back, or make a new "
                "ModelDeployment'.format([oldSelf.by, self.by])",
            ),
            cel(
                "self.by == 'time' || self.by != oldSelf.by || self.fraction == oldSelf.fraction",
                "data.holdout.fraction can't be changed with by: hash or group, for rows would change sides: make a new "
                "ModelDeployment for another split",
                "'data.holdout.fraction was %s and is %s: by %s, rows that were trained on would be held out; set it back, or "
                "make a new ModelDeployment'.format([oldSelf.fraction, self.fraction, self.by])",
            ),
        )
    )

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
    """Share of the rows; by hash or group in expectation, and fixed with the first version."""
    by: Literal["time", "hash", "group"] = "time"
    """How rows are chosen: the newest, by the column with role time; by a hash of the column with role id, or of the whole
    row where there is none; or whole groups, by a hash of the column with role group."""


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
                "'data.columns has %d columns with role: time; give that role to exactly one, because holdout.by is time; data "
                "without a time takes holdout: {by: hash}'.format([self.columns.filter(c, c.role == 'time').size()])",
            ),
            cel(
                "self.holdout.by == 'time' || self.columns.filter(c, c.role == 'time').size() <= 1",
                "data.columns must name at most one column with role: time",
                "'data.columns has %d columns with role: time; give that role to one at most'"
                ".format([self.columns.filter(c, c.role == 'time').size()])",
            ),
            cel(
                "self.columns.filter(c, c.role == 'group').size() == (self.holdout.by == 'group' ? 1 : 0)",
                "data.columns must name exactly one column with role: group where holdout.by is group, and none elsewhere",
                "self.holdout.by == 'group' ? 'data.columns has %d columns with role: group; give that role to exactly one, "
                "because holdout.by is group'.format([self.columns.filter(c, c.role == 'group').size()]) : "
                "'data.columns has a column with role: group, and holdout.by is %s: write holdout: {by: group}, or give it "
                "another role'.format([self.holdout.by])",
            ),
            cel(
                "self.columns.filter(c, c.role == 'synthetic').size() <= 1",
                "data.columns must name at most one column with role: synthetic",
                "'data.columns has %d columns with role: synthetic; give that role to one at most'"
                ".format([self.columns.filter(c, c.role == 'synthetic').size()])",
            ),
        )
    )

    source: Source
    columns: Annotated[list[DataColumn], Field(min_length=2, max_length=256, json_schema_extra=LIST_BY_NAME)]
    """Every column that is used, and those that may not be; one label, at least one feature, and what holdout.by needs."""
    task: Task | None = None
    """What the label is, where training.image trains or spec.model is there already: classification, when not given, a label of
    two classes; multiclass, one of 3 to 50 classes; regression, a number. A recipe is told by training.recipe.task."""
    duplicates: Duplicates = Duplicates()
    """Rows that are there more than once."""
    holdout: Holdout = Holdout()
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    """Fewer rows after duplicates are removed, synthetic ones not counted: refused, because nothing honest can be said."""
    provenance: Provenance | None = None
    """Where the data comes from and who may use it; copied to every version."""
