"""CEL rules on the hyperparameters of a recipe, made from the table that the recipes themselves go by. Read by `training`."""

from __future__ import annotations

from typing import Any

from perennial.api.base import cel
from perennial_runtime.contract import HYPERPARAMETERS, Range


def recipe_rules() -> list[dict[str, Any]]:
    """Of `training.recipe`: one for each algorithm."""
    return [_rule(algorithm, "recipe.hyperparameters", "self", "self.hyperparameters", ()) for algorithm in HYPERPARAMETERS]


def smoke_rules() -> list[dict[str, Any]]:
    """Of `training`: those of a smoke run are for the recipe, where there is one; an image's may be anything."""
    given = ("has(self.recipe)", "has(self.smoke)")
    return [
        _rule(algorithm, "smoke.hyperparameters", "self.recipe", "self.smoke.hyperparameters", given)
        for algorithm in HYPERPARAMETERS
    ]


def _rule(algorithm: str, field: str, recipe: str, numbers: str, given: tuple[str, ...]) -> dict[str, Any]:
    """`field` is for people; `recipe` and `numbers` are where a rule finds them if all of `given` are there."""
    allowed = HYPERPARAMETERS[algorithm]
    known = " || ".join(_is(name, limits, numbers) for name, limits in allowed.items())
    takes = f"{algorithm} takes {', '.join(f'{name} ({limits})' for name, limits in allowed.items())}"
    wrong = f"{numbers}.filter(name, !({known}))[0]"
    asked = " && ".join((*given, f"has({numbers})", f"{recipe}.algorithm == '{algorithm}'"))
    return cel(
        f"!({asked}) || {numbers}.all(name, {known})",
        f"training.{field} is wrong: {takes}",
        f"'training.{field}.%s is %s: {takes}'.format([{wrong}, {numbers}[{wrong}]])",
    )


def _is(name: str, limits: Range, numbers: str) -> str:
    """Whether the name is this one and its number as it shall be; a number of the API server is a double."""
    value = f"{numbers}[name]"
    whole = f" && double(int({value})) == {value}" if limits.whole else ""
    return f"(name == '{name}' && {value} >= {float(limits.least)!r} && {value} <= {float(limits.most)!r}{whole})"
