"""The label of several classes in prepare: which classes there are, what is refused and why, and what tells them by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from perennial_runtime.contract import MESSAGE_LIMIT, MOST_CLASSES, Column, PrepareResult, decode_answer, encode_answer
from perennial_runtime.leakage import tells_class
from perennial_runtime.prepare_classes import MOST_COUNTED, ClassCounts, told_in
from runtime.steps_world import World, as_text, frame
from runtime.tasks_world import KINDS, kinds

PAYS = Column("pays", "weight")
ROWS = 600
WORDS = ["early", "late", "on time"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def prepared(world: World, data: pl.DataFrame, columns: tuple[Column, ...] = KINDS, **changes: Any) -> PrepareResult:
    data.write_parquet(world.source / "a.parquet")
    return world.prepare(task="multiclass", columns=columns, **changes)


def refusal(world: World, data: pl.DataFrame, reason: str, *words: str, columns: tuple[Column, ...] = KINDS) -> None:
    data.write_parquet(world.source / "a.parquet")
    refused = world.refusal(task="multiclass", columns=columns)
    assert refused.reason == reason, refused
    for word in words:
        assert word in refused.message


def schema_of(world: World, found: PrepareResult) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(world.store.get_bytes(found.schema))
    return document


def spoilt(rows: list[int], value: Any, kind: Any = pl.String) -> pl.DataFrame:
    wrong = pl.when(pl.col("minute").is_in(rows)).then(pl.lit(value, kind)).otherwise(pl.col("kind"))
    return kinds(ROWS).with_columns(kind=wrong)


# ---- which classes there are ----


def test_classes_are_the_different_texts_of_the_training_rows_by_code_point(world: World) -> None:
    names = {"early": "Zug", "late": "züge", "on time": "äpfel"}
    found = prepared(world, kinds(ROWS).with_columns(pl.col("kind").replace_strict(names)))
    assert schema_of(world, found)["classes"] == ["Zug", "züge", "äpfel"]
    assert schema_of(world, found)["task"] == "multiclass"
    assert world.table(found.train)["kind"].dtype == world.table(found.holdout)["kind"].dtype == pl.String
    assert found.positive_rate is None
    assert "positive_rate" not in encode_answer(found)
    told_before = encode_answer(replace(found, positive_rate=0.0))
    assert decode_answer(told_before) == replace(found, positive_rate=0.0), "an image of before tells one, and it is read"


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(WORDS)])
def test_texts_of_a_list_of_words_are_texts(world: World, kind: Any) -> None:
    found = prepared(world, kinds(ROWS).with_columns(pl.col("kind").cast(kind)))
    assert schema_of(world, found)["classes"] == WORDS
    assert world.table(found.train)["kind"].dtype == pl.String


def test_a_boolean_has_two_classes_and_is_told_of_the_task_for_them(world: World) -> None:
    refusal(
        world, kinds(ROWS).with_columns(kind=pl.col("kind") == "late"), "TooFewClasses", "'false', 'true'", "task: classification"
    )


@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt8, pl.Float64, pl.Decimal(10, 0)])
def test_whole_numbers_are_ordered_by_size_and_stay_numbers(world: World, kind: Any) -> None:
    numbers = kinds(ROWS).with_columns(pl.col("kind").replace_strict({"early": 100, "late": 9, "on time": 20}).cast(kind))
    found = prepared(world, numbers)
    assert schema_of(world, found)["classes"] == [9, 20, 100]
    assert world.table(found.train)["kind"].dtype == pl.Int64


def test_the_same_numbers_in_csv_and_in_parquet_give_the_same_training_rows_and_schema(world: World, tmp_path: Path) -> None:
    numbers = kinds(ROWS).with_columns(pl.col("kind").replace_strict({"early": 100, "late": -9, "on time": 0}).cast(pl.Int64))
    one = prepared(world, numbers.drop("gate"))
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    for name, part in (("a", numbers[:300]), ("b", numbers[300:])):
        as_text(part.drop("gate")).write_csv(other.source / f"{name}.csv")
    again = other.prepare(task="multiclass", columns=KINDS)
    assert (again.train, again.schema) == (one.train, one.schema)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["01", "2", "10"], ["01", "10", "2"]),
        (["1", "2", "two"], ["1", "2", "two"]),
        (["1.0", "2", "30"], [1, 2, 30]),
        (["NA", "DE", "FR"], ["DE", "FR", "NA"]),
    ],
    ids=["leading zeros", "a word among numbers", "whole numbers with a point", "a country, and not a missing value"],
)
def test_cells_of_csv_are_numbers_only_where_every_one_is(world: World, names: list[str], classes: list[Any]) -> None:
    told = as_text(kinds(ROWS).with_columns(pl.col("kind").replace_strict(dict(zip(WORDS, names, strict=True)))))
    told.write_csv(world.source / "a.csv")
    assert schema_of(world, world.prepare(task="multiclass", columns=KINDS))["classes"] == classes


def test_schema_of_two_classes_says_nothing_of_it(world: World) -> None:
    frame().write_parquet(world.source / "a.parquet")
    assert not {"task", "classes"} & set(schema_of(world, world.prepare()))


# ---- labels that are none ----


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (spoilt([100, 300], None), "LabelMissing", ["a.parquet, column 'kind', row 101 is empty (2 of the 600 rows"]),
        (spoilt([100, 300], ""), "LabelMissing", ["row 101 is empty", "leave rows without a label out"]),
        (spoilt([7], "x" * 64), "ClassNameUnfit", ["column 'kind', row 8 has over 63 signs or a control sign", "short names"]),
        (spoilt([7], "la\tte"), "ClassNameUnfit", ["row 8"]),
        (spoilt([7], "\u202eetal"), "ClassNameUnfit", ["row 8"]),
        (kinds(ROWS).with_columns(kind=pl.col("minute") % 7 / 2), "LabelNotClass", ["row 2 is no whole number", "regression"]),
        (kinds(ROWS).with_columns(kind=pl.lit(float("nan"))), "LabelMissing", ["row 1 is empty"]),
        (kinds(ROWS).with_columns(kind=pl.lit(float("inf"))), "LabelNotClass", ["row 1 is no whole number"]),
        (kinds(ROWS).with_columns(kind=pl.col("minute") * 10**13), "LabelNotClass", ["row 101", "at most 15 digits"]),
        (kinds(ROWS).with_columns(kind=pl.col("at")), "LabelNotClass", ["is of type Datetime", "text or a whole number"]),
    ],
)
def test_labels_that_are_no_classes_are_refused_with_their_row(
    world: World, data: pl.DataFrame, reason: str, words: list[str]
) -> None:
    refusal(world, data, reason, *words)


@pytest.mark.parametrize(
    ("cells", "reason", "words"),
    [
        (["1", "2", "3", "NA"], "LabelMissing", ["whole numbers but for 150 cells", "first in a.csv, row 4"]),
        (["1", "2", "3", "4.5"], "LabelNotClass", ["holds 150 numbers with a fraction, first in a.csv, row 4"]),
    ],
)
def test_cells_of_csv_that_are_nearly_numbers_are_refused(world: World, cells: list[str], reason: str, words: list[str]) -> None:
    told = as_text(kinds(ROWS).with_columns(kind=pl.Series([cells[row % len(cells)] for row in range(ROWS)])))
    told.write_csv(world.source / "a.csv")
    refused = world.refusal(task="multiclass", columns=KINDS)
    assert refused.reason == reason
    assert all(word in refused.message for word in words), refused.message


def test_one_wrong_cell_among_numbers_is_a_mistake_and_no_class(world: World) -> None:
    cells = ["x" if row == 77 else str(row % 4) for row in range(ROWS)]
    as_text(kinds(ROWS).with_columns(kind=pl.Series(cells))).write_csv(world.source / "a.csv")
    refused = world.refusal(task="multiclass", columns=KINDS)
    assert refused.reason == "WrongType"
    assert "column 'kind' holds whole numbers but for 1 cells, first in a.csv, row 78" in refused.message


def test_files_that_differ_in_the_kind_of_the_label_are_refused(world: World) -> None:
    kinds(ROWS).write_parquet(world.source / "a.parquet")
    kinds(ROWS, start=ROWS).with_columns(kind=pl.col("minute") % 3).write_parquet(world.source / "b.parquet")
    refused = world.refusal(task="multiclass", columns=KINDS)
    assert refused.reason == "SchemaDiffers"
    assert "b.parquet, column 'kind' is whole numbers, and text in a.parquet" in refused.message


# ---- classes that are too few, too many, too small or unknown ----


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"early": "late"}, ["has 2 classes in the 480 training rows ('late', 'on time')", "3 to 50", "task: classification"]),
        ({"early": "late", "on time": "late"}, ["has 1 class in the 480 training rows ('late')"]),
    ],
)
def test_fewer_than_three_classes_are_refused(world: World, names: dict[str, str], words: list[str]) -> None:
    refusal(world, kinds(ROWS).with_columns(pl.col("kind").replace(names)), "TooFewClasses", *words)


def test_more_classes_than_fifty_are_refused_with_their_number(world: World) -> None:
    data = kinds(ROWS).with_columns(kind=pl.col("minute") % (MOST_CLASSES + 1))
    refusal(world, data, "TooManyClasses", "has 51 classes in the 480 training rows", "3 to 50", "regression")
    assert len(schema_of(world, prepared(world, kinds(ROWS).with_columns(kind=pl.col("minute") % MOST_CLASSES)))["classes"]) == 50


def test_labels_are_counted_up_to_a_bound() -> None:
    counts = ClassCounts()
    counts.add(pl.Series("kind", np.arange(MOST_COUNTED + 5)), None)
    counts.add(pl.Series("kind", [0, 0, MOST_COUNTED * 2]), None)
    assert (len(counts.rows), counts.has_more, counts.rows[0]) == (MOST_COUNTED, True, 3)


@pytest.mark.parametrize("name", ["rows", "count", "label"])
def test_labels_are_counted_whatever_their_column_is_called(name: str) -> None:
    counts = ClassCounts()
    counts.add(pl.Series(name, ["a", "b", "a"]), pl.Series(name, [0.0, 1.0, 2.0]))
    assert (counts.rows, counts.weighing) == ({"a": 2, "b": 1}, {"a": 1, "b": 1})


def test_a_class_with_one_training_row_is_refused_by_name(world: World) -> None:
    refusal(world, spoilt([7], "diverted"), "ClassTooSmall", "fewer than 2 training rows of 'diverted'", "add rows of this class")


def test_a_class_that_only_the_holdout_has_is_refused_with_its_rows(world: World) -> None:
    rows = [500, 501, 599]
    refusal(
        world,
        spoilt(rows, "diverted"),
        "ClassUnknown",
        "'diverted' in 3 rows",
        "no training row has",
        "in a new ModelDeployment, hold out by hash",
    )


def test_a_holdout_of_one_class_has_nothing_to_tell_apart(world: World) -> None:
    refusal(world, spoilt(list(range(480, 600)), "late"), "OneClass", "has only the class 'late' in the 120 holdout rows")


def test_a_class_whose_rows_all_count_for_nothing_is_refused(world: World) -> None:
    weights = pl.when(pl.col("kind") == "early").then(0.0).otherwise(1.0)
    data = kinds(ROWS).with_columns(pays=weights)
    refusal(world, data, "WeightsZero", "in all training rows of 'early'", columns=(*KINDS, PAYS))
    late = pl.when((pl.col("minute") < 480) | (pl.col("kind") == "late")).then(1.0).otherwise(0.0)
    data = kinds(ROWS).with_columns(pays=late)
    refusal(world, data, "WeightsZero", "in all holdout rows but those of 'late'", columns=(*KINDS, PAYS))
    refusal(world, data.with_columns(pays=0.0), "WeightsZero", "is 0 in 120 of 120 holdout rows", columns=(*KINDS, PAYS))


# ---- what tells them by itself ----


@pytest.mark.parametrize(
    "leak",
    [
        pl.col("kind").replace_strict({"early": 3.0, "late": 1.0, "on time": 2.0}, return_dtype=pl.Float64)
        + pl.col("minute") * 1e-9,
        pl.col("kind").str.slice(0, 1),
    ],
    ids=["a number for each class", "its first letter"],
)
def test_a_feature_that_tells_every_class_is_refused_with_its_auc(world: World, leak: pl.Expr) -> None:
    columns = (*KINDS, Column("paid", "feature"))
    data = kinds(3000).with_columns(paid=leak)
    refusal(world, data, "LabelLeaked", "'paid' (mean AUC of 3 classes 1.0000)", "'kind' in 2400 training rows", columns=columns)
    assert prepared(world, data, (*KINDS, Column("paid", "feature", may_leak=True))).rows == 3000


def test_a_feature_that_knows_one_class_and_not_the_others_is_no_leak(world: World) -> None:
    data = kinds(3000).with_columns(early=(pl.col("kind") == "early").cast(pl.Float64))
    assert prepared(world, data, (*KINDS, Column("early", "feature"))).rows == 3000


def test_the_mean_over_classes_is_scikit_learns_for_the_order_of_a_number() -> None:
    chance = np.random.default_rng(5)
    codes = chance.integers(0, 5, 4000)
    values = codes + chance.normal(0, 1.0, 4000)
    aucs = [roc_auc_score(codes == one, values) for one in range(5)]
    ends = [0, 4]  # in the middle a class is told by hundredths
    found = tells_class(pl.Series(values), codes, np.array(ends))
    assert found == pytest.approx(np.mean([max(auc, 1 - auc) for auc in np.array(aucs)[ends]]), abs=0.003)
    assert tells_class(pl.Series(values), codes, np.array([2])) > max(aucs[2], 1 - aucs[2]) + 0.05


def test_what_says_nothing_of_the_classes_has_an_auc_near_a_half() -> None:
    chance = np.random.default_rng(6)
    codes = chance.integers(0, 4, 8000)
    words = pl.Series(chance.choice(np.array(["a", "b", "", None], dtype=object), 8000).tolist(), dtype=pl.String)
    assert tells_class(words, codes, np.arange(4)) == pytest.approx(0.5, abs=0.02)
    assert tells_class(pl.Series(chance.normal(size=8000)), codes, np.arange(4)) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_names_that_differ_only_by_spaces_or_case_are_different_classes(world: World, kind: str) -> None:
    data = kinds().with_columns(pl.col("kind").replace({"early": "late ", "on time": "Late"}))
    if kind == "csv":
        as_text(data).write_csv(world.source / "a.csv")
        told = world.prepare(task="multiclass", columns=KINDS)
    else:
        told = prepared(world, data)
    assert told.classes == ("'Late'", "'late'", "'late '")


# ---- the classes in the answer of prepare ----


def test_answer_of_prepare_names_the_classes_in_order_and_texts_stand_in_quotes(world: World) -> None:
    told = prepared(world, kinds())
    assert (told.classes, told.class_count) == (tuple(map(repr, WORDS)), 3)
    numbered = kinds().with_columns(pl.col("kind").replace_strict({"early": 1, "late": 10, "on time": 9}))
    assert prepared(world, numbered, uid="uid-2").classes == ("1", "9", "10")
    assert "class" not in encode_answer(world.prepare("uid-3")), "two classes are not named"


@pytest.mark.parametrize(("sign", "named"), [("k", range(1, 10)), ("\u4e2d", range(1))], ids=["letters", "six bytes a sign"])
def test_answer_names_as_many_of_fifty_long_names_as_there_is_room_for(sign: str, named: range) -> None:
    plain = PrepareResult(*["f" * 64] * 5, *[10**9] * 4, "2013-03-01T00:00:00Z", listing="f" * 64, model="f" * 64, key="k" * 63)
    names = [f"{sign * 59}{place:02}" for place in range(MOST_CLASSES)]
    told = told_in(plain, names)
    assert len(encode_answer(told).encode()) <= MESSAGE_LIMIT
    assert told.class_count == MOST_CLASSES
    assert len(told.classes) in named
    assert told.classes == tuple(map(repr, names[: len(told.classes)]))
    assert decode_answer(encode_answer(told)) == told
