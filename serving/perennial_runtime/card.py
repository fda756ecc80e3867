"""The model card of a version: what it was made of and how it did on rows that it never saw, as Markdown and as one HTML page.

`perennial_runtime.evaluate` makes it from the record that the operator hands over and from what it has just measured, and stores
it by digest as one JSON document {"markdown", "html"}; `kubectl perennial card` fetches it. The Markdown has the numbers, the
page the pictures too. It is made once and tells what was true then; the verdict, and what live requests showed, is in the status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np

from perennial_runtime import card_plots
from perennial_runtime.card_classes import Classes, classes
from perennial_runtime.card_numbers import Curves, Drift, Residual, curves, drift, residuals
from perennial_runtime.contract import CLASSIFICATION, MULTICLASS, REGRESSION, GateMeasurement
from perennial_runtime.evaluate_gates import Blind

MOST_FEATURES = 20
"""Of the drift table: those that moved most."""
_RULES = {
    "minimum": "at least",
    "maximum": "at most",
    "minimumPerSlice": "in each slice at least",
    "notWorseThanServingBy": "better than the serving version by, at least",
}
LARGEST = 1e12
"""The largest bound that a manifest can ask for (`perennial.api.evaluation.MOST`)."""
_SHARES = ("roc_auc", "average_precision", "accuracy")
"""Never under 0, as an r2 or a metric of the user's own may be."""
_ESCAPED = "\\`*[]<>|"

MARKDOWN = """\
# Model card: {{ card.version }}

Made when {{ card.version }} was evaluated. Its verdict, and what live requests showed: `kubectl perennial explain`.

## Where it comes from
| | |
|---|---|
{% for what, value in card.record %}| {{ what | plain }} | {{ value | plain }} |
{% endfor %}
## Data
{% if card.parity is none %}{{ card.brought }}{% else %}\
{{ card.train_rows }} rows trained it, {{ card.judged_rows }} that it never saw judged it\
{% if card.dropped_rows %} ({{ card.dropped_rows }} more were left out: a version was trained on them){% endif %}.\
{% endif %}
{{ card.features | length }} features: {{ card.features | join(", ") | plain }}.

## Gates
Each with the one-sided 95 % bounds of its estimate.\
{% if card.weighted %} Rows count by their weights here, and all the same below.{% endif %}

| metric | gate | limit | estimate | lower | upper |
|---|---|---|---|---|---|
{% for gate in card.gates %}| {{ gate.metric | plain }} | {{ gate | rule }} | {{ gate | limit }} \
| {{ gate.estimate | figure }} | {{ gate.lower | figure }} | {{ gate.upper | figure }} |
{% endfor %}
{% if card.parity is not none %}model.onnx gives the trainer's own scores to within {{ card.parity | figure }}.{% else %}\
Parity was not judged: no trainer told its scores.{% endif %}

{% if card.task == "regression" %}\
## Residuals
{% if card.residuals %}
Rows of about the same prediction, and how far their labels are over it: the mean with its one-sided 95 % bounds, and the standard
deviation.

| mean prediction | mean residual | lower | upper | standard deviation | rows |
|---|---|---|---|---|---|
{% for bin in card.residuals %}| {{ bin.prediction | figure }} | {{ bin.mean.value | figure }} \
| {{ bin.mean.lower | figure }} | {{ bin.mean.upper | figure }} | {{ bin.spread | figure }} | {{ bin.rows }} |
{% endfor %}{% else %}
Not shown: there are too few rows.
{% endif %}\
{% elif card.classes %}\
## Classes
A row's answer is its most probable class. Precision: the share of the rows with this answer that are of the class; recall: the
share of the class's rows with this answer; ROC AUC: of the class against all others.

| class | rows | answers | precision | recall | ROC AUC |
|---|---|---|---|---|---|
{% for one in card.classes.each %}| {{ one.name | plain }} | {{ one.rows }} | {{ one.answered }} | {{ one.precision | known }} \
| {{ one.recall | known }} | {{ one.auc | known }} |
{% endfor %}
## Confusion matrix
Each line: how many rows of a class got which answer.

| class |{% for name in card.classes.confusion.names %} {{ name | plain }} |{% endfor %}
|---|{% for name in card.classes.confusion.names %}---|{% endfor %}
{% for counts in card.classes.confusion.counts %}| {{ card.classes.confusion.names[loop.index0] | plain }} \
|{% for count in counts %} {{ count }} |{% endfor %}
{% endfor %}\
{% else %}\
## Calibration
{% if card.curves %}
Rows of about the same score, and how many of them are of class 1, with the one-sided 95 % bounds.

| mean score | share of class 1 | lower | upper | rows |
|---|---|---|---|---|
{% for bin in card.curves.calibration %}| {{ bin.score | figure }} | {{ bin.observed.value | figure }} \
| {{ bin.observed.lower | figure }} | {{ bin.observed.upper | figure }} | {{ bin.rows }} |
{% endfor %}{% else %}
Not shown: a class has too few rows.
{% endif %}\
{% endif %}
## Training data beside the parent's
{% if card.drift %}
Distance from 0 to 1: of numbers Kolmogorov-Smirnov's, of categories the total variation.\
{% if card.drift | length > most %} The {{ most }} of {{ card.drift | length }} features that moved most.{% endif %}

| feature | distance | missing before | missing now |
|---|---|---|---|
{% for one in card.drift[:most] %}| {{ one.feature | plain }} | {{ one.distance | figure }} | {{ one.missing_before | figure }} \
| {{ one.missing_now | figure }} |
{% endfor %}{% else %}
{{ card.no_drift }}
{% endif %}"""

HTML = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Model card: {{ card.version }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 0.7rem 0; } td, th { border: 1px solid #ddd; padding: 0.2rem 0.6rem; }
td, th { text-align: left; overflow-wrap: anywhere; } figure { display: inline-block; margin: 0.5rem; }
svg text { font-family: system-ui, sans-serif; }
</style></head><body>
<h1>Model card: {{ card.version }}</h1>
<p>Made when {{ card.version }} was evaluated. Its verdict, and what live requests showed:
<code>kubectl perennial explain</code>.</p>
<h2>Where it comes from</h2>
<table>{% for what, value in card.record %}<tr><th>{{ what }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
<h2>Data</h2>
<p>{% if card.parity is none %}{{ card.brought }}
{% else %}{{ card.train_rows }} rows trained it, {{ card.judged_rows }} that it never saw judged it
{%- if card.dropped_rows %} ({{ card.dropped_rows }} more were left out: a version was trained on them){% endif %}.
{% endif %}{{ card.features | length }} features: {{ card.features | join(", ") }}.</p>
<h2>Gates</h2>
<p>Each with the one-sided 95 % bounds of its estimate.
{%- if card.weighted %} Rows count by their weights here, and all the same below.{% endif %}</p>
<table><tr><th>metric</th><th>gate</th><th>limit</th><th>estimate</th><th>lower</th><th>upper</th></tr>
{% for gate in card.gates %}<tr><td>{{ gate.metric }}</td><td>{{ gate | rule }}</td><td>{{ gate | limit }}</td>
<td>{{ gate.estimate | figure }}</td><td>{{ gate.lower | figure }}</td><td>{{ gate.upper | figure }}</td></tr>
{% endfor %}</table>
<p>{% if card.parity is not none %}model.onnx gives the trainer's own scores to within {{ card.parity | figure }}.
{%- else %}Parity was not judged: no trainer told its scores.{% endif %}</p>
<h2>On the holdout</h2>
{% if card.classes %}<p>A row's answer is its most probable class.</p>
<table><tr><th>class</th><th>rows</th><th>answers</th><th>precision</th><th>recall</th><th>ROC AUC against all others</th></tr>
{% for one in card.classes.each %}<tr><td>{{ one.name }}</td><td>{{ one.rows }}</td><td>{{ one.answered }}</td>
<td>{{ one.precision | known }}</td><td>{{ one.recall | known }}</td><td>{{ one.auc | known }}</td></tr>
{% endfor %}</table>
<p>Confusion matrix: each line tells how many rows of a class got which answer.</p>
<table><tr><th>class</th>{% for name in card.classes.confusion.names %}<th>{{ name }}</th>{% endfor %}</tr>
{% for counts in card.classes.confusion.counts %}<tr><th>{{ card.classes.confusion.names[loop.index0] }}</th>
{%- for count in counts %}<td>{{ count }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% else %}{% for caption, picture in pictures %}<figure><figcaption>{{ caption }}</figcaption>{{ picture | safe }}</figure>
{% else %}<p>Not shown: {% if card.task == "regression" %}there are{% else %}a class has{% endif %} too few rows.</p>{% endfor %}
{%- endif %}
<h2>Training data beside the parent's</h2>
{% if card.drift %}<p>Distance from 0 to 1: of numbers Kolmogorov-Smirnov's, of categories the total variation.</p>
<figure>{{ moved | safe }}</figure>
<table><tr><th>feature</th><th>distance</th><th>missing before</th><th>missing now</th></tr>
{% for one in card.drift[:most] %}<tr><td>{{ one.feature }}</td><td>{{ one.distance | figure }}</td>
<td>{{ one.missing_before | figure }}</td><td>{{ one.missing_now | figure }}</td></tr>
{% endfor %}</table>{% else %}<p>{{ card.no_drift }}</p>{% endif %}
</body></html>
"""


@dataclass(frozen=True, slots=True)
class Card:
    """All that a card tells."""

    version: str
    record: Sequence[tuple[str, str]]
    features: Sequence[str]
    train_rows: int
    judged_rows: int
    dropped_rows: int
    parity: float | None
    """None: it was there already, and nobody told what trained it."""
    gates: Sequence[GateMeasurement]
    curves: Curves | None
    """Of two classes."""
    classes: Classes | None
    """Of several."""
    residuals: Sequence[Residual]
    """Of a regression."""
    task: str
    weighted: bool
    drift: Sequence[Drift]
    no_drift: str
    """Why there is none."""

    @property
    def brought(self) -> str:
        """What is said of the rows of a model that was there already."""
        return (
            f"It was there already: nobody here knows which rows trained it, so it may have seen some of the {self.judged_rows} "
            f"that judged it. The golden requests and the profile come from them and {self.train_rows} others."
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What evaluate has found, beside the record."""

    blind: Blind
    gates: Sequence[GateMeasurement]
    parity: float | None
    profile: Mapping[str, Any]
    before: Mapping[str, Any] | None
    """Profile of the parent's training data, where it left one."""


def card_of(version: str, record: Sequence[tuple[str, str]], found: Measured) -> Card:
    """The card in numbers."""
    judged, task = found.blind.judged, found.blind.task
    labels, scores = found.blind.labels[judged], np.asarray(found.blind.scores[judged], dtype=np.float64)
    return Card(
        version=version,
        record=record,
        features=sorted(found.profile["features"]),
        train_rows=int(found.profile["rows"]),
        judged_rows=int(judged.sum()),
        dropped_rows=int((~judged).sum()),
        parity=found.parity,
        gates=found.gates,
        curves=curves(labels, scores) if task == CLASSIFICATION else None,
        classes=classes(found.blind.classes, labels, scores) if task == MULTICLASS else None,
        residuals=residuals(labels, scores) if task == REGRESSION else (),
        task=task,
        weighted=found.blind.weights is not None,
        drift=drift(found.before, found.profile) if found.before else (),
        no_drift="No feature is in both." if found.before else "There is no parent, or it was not evaluated: nothing to compare.",
    )


def document(card: Card) -> bytes:
    """Both renditions, as they are stored. The same card gives the same bytes."""
    pages = {"markdown": _markdown(card), "html": _html(card)}
    return json.dumps(pages, sort_keys=True, separators=(",", ":")).encode()


def _markdown(card: Card) -> str:
    return _environment(escapes=False).from_string(MARKDOWN).render(card=card, most=MOST_FEATURES)


def _html(card: Card) -> str:
    pictures = [
        ("ROC", card_plots.roc(card.curves)),
        ("Precision and recall", card_plots.precision(card.curves)),
        ("Calibration", card_plots.calibration(card.curves)),
        ("Scores", card_plots.scores(card.curves)),
    ] if card.curves else []  # fmt: skip
    if card.residuals:
        pictures = [("Residuals", card_plots.residuals(card.residuals))]
    moved = card_plots.drift(card.drift) if card.drift else ""
    page = _environment(escapes=True).from_string(HTML)
    return page.render(card=card, most=MOST_FEATURES, pictures=pictures, moved=moved)


def _environment(*, escapes: bool) -> jinja2.Environment:
    """`escapes`: for HTML. In Markdown that would be seen; `plain` does it there."""
    found = jinja2.Environment(autoescape=escapes, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701
    found.filters |= {"plain": _plain, "figure": _figure, "known": _known, "rule": _rule, "limit": _limit}
    return found


def _plain(text: object) -> str:
    """Words of somebody else as words in a Markdown table."""
    line = " ".join(str(text).split())
    return "".join(f"\\{sign}" if sign in _ESCAPED else sign for sign in line)


def _holds_something(gate: GateMeasurement) -> bool:
    """False of what is measured where no gate is asked for, and no model can miss: a share of at least 0, the largest maximum."""
    if gate.kind == "minimum":
        return not (gate.metric in _SHARES and gate.limit == 0)
    return not (gate.kind == "maximum" and gate.limit >= LARGEST)


def _limit(gate: GateMeasurement) -> str:
    return _figure(gate.limit) if _holds_something(gate) else "-"


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _known(value: float | None) -> str:
    return "-" if value is None else _figure(value)


def _rule(gate: GateMeasurement) -> str:
    return _RULES[gate.kind] if _holds_something(gate) else "none, only measured"
