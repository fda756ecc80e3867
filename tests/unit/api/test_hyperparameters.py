"""One table of hyperparameters: the rules of the CRD, the recipe and the page about it say the same of every number."""

from __future__ import annotations

from pathlib import Path

import pytest

from crd_cases import deployment, edited
from perennial.cli import validation
from perennial_runtime.answers import Refused
from perennial_runtime.contract import HYPERPARAMETERS, Range
from perennial_runtime.recipes.hyperparameters import resolve

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "recipes.md").read_text()
EVERY = [(algorithm, name, limits) for algorithm, known in HYPERPARAMETERS.items() for name, limits in known.items()]
NAMES = [*sorted({name for _, name, _ in EVERY}), "depth"]


def numbers(limits: Range) -> tuple[float, ...]:
    """Inside, at and past the bounds, between two whole numbers, and where there are none."""
    inside = (limits.default, limits.least, limits.most)
    return (*inside, limits.least * 0.999 - 1e-9, limits.most * 1.001, -1.0, limits.least + 0.5, 1e300, -1e300)


def taken(algorithm: str, name: str, number: float) -> bool:
    try:
        resolve(algorithm, {name: number})
    except Refused:
        return False
    return True


def accepted(algorithm: str, where: str, name: str, number: float) -> bool:
    recipe = {"spec.training.recipe.algorithm": algorithm}
    return not validation.problems(edited(deployment(), {**recipe, f"spec.training.{where}.hyperparameters": {name: number}}))


@pytest.mark.parametrize(("algorithm", "name", "limits"), EVERY, ids=lambda part: part if isinstance(part, str) else "")
@pytest.mark.parametrize("where", ["recipe", "smoke"])
def test_the_api_server_accepts_what_the_recipe_takes_and_nothing_else(
    where: str, algorithm: str, name: str, limits: Range
) -> None:
    verdicts = {number: taken(algorithm, name, number) for number in numbers(limits)}
    assert set(verdicts.values()) == {True, False}
    assert {number: accepted(algorithm, where, name, number) for number in verdicts} == verdicts


@pytest.mark.parametrize("algorithm", HYPERPARAMETERS)
def test_a_name_of_the_other_algorithm_and_one_of_none_are_refused(algorithm: str) -> None:
    known = {name: taken(algorithm, name, 1.0) for name in NAMES}
    assert {name: accepted(algorithm, "recipe", name, 1.0) for name in NAMES} == known
    assert not known["depth"]


@pytest.mark.parametrize(("algorithm", "name", "limits"), EVERY, ids=lambda part: part if isinstance(part, str) else "")
def test_the_page_of_the_recipes_tells_every_default_and_range(algorithm: str, name: str, limits: Range) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{algorithm}`"))
    assert f"`{name}` ({limits.default:.10g}; {limits.least:.10g}-{limits.most:.10g})" in row
