"""The pictures of a model card, as SVG by leather: no scripts, nothing to fetch. The same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

import leather

from perennial_runtime.card_numbers import Curves, Drift, Residual

WIDTH, HEIGHT = 460, 360
OURS, CHANCE, OTHER = "#0b6e4f", "#b0b0b0", "#b5179e"
MOST_BARS = 12


def roc(found: Curves) -> str:
    """The ROC curve, with what chance would give."""
    chart = _chart("False positive rate", "True positive rate")
    chart.add_line([(0, 0), (1, 1)], name="chance", stroke_color=CHANCE, width=1)
    chart.add_line(found.roc, name="this version", stroke_color=OURS)
    return _svg(chart)


def precision(found: Curves) -> str:
    """Precision by recall."""
    chart = _chart("Recall", "Precision")
    chart.add_line(found.precision, name="this version", stroke_color=OURS)
    return _svg(chart)


def calibration(found: Curves) -> str:
    """Observed share by score, with its bounds, beside the diagonal of scores that mean what they say."""
    chart = _chart("Mean score", "Share of class 1")
    chart.add_line([(0, 0), (1, 1)], name="as it should be", stroke_color=CHANCE, width=1)
    chart.add_line([(one.score, one.observed.value) for one in found.calibration], name="observed", stroke_color=OURS)
    for bound in ("lower", "upper"):
        points = [(one.score, getattr(one.observed, bound)) for one in found.calibration]
        chart.add_line(points, name=f"{bound} bound", stroke_color=OTHER, width=1)
    return _svg(chart)


def scores(found: Curves) -> str:
    """How the scores of both classes lie."""
    highest = max((share for points in found.scores for _, share in points), default=1.0)
    chart = _chart("Score", "Share of the class", highest=max(0.1, min(1.0, highest * 1.1)))
    for points, name, colour in zip(found.scores, ("class 0", "class 1"), (OTHER, OURS), strict=True):
        chart.add_line(points, name=name, stroke_color=colour)
    return _svg(chart)


def residuals(found: Sequence[Residual]) -> str:
    """How far labels are over the prediction, by prediction, beside the line of predictions that are right on average."""
    across = [one.prediction for one in found]
    highest = max(max(abs(one.mean.lower), abs(one.mean.upper), one.spread) for one in found) or 1.0
    left, right = (min(across), max(across)) if max(across) > min(across) else (across[0] - 1.0, across[0] + 1.0)
    chart = leather.Chart()
    chart.add_x_scale(left, right)
    chart.add_y_scale(-highest, highest)
    chart.add_x_axis(name="Mean prediction")
    chart.add_y_axis(name="Label minus prediction")
    chart.add_line([(left, 0), (right, 0)], name="as it should be", stroke_color=CHANCE, width=1)
    chart.add_line([(one.prediction, one.mean.value) for one in found], name="mean", stroke_color=OURS)
    for bound in ("lower", "upper"):
        points = [(one.prediction, getattr(one.mean, bound)) for one in found]
        chart.add_line(points, name=f"{bound} bound", stroke_color=OTHER, width=1)
    return _svg(chart)


def drift(found: Sequence[Drift]) -> str:
    """The features that moved most."""
    chart = leather.Chart()
    chart.add_x_scale(0, 1)
    chart.add_x_axis(name="Distance")
    bars: list[tuple[float, str]] = [(one.distance, one.feature[:24]) for one in found[:MOST_BARS]]
    chart.add_bars(bars, fill_color=OURS)
    return _svg(chart)


def _chart(across: str, up: str, highest: float = 1.0) -> leather.Chart:
    chart = leather.Chart()
    chart.add_x_scale(0, 1)
    chart.add_y_scale(0, highest)
    chart.add_x_axis(name=across)
    chart.add_y_axis(name=up)
    return chart


def _svg(chart: leather.Chart) -> str:
    return str(chart.to_svg(width=WIDTH, height=HEIGHT))
