"""`spec.evaluation`: what a model must prove before it is served."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import SpecModel, cel, rules
from perennial.api.builtin_metrics import named, words
from perennial.api.data import COLUMN_PATTERN
from perennial.api.own_metrics import METRIC_PATTERN, OwnMetrics

MOST: Final = 1e12
"""Of a bound in a unit of its own."""
LIST_BY_COLUMN = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["column"]}
_BOUNDS = "[has(self.minimum), has(self.maximum), has(self.notWorseThanServingBy), has(self.minimumPerSlice)]"
_MORE_IS_BETTER = named(lambda one: one.better == "more")
_LESS_IS_BETTER = named(lambda one: one.better == "less")
_BY_SLICE = named(lambda one: one.by_slice)
_SHARES = named(lambda one: one.share)
_NOT_COMPARED = named(lambda one: not one.compared)
_BUILT_IN = named()
_DECLARED = "(has(self.metrics) ? self.metrics.values.map(v, v.name) : [])"

SLICES_ARE_COLUMNS = cel(
    "!has(self.evaluation) || !has(self.evaluation.slices) || self.evaluation.slices.all(s, "
    "self.data.columns.exists(c, c.name == s.column && (c.role == 'feature' || c.role == 'slice')))",
    "evaluation.slices must name columns of data.columns with role feature or slice: add the column with role: slice, or correct "
    "its name",
)
AGE_NEEDS_TIME = cel(
    "!has(self.evaluation) || !has(self.evaluation.gates) || !self.evaluation.gates.exists(g, g.metric == 'data_age_hours') || "
    "self.data.columns.exists(c, c.role == 'time')",
    "a gate on data_age_hours needs a column of data.columns with role: time: give that role, or drop the gate",
)
"""Rules of the whole spec."""


class Gate(SpecModel):
    """What a model must prove: `minimum` or `maximum`, `notWorseThanServingBy`, or `minimumPerSlice`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                f"{_BOUNDS}.exists_one(given, given)",
                "a gate needs exactly one of minimum, maximum, notWorseThanServingBy and minimumPerSlice",
                f"'gate %s has %d of minimum, maximum, notWorseThanServingBy and minimumPerSlice: keep exactly one; write a gate "
                f"for each'.format([self.metric, {_BOUNDS}.filter(given, given).size()])",
            ),
            cel(
                f"!(has(self.minimum) || has(self.minimumPerSlice)) || !(self.metric in {_LESS_IS_BETTER})",
                f"of {words(_LESS_IS_BETTER)} less is better: give maximum",
                "'gate %s: of it less is better; give maximum'.format([self.metric])",
            ),
            cel(
                f"!has(self.maximum) || !(self.metric in {_MORE_IS_BETTER})",
                f"of {words(_MORE_IS_BETTER)} more is better: give minimum",
                "'gate %s: of it more is better; give minimum'.format([self.metric])",
            ),
            cel(
                f"!has(self.notWorseThanServingBy) || !(self.metric in {_NOT_COMPARED})",
                f"{words(_NOT_COMPARED)} are not compared with the serving version: give maximum",
                "'gate %s is not compared with the serving version: give maximum'.format([self.metric])",
            ),
            cel(
                f"!has(self.minimumPerSlice) || self.metric in {_BY_SLICE} || self.metric in {_LESS_IS_BETTER}",
                f"minimumPerSlice is for {words(_BY_SLICE)}: give minimum or maximum",
                f"'gate %s: minimumPerSlice is for {words(_BY_SLICE)}; give minimum or maximum'.format([self.metric])",
            ),
            cel(
                f"!(self.metric in {_SHARES}) || ((!has(self.minimum) || (self.minimum >= 0.0 && self.minimum <= 1.0))"
                " && (!has(self.notWorseThanServingBy) || self.notWorseThanServingBy <= 1.0))",
                f"{words(_SHARES)} are shares: minimum and notWorseThanServingBy are from 0 to 1",
                "'gate %s: it is a share, give a minimum or notWorseThanServingBy from 0 to 1'.format([self.metric])",
            ),
            cel(
                f"!has(self.maximum) || self.maximum >= 0.0 || !(self.metric in {_LESS_IS_BETTER})",
                f"{words(_LESS_IS_BETTER)} are never under 0: give a maximum from 0 on",
                "'gate %s: it is never under 0, give a maximum from 0 on'.format([self.metric])",
            ),
        )
    )

    metric: Annotated[str, Field(pattern=METRIC_PATTERN, max_length=32, examples=["roc_auc"])]
    """What is measured on the holdout: of a classification roc_auc, average_precision, accuracy, calibration_error (root mean
    squared, over ten bins of equal mass) and log_loss (mean of -ln of the label's probability); of several classes accuracy,
    log_loss and roc_auc (each class against the rest, and the mean of that); of a regression rmse and mae (root mean squared and
    mean absolute error, in the label's unit) and r2 (share of the label's variance that is explained); of any one of
    evaluation.metrics. And beside it: model_bytes, of model.onnx; latency_p99_ms, of one prediction in the Bento, on the node
    where it is judged; data_age_hours, of the newest row."""
    minimum: Annotated[float, Field(ge=-MOST, le=MOST)] | None = None
    """The metric's one-sided 95 % lower bound must reach this."""
    maximum: Annotated[float, Field(ge=-MOST, le=MOST)] | None = None
    """The metric's one-sided 95 % upper bound must not be over this."""
    not_worse_than_serving_by: Annotated[float, Field(ge=0, le=MOST)] | None = None
    """With 95 % confidence, not worse than the serving version by more than this; both judged on the same rows. In the metric's
    own unit: of a share at most 1, of rmse and mae the label's."""
    minimum_per_slice: Annotated[float, Field(ge=0, le=1)] | None = None
    """No slice of evaluation.slices that has enough rows may be shown to be under this, with at most 5 % false discoveries."""
    on_undecided: Literal["refuse", "pass"] = "refuse"
    """What happens when the holdout is too small to tell, or no slice has enough rows; refuse when not given."""


class SliceColumn(SpecModel):
    """A column whose values part the holdout; each value is a slice."""

    column: Annotated[str, Field(pattern=COLUMN_PATTERN, max_length=63, examples=["carrier"])]
    """Name of a column with role feature or slice. Its values are told in messages and in the status."""
    minimum_rows: Annotated[int, Field(ge=2, le=1_000_000_000)] = 200
    """A slice with fewer holdout rows is not judged; 200 when not given. At most the 20 largest values are looked at."""


class Parity(SpecModel):
    """How far the scores, or predictions, of model.onnx may be from the trainer's own."""

    max_abs_difference: Annotated[
        float,
        Field(
            gt=0,
            le=MOST,
            json_schema_extra=rules(cel("self > 0.0", "evaluation.parity.maxAbsDifference must be more than 0, e.g. 0.0001")),
        ),
    ] = 1e-4
    """Largest difference of a score, or of any class's probability; of a regression of a prediction, in the label's unit, or two
    millionths of the largest prediction where that is more, which single precision needs."""


class Evaluation(SpecModel):
    """How a model is judged."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "(has(self.gates) && self.gates.exists(g, has(g.minimumPerSlice))) == "
                "(has(self.slices) && self.slices.size() > 0)",
                "evaluation.slices and a gate with minimumPerSlice need each other: give both or neither",
            ),
            cel(
                f"!has(self.gates) || self.gates.all(g, g.metric in {_BUILT_IN} || g.metric in {_DECLARED})",
                f"a gate's metric must be {', '.join(_BUILT_IN)}, or one that evaluation.metrics.values names",
                f"'gate %s: there is no such metric; write {', '.join(_BUILT_IN)}, or one that evaluation.metrics.values names'"
                f".format([self.gates.filter(g, !(g.metric in {_BUILT_IN}) && !(g.metric in {_DECLARED}))[0].metric])",
            ),
            cel(
                "!has(self.metrics) || self.metrics.values.all(v, has(self.gates) && self.gates.exists(g, g.metric == v.name))",
                "evaluation.metrics.values names a metric that no gate holds anything against: add a gate, or remove it",
                "'evaluation.metrics.values names %s, and no gate holds anything against it: add a gate, or remove it'"
                ".format([self.metrics.values.filter(v, !has(self.gates) || !self.gates.exists(g, g.metric == v.name))[0].name])",
            ),
            cel(
                "!has(self.metrics) || !has(self.gates) || self.gates.all(g, !has(g.minimum) || "
                "!self.metrics.values.exists(v, v.name == g.metric && v.better == 'less'))",
                "of a metric with better: less a gate gives maximum",
                "'gate %s: of it less is better; give maximum'.format([self.gates.filter(g, has(g.minimum) && "
                "self.metrics.values.exists(v, v.name == g.metric && v.better == 'less'))[0].metric])",
            ),
            cel(
                "!has(self.metrics) || !has(self.gates) || self.gates.all(g, !has(g.maximum) || "
                "!self.metrics.values.exists(v, v.name == g.metric && v.better == 'more'))",
                "of a metric with better: more a gate gives minimum",
                "'gate %s: of it more is better; give minimum'.format([self.gates.filter(g, has(g.maximum) && "
                "self.metrics.values.exists(v, v.name == g.metric && v.better == 'more'))[0].metric])",
            ),
        )
    )

    gates: Annotated[list[Gate], Field(max_length=8)] = []
    """All must pass; none: every model that works is rolled out."""
    metrics: OwnMetrics | None = None
    """Metrics of your own that gates may name."""
    slices: Annotated[list[SliceColumn], Field(max_length=4, json_schema_extra=LIST_BY_COLUMN)] = []
    """Parts of the holdout that are judged by themselves, by the gates with minimumPerSlice."""
    parity: Parity = Parity()
