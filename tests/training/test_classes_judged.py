"""Several classes on the real cluster: v2 is judged beside v1 that serves, and each gate's number is worked out again by
scikit-learn from the rows, the stored models and the cut-offs that the status tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from cluster_support import bad_inputs, synthetic
from cluster_support.place import Place
from cluster_support.scored import said

NAME = "arrivals"
ARRIVAL = "arrival"
CLASSES = ("early", "late", "on time")
MONTH_ROWS = 1500
GATES = [
    {"metric": "accuracy", "minimum": 0.55},
    {"metric": "log_loss", "maximum": 1.0},
    {"metric": "roc_auc", "minimum": 0.7},
    {"metric": "accuracy", "minimumPerSlice": 0.3},
    {"metric": "accuracy", "notWorseThanServingBy": 0.1},
    {"metric": "log_loss", "notWorseThanServingBy": 0.2},
    {"metric": "roc_auc", "notWorseThanServingBy": 0.1},
]
COLUMNS = [
    *(column for column in synthetic.COLUMNS if column["role"] != "label"),
    {"name": ARRIVAL, "role": "label"},
]
JUDGED = ("Rejected", "Accepted", "Deploying", "Canary", "Serving", "Retired")


def arrivals(rows: int, *, first: int = 0) -> pl.DataFrame:
    """`synthetic` rows with a label of three words, from amount and hour, and an error that no feature tells."""
    table = synthetic.table(rows, first=first)
    noise = np.random.default_rng([7, first]).normal(0, 0.6, rows)
    lateness = pl.col("amount").fill_null(0.0) + 0.5 * (pl.col("hour") > 15) + pl.Series(noise)
    word = pl.when(lateness < -0.6).then(pl.lit("early")).when(lateness < 0.9).then(pl.lit("on time")).otherwise(pl.lit("late"))
    return table.with_columns(word.alias(ARRIVAL))


@pytest.fixture(scope="module")
def both(shared_place: Place) -> Place:
    """v1 of a month, which serves, and v2 of two months, which was judged beside it."""
    place = shared_place
    source = {"uri": f"{place.source}{NAME}/"}
    place.upload(arrivals(MONTH_ROWS), f"{NAME}/january.parquet")
    wish = place.manifest(
        NAME,
        data={"source": source, "columns": COLUMNS},
        training={"recipe": {"task": "multiclass"}},
        evaluation={"gates": GATES, "slices": [{"column": "kind", "minimumRows": 50}]},
    )
    place.apply(wish)
    place.serving(1, name=NAME, seconds=300)
    place.upload(arrivals(MONTH_ROWS, first=MONTH_ROWS), f"{NAME}/february.parquet")
    place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
    place.until("v2 to be judged", lambda state: state.state(2) in JUDGED, name=NAME, seconds=300)
    return place


def held_out(place: Place, number: int) -> pl.DataFrame:
    """The rows that a version is judged by: of its month, and of each before it, those from that version's cut-off on."""
    state = place.state(NAME)
    parts = []
    for month in range(number):
        cutoff = datetime.fromisoformat(state.version(month + 1)["cutoff"])
        parts.append(arrivals(MONTH_ROWS, first=month * MONTH_ROWS).filter(pl.col(synthetic.TIME) >= cutoff))
    return pl.concat(parts)


def blob(place: Place, number: int, digest: str) -> bytes:
    """Bytes of a version's store."""
    version = place.kubectl.get("mver", f"{NAME}-v{number}") or {}
    return bad_inputs.stored_bytes(place, f"{version['spec']['store']['uri']}/blobs/sha256/{digest}")


def again(metric: str, labels: Sequence[str], probabilities: np.ndarray[Any, Any]) -> float:
    """The metric by scikit-learn."""
    if metric == "accuracy":
        return float(accuracy_score(labels, [CLASSES[place] for place in probabilities.argmax(axis=1)]))
    of_rows = probabilities.astype(np.float64)
    of_rows /= of_rows.sum(axis=1, keepdims=True)  # they are of single precision
    if metric == "log_loss":
        return float(log_loss(labels, of_rows, labels=CLASSES))
    return float(roc_auc_score(labels, of_rows, labels=CLASSES, multi_class="ovr", average="macro"))


def test_every_gate_of_several_classes_passes_with_the_number_that_scikit_learn_finds(both: Place) -> None:
    rows, version = held_out(both, 2), both.state(NAME).version(2)
    assert rows.height == version["holdoutRows"]
    labels, features = rows[ARRIVAL].to_list(), rows.select(synthetic.FEATURES)
    theirs, ours = (said(both, f"{NAME}-v{number}", "probabilities", features) for number in (1, 2))
    told = json.loads(blob(both, 2, version["measurements"]))["gates"]
    assert {gate["verdict"] for gate in version["gates"]} == {"Passed"}
    assert [(gate["metric"], gate["kind"]) for gate in told] == [(gate["metric"], gate["kind"]) for gate in version["gates"]]
    whole = [gate for gate in told if gate["kind"] != "minimumPerSlice"]
    assert len(whole) == 6
    for gate in whole:
        expected = again(gate["metric"], labels, ours)
        if gate["kind"] == "notWorseThanServingBy":
            expected -= again(gate["metric"], labels, theirs)
            expected = -expected if gate["metric"] == "log_loss" else expected
        assert gate["estimate"] == pytest.approx(expected, abs=2e-6)
        assert gate["lower"] <= gate["estimate"] <= gate["upper"]
    beside = [gate for gate in version["gates"] if gate["kind"] == "notWorseThanServingBy"]
    for gate in beside:
        assert f": {'worse' if gate['estimate'] < 0 else 'better'} by " in gate["message"]
    by_slice = next(gate for gate in version["gates"] if gate["kind"] == "minimumPerSlice")
    assert by_slice["slices"]["judged"] == len(synthetic.KINDS)
    for one in by_slice["slices"]["worst"]:
        mine = rows["kind"].to_numpy() == one["name"].removeprefix("kind=")
        assert one["estimate"] == pytest.approx(
            again("accuracy", rows.filter(pl.Series(mine))[ARRIVAL].to_list(), ours[mine]), abs=1e-4
        )


def test_service_answers_the_most_probable_class_and_all_by_name(both: Place) -> None:
    rows = arrivals(20, first=3 * MONTH_ROWS).select(synthetic.FEATURES)
    answer = both.answer(rows, name=NAME)
    number = int(answer["version"].rpartition("-v")[2])
    expected = said(both, f"{NAME}-v{number}", "probabilities", rows)
    assert [tuple(one["probabilities"]) for one in answer["predictions"]] == [CLASSES] * rows.height
    assert [list(one["probabilities"].values()) for one in answer["predictions"]] == pytest.approx(expected, abs=1e-4)
    assert [one["label"] for one in answer["predictions"]] == [CLASSES[place] for place in expected.argmax(axis=1)]


def test_card_of_several_classes_has_a_confusion_matrix_of_the_holdout(both: Place) -> None:
    card = json.loads(blob(both, 2, both.state(NAME).version(2)["card"]))
    matrix = card["markdown"].partition("## Confusion matrix")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in matrix.splitlines() if line.startswith("| ")]
    assert lines[0] == ["class", *CLASSES]
    assert sum(int(cell) for line in lines[1:] for cell in line[1:]) == held_out(both, 2).height


def test_a_class_that_only_the_newest_rows_have_is_refused_by_its_name(both: Place) -> None:
    name = "strange"
    rows = arrivals(MONTH_ROWS)
    newest = pl.when(pl.int_range(pl.len()) >= MONTH_ROWS - 5).then(pl.lit("cancelled")).otherwise(pl.col(ARRIVAL))
    both.upload(rows.with_columns(newest.alias(ARRIVAL)), f"{name}/rows.parquet")
    wish = both.manifest(
        name,
        data={"source": {"uri": f"{both.source}{name}/"}, "columns": COLUMNS},
        training={"recipe": {"task": "multiclass"}},
        evaluation={"gates": GATES[:3]},
    )
    both.apply(wish)
    state = both.until("v1 to be refused", lambda seen: seen.state(1) in ("Failed", "Rejected"), name=name, seconds=300)
    for word in ("ClassUnknown", "cancelled"):
        assert word in state.version(1)["message"]
