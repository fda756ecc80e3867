"""Several classes as they are judged: each number again by scikit-learn, by slice, with weights, against a version that serves,
for a program of the user's, and on the card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

from perennial.api.builtin_metrics import of_task
from perennial_runtime import card
from perennial_runtime.answers import Refused
from perennial_runtime.card_classes import MOST_SHOWN, OTHERS, classes
from perennial_runtime.comparable import told_apart
from perennial_runtime.contract import Column, GateMeasurement, GateSpec, OwnMetric, OwnMetrics, SliceSpec, SmallestClass
from perennial_runtime.evaluate import evaluate
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_gates import Blind, enough, measure
from perennial_runtime.evaluate_slices import measure_slices, part
from perennial_runtime.measures import Sample
from perennial_runtime.score import write_rows
from runtime.steps_world import World
from runtime.tasks_world import KINDS, Made, kinds, made, weighed

NAMES = ["early", "late", "on time"]
ALONE = (GateSpec("accuracy", minimum=0.5), GateSpec("log_loss", maximum=1.0), GateSpec("roc_auc", minimum=0.6))
METRICS = ("accuracy", "log_loss", "roc_auc")
GATES = (*ALONE, *(GateSpec(metric, not_worse_than_serving_by=0.1) for metric in METRICS))
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(tmp_path_factory.mktemp("world"))
    kinds().with_columns(pays=weighed()["pays"]).write_parquet(found.source / "a.parquet")
    return found


@pytest.fixture(scope="module")
def first(world: World) -> Made:
    return made(world, gates=ALONE, task="multiclass", columns=KINDS, hyperparameters={"max_iter": 2})


@pytest.fixture(scope="module")
def second(world: World, first: Made) -> Made:
    """A challenger that fits better, beside the first."""
    return made(world, "uid-2", gates=GATES, task="multiclass", columns=KINDS, champion=first.champion())


def places(labels: pl.Series) -> Array:
    found: Array = np.array([NAMES.index(name) for name in labels])
    return found


def known(metric: str, labels: Array, scores: Array, weights: Array | None = None) -> float:
    """As scikit-learn has it."""
    if metric == "accuracy":
        return float(accuracy_score(labels, scores.argmax(axis=1), sample_weight=weights))
    scores = scores / scores.sum(axis=1, keepdims=True)  # of single precision, and it wants the sum of double
    if metric == "log_loss":
        return float(log_loss(labels, scores, sample_weight=weights))
    return float(roc_auc_score(labels, scores, multi_class="ovr", average="macro", sample_weight=weights))


# ---- gates ----


def test_every_gate_is_scikit_learns_on_the_holdout(first: Made, second: Made) -> None:
    labels = places(second.holdout["kind"])
    ours, theirs = (one.answers(second.holdout, "probabilities") for one in (second, first))
    for metric in METRICS:
        kind = "maximum" if metric == "log_loss" else "minimum"
        better = -1 if metric == "log_loss" else 1
        alone, beside = second.evidence[metric, kind], second.evidence[metric, "notWorseThanServingBy"]
        assert alone["estimate"] == pytest.approx(known(metric, labels, ours), abs=2e-6)
        gap = better * (known(metric, labels, ours) - known(metric, labels, theirs))
        assert beside["estimate"] == pytest.approx(gap, abs=2e-6)
    assert second.gates["log_loss", "notWorseThanServingBy"].lower > 0.1, "the better one is shown to be better"
    for gate in second.gates.values():
        assert gate.lower < gate.estimate < gate.upper
    assert second.gates["accuracy", "minimum"].lower > 0.7


def test_with_weights_every_gate_is_scikit_learns_with_them(world: World) -> None:
    found = made(world, "uid-3", gates=ALONE, task="multiclass", columns=(*KINDS, Column("pays", "weight")))
    labels, weights = places(found.holdout["kind"]), found.holdout["pays"].to_numpy()
    scores = found.answers(found.holdout, "probabilities")
    for (metric, _), gate in found.evidence.items():
        assert gate["estimate"] == pytest.approx(known(metric, labels, scores, weights), abs=2e-6)
        assert gate["lower"] < gate["estimate"] < gate["upper"]
        assert abs(gate["estimate"] - known(metric, labels, scores)) > 1e-4, "the weights say something"
    assert "Rows count by their weights here" in found.card["markdown"]


def blind(labels: list[int], champion: Array | None = None) -> Blind:
    scores = np.full((len(labels), 3), 0.1)
    scores[np.arange(len(labels)), labels] = 0.8
    return Blind(np.array(labels), scores, champion, np.zeros(len(labels), bool), task="multiclass", classes=tuple(NAMES))


@pytest.mark.parametrize(("labels", "rows"), [([0, 0, 0, 2, 2, 2], 0), ([0, 0, 0, 1, 2, 2], 1)])
def test_auc_of_a_class_that_the_holdout_lacks_is_refused_by_name_and_the_rest_is_measured(labels: list[int], rows: int) -> None:
    found = blind(labels)
    with pytest.raises(ModelRefused) as caught:
        measure([GateSpec("roc_auc", minimum=0.5)], found, 7)
    assert caught.value.reason == "HoldoutTooSmall"
    for words in (f"6 holdout rows ({rows} of class 'late') are left", "for roc_auc at least 2 of each class are needed"):
        assert words in caught.value.message
    measured = measure([GateSpec("accuracy", minimum=0.5), GateSpec("log_loss", maximum=1.0)], found, 7)
    assert [one.metric for one in measured] == ["accuracy", "log_loss"]


def test_auc_says_which_class_has_the_fewest_of_the_rows_that_count() -> None:
    labels = [0] * 30 + [1] * 9 + [2] * 8
    champion = np.full((47, 3), 1 / 3)
    champion[-1] = np.nan  # a row that it can't answer is not compared
    gates = [
        GateSpec("roc_auc", minimum=0.5),
        GateSpec("roc_auc", not_worse_than_serving_by=0.1),
        GateSpec("accuracy", minimum=0.5),
    ]
    alone, beside, accuracy = measure(gates, blind(labels, champion), 7)
    assert (alone.smallest, beside.smallest) == (SmallestClass("on time", 8), SmallestClass("on time", 7))
    assert accuracy.smallest is None


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_one_row_alone_is_not_judged_and_no_class_is_named(metric: str) -> None:
    found = replace(blind([0, 1, 2]), seen=np.array([False, True, True]))
    with pytest.raises(ModelRefused) as caught:
        measure([GateSpec(metric, minimum=0.5)], found, 7)
    assert caught.value.reason == "HoldoutTooSmall"
    assert caught.value.message.startswith("1 holdout rows are left after dropping 2 ")
    assert f"for {metric} at least 2 are needed" in caught.value.message


def test_rows_that_the_champion_cant_answer_are_not_compared() -> None:
    labels = [0, 1, 2] * 4
    champion = np.full((12, 3), 1 / 3)
    champion[4:6] = np.nan
    found = blind(labels, champion)
    assert found.compared.sum() == 10
    assert enough(found, found.compared, "roc_auc").sum() == 10
    (gate,) = measure([GateSpec("log_loss", not_worse_than_serving_by=0.1)], found, 7)
    assert gate.estimate == pytest.approx(np.log(3) + np.log(0.8), abs=1e-6)


@pytest.mark.parametrize("task", ["classification", "multiclass", "regression"])
def test_every_metric_that_the_api_offers_for_a_task_is_measured_and_is_another_number(task: str) -> None:
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 3, 300)
    scores = chance.dirichlet(np.ones(3), 300) * 0.8 + 0.2 * np.eye(3)[labels]
    given = {
        "classification": (labels == 1, scores[:, 1]),
        "multiclass": (labels, scores),
        "regression": (labels.astype(float), labels + chance.normal(size=300)),
    }[task]
    found = Blind(*given, None, np.zeros(300, bool), task=task, classes=tuple(NAMES))
    metrics = of_task(task)  # type: ignore[arg-type]
    measured = measure([GateSpec(metric, minimum=0.0) for metric in metrics], found, 7)
    assert [one.metric for one in measured] == metrics
    assert len({one.estimate for one in measured}) == len(metrics)


# ---- slices ----


def test_slices_are_judged_by_accuracy_exactly_and_by_auc_where_all_classes_are() -> None:
    chance = np.random.default_rng(5)
    labels = chance.integers(0, 3, 900)
    cities = chance.choice(["Bonn", "Jena", "Kiel"], 900)
    labels[(cities == "Kiel") & (labels == 2)] = 0
    scores = chance.dirichlet(np.ones(3), 900) * 0.7 + 0.3 * np.eye(3)[np.where(cities == "Jena", (labels + 1) % 3, labels)]
    gates = {0: GateSpec("accuracy", minimum_per_slice=0.5), 1: GateSpec("roc_auc", minimum_per_slice=0.5)}
    parted = part(pl.DataFrame({"city": cities}).get_column, [SliceSpec("city", 100)])
    results, document = measure_slices(gates, parted, Sample(labels, scores, None, "multiclass"), 7)
    assert [(results[place].found.judged, results[place].found.under) for place in (0, 1)] == [(3, 1), (2, 1)]
    assert {results[place].found.told[0].name for place in (0, 1)} == {"city=Jena"}
    assert document["notJudged"][0]["why"].endswith("rows, not 2 of each class")
    for one in document["judged"]:
        rows = cities == one["slice"].partition("=")[2]
        assert "positives" not in one
        if one["gate"] == 1:
            assert one["estimate"] == pytest.approx(known("roc_auc", labels[rows], scores[rows]), abs=1e-12)
            continue
        right = int((scores[rows].argmax(axis=1) == labels[rows]).sum())
        assert one["estimate"] == pytest.approx(right / rows.sum())
        assert one["p"] == pytest.approx(stats.binom.cdf(right, int(rows.sum()), 0.5))


def test_slice_whose_mean_auc_is_at_its_minimum_is_found_under_it_as_often_as_it_should_be() -> None:
    runs, under = 300, 0
    for seed in range(runs):
        chance = np.random.default_rng(seed)
        labels = chance.permutation(np.arange(150) % 3)
        seen = chance.normal(size=(150, 3)) + np.eye(3)[labels]
        sample = Sample(labels, seen, None, "multiclass")
        parted = part(pl.DataFrame({"all": np.zeros(150)}).get_column, [SliceSpec("all", 100)])
        minimum = float(stats.norm.cdf(1 / np.sqrt(2)))  # of one normal score that is over another by one deviation
        results, _ = measure_slices({0: GateSpec("roc_auc", minimum_per_slice=minimum)}, parted, sample, 7)
        under += results[0].found.under
    assert stats.binom.ppf(0.001, runs, 0.05) <= under <= stats.binom.ppf(0.999, runs, 0.05)


def test_gates_by_slice_go_through_the_whole_step(second: Made) -> None:
    gates = (GateSpec("accuracy", minimum_per_slice=0.3), GateSpec("accuracy", minimum=0.5))
    wish = replace(second.spec, gates=gates, slices=(SliceSpec("carrier", 20),), champion=None)
    result = evaluate(wish, second.world.store, second.world.root / "work")
    found = next(gate for gate in result.gates if gate.kind == "minimumPerSlice").slices
    assert found is not None
    assert (found.judged, found.under) == (second.holdout["carrier"].n_unique(), 0)


# ---- the version that serves ----


def test_champion_that_tells_other_classes_apart_is_not_compared_and_both_lists_are_told(second: Made, tmp_path: Path) -> None:
    world = World(tmp_path)
    kinds().with_columns(pl.col("kind").replace("late", "too late")).write_parquet(world.source / "a.parquet")
    other = made(world, gates=ALONE, task="multiclass", columns=KINDS, hyperparameters={"max_iter": 2})
    world.store.put_file(second.world.store.get_file(second.result.bento, tmp_path / "other.tar"))
    wish = replace(other.spec, champion=second.champion(), gates=GATES)
    with pytest.raises(Refused) as caught:
        evaluate(wish, world.store, tmp_path / "work")
    assert caught.value.reason == "ChampionNotComparable"
    for words in (
        "delays-v2 tells 3 classes ('late', 'early', 'on time') apart",
        "this version 3 classes ('too late', 'early', 'on time')",
        "take notWorseThanServingBy out of the gates",
    ):
        assert words in caught.value.message
    for digest in (second.prepared.schema, second.prepared.split):
        world.store.put_bytes(second.world.store.get_bytes(digest))
    world.store.put_result("uid-2", "prepare", second.prepared)
    serves = replace(second.champion(), uid="uid-2")
    early = world.refusal(uid="uid-9", task="multiclass", columns=KINDS, champion=serves)
    assert (early.reason, early.message) == (caught.value.reason, caught.value.message), "and prepare says the same"


def test_classes_that_were_numbers_and_are_texts_now_look_different_in_the_message() -> None:
    assert (told_apart((1, 2, 3), ("1", "2", "3")), told_apart(("1", "2", "3"), (1, 2, 3))) == (
        "3 classes (1, 2, 3)",
        "3 classes ('1', '2', '3')",
    )
    assert told_apart((*range(8), 99), range(8)) == "9 classes (99, 0, 1, 2, 3 and 4 more)"


# ---- metrics of the user's own ----


def test_program_gets_each_label_as_it_is_and_the_probability_of_each_class(first: Made, second: Made, tmp_path: Path) -> None:
    own = OwnMetrics((OwnMetric("cost", less_is_better=True),), ("carrier",))
    gates = (GateSpec("cost", maximum=1.0), GateSpec("cost", not_worse_than_serving_by=0.1))
    rows, values, champion = tmp_path / "rows", tmp_path / "values", second.champion()
    rows.mkdir()
    values.mkdir()
    wish = replace(first.spec, gates=gates, own=own, champion=champion)
    write_rows(wish, first.world.store, tmp_path / "work", rows)
    for name, model in (("challenger", first), ("champion", second)):
        table = pl.read_parquet(rows / f"{name}.parquet")
        assert table.columns == ["carrier", "label", "probability_0", "probability_1", "probability_2"]
        assert table["label"].to_list() == first.holdout["kind"].to_list()
        told = table.select(pl.col("^probability_.*$")).to_numpy()
        assert told == pytest.approx(model.answers(first.holdout, "probabilities"), abs=1e-6)
        right = table.select(cost=pl.when(pl.col("label") == "late").then(1 - pl.col("probability_1")).otherwise(0.0))
        right.write_parquet(values / f"{name}.parquet")
    result = evaluate(wish, first.world.store, tmp_path / "work", values=values)
    late = (first.holdout["kind"] == "late").to_numpy()
    ours, theirs = ((late * (1 - one.answers(first.holdout, "probabilities")[:, 1])).mean() for one in (first, second))
    assert [gate.estimate for gate in result.gates] == pytest.approx([ours, theirs - ours], abs=2e-6)


# ---- the card ----


def table_of(markdown: str, title: str) -> list[list[str]]:
    lines = markdown.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert set(found[1]) == {"---"}, "a table of Markdown has no line between its head and this"
    return [found[0], *found[2:]]


def test_card_shows_each_class_and_which_were_taken_for_which(second: Made) -> None:
    markdown, html = second.card["markdown"], second.card["html"]
    labels, scores = places(second.holdout["kind"]), second.answers(second.holdout, "probabilities")
    said = scores.argmax(axis=1)
    head, *lines = table_of(markdown, "Confusion matrix")
    assert head == ["class", *NAMES]
    assert [[int(cell) for cell in line[1:]] for line in lines] == confusion_matrix(labels, said).tolist()
    _, *each = table_of(markdown, "Classes")
    precision, recall, _, rows = precision_recall_fscore_support(labels, said)
    for place, line in enumerate(each):
        auc = roc_auc_score(labels == place, scores[:, place])
        assert line[0] == NAMES[place]
        assert (int(line[1]), int(line[2])) == (rows[place], (said == place).sum())
        assert [float(cell) for cell in line[3:]] == pytest.approx([precision[place], recall[place], auc], abs=1e-4)
    assert "Calibration" not in markdown + html
    assert html.count("<table>") == 4
    for count in confusion_matrix(labels, said).ravel():
        assert f"<td>{count}</td>" in html


def of_many(number: int) -> tuple[list[str], Array, Array]:
    """Names, labels and probabilities of so many classes, of which later ones have more rows."""
    chance = np.random.default_rng(2)
    labels = np.repeat(np.arange(number), np.arange(number) + 1)
    scores = chance.dirichlet(np.ones(number), len(labels)) + np.eye(number)[labels] * 0.3
    return [f"k{place}" for place in range(number)], labels, scores / scores.sum(axis=1, keepdims=True)


def test_of_many_classes_the_largest_are_in_the_matrix_and_the_others_are_one_more() -> None:
    names, labels, scores = of_many(50)
    found = classes(names, labels, scores)
    whole = confusion_matrix(labels, scores.argmax(axis=1), labels=range(50))
    few = np.array(found.confusion.counts)
    assert list(found.confusion.names) == [*names[-MOST_SHOWN:], OTHERS]
    assert (few[:MOST_SHOWN, :MOST_SHOWN] == whole[30:, 30:]).all()
    assert few[-1, -1] == whole[:30, :30].sum()
    assert few.sum() == len(labels)
    assert len(found.each) == 50


def test_class_that_nobody_is_of_or_that_is_never_said_has_no_shares() -> None:
    scores = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    early, late, never = classes(NAMES, np.array([0, 0, 0]), scores).each
    assert (early.precision, early.recall, early.auc) == (1.0, pytest.approx(2 / 3), None)
    assert (late.rows, late.answered, late.precision, late.recall) == (0, 1, 0.0, None)
    assert (never.precision, never.recall, never.auc) == (None, None, None)


def test_names_of_classes_are_words_in_both_renditions() -> None:
    names = ("<b>a|b</b>", "*c*", "d")
    labels = np.arange(30) % 3
    scores = np.full((30, 3), 0.2) + 0.4 * np.eye(3)[labels]
    seen = Blind(labels, scores, None, np.zeros(30, bool), task="multiclass", classes=names)
    gate = GateMeasurement("accuracy", "minimum", 0.5, 1.0, 0.9, 1.0, 0)
    profile = {"rows": 10, "features": {}}
    found = json.loads(card.document(card.card_of("delays-v1", (), card.Measured(seen, (gate,), 1e-7, profile, None))))
    assert "| \\<b\\>a\\|b\\</b\\> | 10 |" in found["markdown"]
    assert "| \\*c\\* | 10 |" in found["markdown"]
    assert "<td>&lt;b&gt;a|b&lt;/b&gt;</td>" in found["html"]
    assert "<b>" not in found["html"]
