"""The model card: its numbers against scikit-learn's, its two renditions, and what must never stand in it."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from perennial.core.stepspecs import SHOWN
from perennial_runtime import card
from perennial_runtime.card_numbers import curves, drift
from perennial_runtime.contract import EvaluateResult, EvaluateSpec, GateMeasurement, GateSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_gates import Blind
from perennial_runtime.evaluate_rows import read_table
from perennial_runtime.metrics_offline import share
from perennial_runtime.profile import profile_document, read_profile
from perennial_runtime.store import profile_path
from runtime.evaluate_world import SCHEMA, World, rows

HOSTILE = '<script>alert("1")</script> | a\nb `x` [y](javascript:z)'
RECORD = (("Licence", "CC0-1.0"), ("About the data", HOSTILE))


def labelled(count: int = 800, seed: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    chance = np.random.default_rng(seed)
    scores = chance.random(count).round(2)
    return chance.random(count) < scores, scores


def profile(frame: pl.DataFrame) -> dict[str, Any]:
    found = profile_document(SCHEMA, frame.height, 1, lambda _: read_table(frame, SCHEMA), np.linspace(0, 1, frame.height))
    return read_profile(json.dumps(found).encode())


def a_card(**changes: Any) -> card.Card:
    labels, scores = labelled()
    now = profile(rows(600, 1, 0))
    gate = GateMeasurement("roc_auc", "minimum", 0.7, 0.812345, 0.79, 0.83, 0)
    found = card.Measured(Blind(labels, scores, None, np.zeros(len(labels), dtype=bool)), (gate,), 1e-7, now, None)
    return card.card_of("delays-v2", RECORD, replace(found, **changes))


def pages(of: card.Card) -> tuple[str, str]:
    found = json.loads(card.document(of))
    return found["markdown"], found["html"]


# ---- numbers ----


def test_curves_are_those_of_scikit_learn() -> None:
    labels, scores = labelled()
    found = curves(labels, scores)
    assert found is not None
    false_rate, true_rate, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.array(found.roc) == pytest.approx(np.column_stack([false_rate, true_rate]), abs=1e-4)
    assert auc(*zip(*found.roc, strict=True)) == pytest.approx(roc_auc_score(labels, scores), abs=1e-3)
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert np.array(found.precision) == pytest.approx(np.column_stack([recall, precision])[-2::-1], abs=1e-4)
    steps = np.diff([0.0, *(recall for recall, _ in found.precision)])
    assert sum(steps * [value for _, value in found.precision]) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-3
    )


def test_many_distinct_scores_are_thinned_with_both_ends_kept() -> None:
    chance = np.random.default_rng(1)
    scores = chance.random(5000)
    found = curves(chance.random(5000) < scores, scores)
    assert found is not None
    assert len(found.roc) <= 150
    assert (found.roc[0], found.roc[-1]) == ((0.0, 0.0), (1.0, 1.0))


def test_calibration_has_all_rows_once_and_the_shares_of_scikit_learn() -> None:
    chance = np.random.default_rng(5)
    scores = chance.random(1000)
    labels = chance.random(1000) < scores
    found = curves(labels, scores)
    assert found is not None
    observed, predicted = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [one.rows for one in found.calibration] == [100] * 10
    assert [one.observed.value for one in found.calibration] == pytest.approx(observed)
    assert [one.score for one in found.calibration] == pytest.approx(predicted)
    assert all(one.observed.lower < one.observed.value < one.observed.upper for one in found.calibration)


def test_rows_of_one_score_stay_in_one_bin() -> None:
    labels = np.arange(100) % 2 == 0
    found = curves(labels, np.full(100, 0.3))
    assert found is not None
    assert [(one.score, one.rows) for one in found.calibration] == [(pytest.approx(0.3), 100)]


def test_one_class_alone_has_no_curves() -> None:
    assert curves(np.ones(50, dtype=bool), np.linspace(0, 1, 50)) is None


def test_share_has_wilsons_bounds_at_its_ends() -> None:
    assert (share(np.ones(5, dtype=bool)).upper, share(np.zeros(5, dtype=bool)).lower) == (1.0, 0.0)


def test_data_that_did_not_move_has_no_distance_and_a_shift_has_kolmogorov_smirnovs() -> None:
    before = rows(600, 1, 0)
    same = drift(profile(before), profile(before))
    assert [one.distance for one in same] == [0.0, 0.0]
    moved = drift(profile(before), profile(before.with_columns(hour=pl.col("hour") + 24)))
    assert (moved[0].feature, moved[0].distance) == ("hour", 1.0)


def test_new_category_is_the_share_of_rows_that_have_it() -> None:
    before = rows(600, 1, 0).with_columns(carrier=pl.lit("AA"))
    now = before.with_columns(carrier=pl.when(pl.int_range(pl.len()) % 4 == 0).then(pl.lit("ZZ")).otherwise(pl.lit("AA")))
    found = {one.feature: one for one in drift(profile(before), profile(now))}
    assert found["carrier"].distance == pytest.approx(0.25)


def test_column_that_has_become_empty_has_moved_as_far_as_can_be() -> None:
    before = rows(600, 1, 0)
    found = drift(profile(before), profile(before.with_columns(hour=pl.lit(None, dtype=pl.Float64))))
    assert (found[0].feature, found[0].distance, found[0].missing_now) == ("hour", 1.0, 1.0)


# ---- pages ----


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_page_has_the_record_the_gates_and_a_picture_of_each_kind() -> None:
    moved = profile(rows(600, 9, 0).with_columns(hour=pl.col("hour") * 2))
    _, html = pages(a_card(before=moved))
    page = Page(html)
    assert page.tags.count("svg") == 5
    assert "CC0-1.0" in html
    assert "0.8123" in html
    assert (page.links, "script" in page.tags) == ([], False), "it fetches nothing and runs nothing"


def test_every_kind_of_gate_is_told_by_what_it_asks_for() -> None:
    bounds = ({"minimum": 0.7}, {"maximum": 0.1}, {"minimum_per_slice": 0.6}, {"not_worse_than_serving_by": 0.01})
    kinds = [GateSpec("roc_auc", **bound).kind for bound in bounds]
    markdown, html = pages(a_card(gates=[GateMeasurement("roc_auc", kind, 0.1, 0.2, 0.1, 0.3, 0) for kind in kinds]))
    for words in ("at least", "at most", "in each slice at least", "better than the serving version by, at least"):
        assert f"| roc_auc | {words} |" in markdown
        assert f"<td>{words}</td>" in html


def test_a_metric_that_no_gate_asks_for_is_not_told_as_a_gate() -> None:
    shown = [GateMeasurement(gate.metric, gate.kind, gate.limit, 0.2, 0.1, 0.3, 0) for gate in SHOWN.values()]
    markdown, html = pages(a_card(gates=[*shown, GateMeasurement("r2", "minimum", 0.0, 0.2, 0.1, 0.3, 0)]))
    assert "| roc_auc | none, only measured | - | 0.2 | 0.1 | 0.3 |" in markdown
    assert "| rmse | none, only measured | - | 0.2 | 0.1 | 0.3 |" in markdown
    assert "| r2 | at least | 0 | 0.2 |" in markdown
    assert html.count("<td>none, only measured</td><td>-</td>") == len(shown)


def test_words_of_somebody_else_stay_words() -> None:
    markdown, html = pages(a_card())
    assert "&lt;script&gt;alert" in html
    assert "\\<script\\>alert" in markdown
    line = next(one for one in markdown.splitlines() if "About the data" in one)
    assert line.replace("\\|", "").count("|") == 3, "one row of a table"


def test_markdown_is_for_reading_and_has_the_numbers() -> None:
    markdown, _ = pages(a_card())
    assert markdown.startswith("# Model card: delays-v2\n")
    assert "<svg" not in markdown
    assert "| roc_auc | at least | 0.7 | 0.8123 | 0.79 | 0.83 |" in markdown
    assert "There is no parent, or it was not evaluated" in markdown
    assert "2 features: carrier, hour." in markdown
    assert "\n\n\n" not in markdown


def test_same_card_gives_the_same_bytes() -> None:
    assert card.document(a_card()) == card.document(a_card())


def test_card_without_curves_says_so() -> None:
    labels, scores = np.ones(50, dtype=bool), np.linspace(0, 1, 50)
    markdown, html = pages(a_card(blind=Blind(labels, scores, None, np.zeros(50, dtype=bool))))
    assert "Not shown: a class has too few rows." in markdown
    assert "Not shown: a class has too few rows." in html


def test_many_features_show_those_that_moved_most() -> None:
    features = {
        f"f{number:02}": {"kind": "categorical", "count": 9, "nullRate": 0.0, "top": {"a": 9}, "remainder": 0}
        for number in range(40)
    }
    found = {"rows": 9, "features": features}
    markdown, html = pages(a_card(profile=found, before=found))
    assert "The 20 of 40 features that moved most." in markdown
    assert "f19" in html
    assert len(card.document(a_card(profile=found, before=found))) < 200_000


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"rows": 1, "features": {"a": {}}}', b'{"rows": 1, "features": []}'])
def test_profile_that_is_none_is_no_profile(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        read_profile(body)


# ---- in the step ----


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, EvaluateSpec, EvaluateResult]:
    world = World.make(tmp_path_factory.mktemp("card"))
    spec = replace(world.spec(), record=RECORD)
    return world, spec, evaluate(spec, world.store, world.folder / "work")


def test_evaluate_stores_the_card_by_its_digest(judged: tuple[World, EvaluateSpec, EvaluateResult]) -> None:
    world, _, result = judged
    assert result.card is not None
    found = json.loads(world.store.get_bytes(result.card))
    assert "700 rows trained it, 2000 that it never saw judged it." in found["markdown"]
    assert "CC0-1.0" in found["html"]


def test_card_holds_no_value_of_a_row(judged: tuple[World, EvaluateSpec, EvaluateResult]) -> None:
    world, _, result = judged
    assert result.card is not None
    text = world.store.get_bytes(result.card).decode()
    for carrier in ("B6", "UA", "WN"):
        assert f'"{carrier}"' not in text
        assert f">{carrier}<" not in text
        assert f"| {carrier} " not in text


def test_next_version_is_shown_beside_the_training_data_of_its_parent(
    judged: tuple[World, EvaluateSpec, EvaluateResult],
) -> None:
    world, parent, _ = judged
    world.train = world.train.with_columns(hour=pl.col("hour").clip(0, 12))
    spec = replace(world.spec("delays-v2"), parent_uid=parent.uid)
    result = evaluate(spec, world.store, world.folder / "work")
    assert result.card is not None
    markdown = json.loads(world.store.get_bytes(result.card))["markdown"]
    line = next(one for one in markdown.splitlines() if one.startswith("| hour |"))
    assert 0.3 < float(line.split("|")[2]) < 0.6


def test_profile_of_the_parent_that_was_broken_costs_only_the_comparison(
    judged: tuple[World, EvaluateSpec, EvaluateResult],
) -> None:
    world, _, _ = judged
    world.store.put_document(profile_path("uid-broken"), b"{")
    spec = replace(world.spec("delays-v3"), parent_uid="uid-broken")
    result = evaluate(spec, world.store, world.folder / "work")
    assert result.card is not None
    assert "nothing to compare" in json.loads(world.store.get_bytes(result.card))["markdown"]
