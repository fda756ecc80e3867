"""Whether probabilities are in the order of the classes: found where they are not, and never of a model that is only poor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perennial_runtime.class_order import fits_better, moved, same_in_another_order

Table = np.ndarray[Any, Any]


def drawn(classes: int, rows: int, law: float, seed: int) -> tuple[Table, Table]:
    """Labels, and the probabilities from which they were drawn; the larger `law`, the more is known of a row."""
    chance = np.random.default_rng(seed)
    shares = np.log(chance.dirichlet(np.ones(classes)) + 0.02)
    odds = np.exp(law * chance.normal(size=(rows, classes)) + shares)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return (probabilities.cumsum(axis=1) > chance.random((rows, 1))).argmax(axis=1), probabilities


def balanced(probabilities: Table, labels: Table) -> Table:
    odds = probabilities / np.maximum(np.bincount(labels, minlength=probabilities.shape[1]), 1)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [3, 10, 50])
@pytest.mark.parametrize("seed", range(5))
def test_an_order_that_was_changed_is_found(classes: int, seed: int) -> None:
    labels, probabilities = drawn(classes, 512, 2.0, seed)
    turned = np.roll(np.arange(classes), 1)
    order = fits_better(labels, probabilities[:, np.argsort(turned)])
    assert order is not None
    common = np.bincount(labels, minlength=classes) > 25
    assert [order[place] for place in np.flatnonzero(common)] == turned[common].tolist()


@pytest.mark.parametrize("classes", [3, 10, 50])
@pytest.mark.parametrize("law", [0.0, 0.1, 0.5, 2.0])
def test_right_order_is_never_doubted_however_poor_or_balanced_the_model(classes: int, law: float) -> None:
    for seed in range(10):
        labels, probabilities = drawn(classes, 512, law, seed)
        assert fits_better(labels, probabilities) is None
        assert fits_better(labels, balanced(probabilities, labels)) is None


def test_always_the_same_answer_and_a_few_rows_say_nothing() -> None:
    labels, probabilities = drawn(3, 512, 2.0, 1)
    assert fits_better(labels, np.tile(probabilities[:1], (512, 1))) is None
    assert fits_better(labels[:39], probabilities[:39, [1, 2, 0]]) is None
    assert fits_better(labels[:0], probabilities[:0]) is None


def test_the_same_columns_in_another_order_are_told_apart_from_other_numbers() -> None:
    _, probabilities = drawn(4, 100, 1.0, 2)
    noise = np.random.default_rng(3).uniform(-1e-5, 1e-5, probabilities.shape)
    assert same_in_another_order(probabilities[:, [2, 0, 1, 3]], probabilities + noise, 1e-4) == (2, 0, 1, 3)
    assert same_in_another_order(probabilities + 0.01, probabilities, 1e-4) is None
    assert same_in_another_order(probabilities[:, [2, 0, 0, 3]], probabilities, 1e-4) is None
    assert same_in_another_order(probabilities[:, 0], probabilities[:, 1], 1e-4) is None


def test_only_the_columns_that_moved_are_named() -> None:
    assert moved((2, 1, 0), ["bronze", "gold", "silver"]) == [(0, "silver"), (2, "bronze")]
