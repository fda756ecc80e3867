"""Whether the version that serves can be compared with at all, as its schema tells beside the data of the version that is new.

`prepare` asks first (`prepare_champion`), before a training is paid for; `evaluate_champion` asks again of the champion's Bento,
and decides. Both refuse for the same reason and in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet

from perennial_runtime.answers import Refused
from perennial_runtime.contract import NOT_COMPARABLE, Champion
from perennial_runtime.evaluate_rows import KindDiffers, columns_of, in_kinds_of
from perennial_runtime.scoring import Schema, classes_of, task_of

MOST_NAMED = 5
"""Classes that a message names."""


def check_hashes(champion: Champion, found: int, wanted: int) -> None:
    """Raises Refused where the champion's training rows were hashed in another way: none would be found in the holdout."""
    if found != wanted:
        raise _not_comparable(
            f"the training rows of {champion.version} were hashed by scheme {found}, and those of this version by scheme "
            f"{wanted}, so that nobody can tell which rows of the holdout it was trained on: make a new ModelDeployment,"
        )


def check_schema(champion: Champion, schema: Schema, now: Schema, holdout: Path) -> None:
    """Raises Refused where the champion, whose schema is given, predicts something else, or from something that the holdout has
    not any more."""
    before, wanted = task_of(schema), task_of(now)
    if before != wanted:
        raise _not_comparable(f"{champion.version} was made for a {before}, and this is a {wanted}: make a new ModelDeployment,")
    theirs, ours = classes_of(schema), classes_of(now)
    if theirs != ours:
        raise _not_comparable(
            f"{champion.version} tells {told_apart(theirs, ours)} apart, and this version {told_apart(ours, theirs)}: give the "
            "training rows the classes that they had,"
        )
    present = columns_of(holdout)
    absent = [feature["name"] for feature in schema["features"] if feature["name"] not in present]
    if absent or schema["label"] != now["label"]:
        what = f"needs {', '.join(absent[:5])}" if absent else f"predicts {schema['label']}"
        raise _not_comparable(f"{champion.version} {what}, which data.columns no longer has: keep the columns (role id will do)")


def check_kinds(champion: Champion, schema: Schema, holdout: Path) -> None:
    """Raises Refused where no cell of a column could be what the champion was trained on. Text may be numbers, and only its cells
    tell; what is a number now is never the text that it was."""
    with pyarrow.parquet.ParquetFile(holdout) as file:
        empty = pl.DataFrame(file.schema_arrow.empty_table().select([feature["name"] for feature in schema["features"]]))
    try:
        in_kinds_of(schema, empty)
    except KindDiffers as found:
        raise other_kind(champion, found) from found


def other_kind(champion: Champion, found: KindDiffers) -> Refused:
    """The refusal of a champion that was trained on a column of another kind."""
    return _not_comparable(
        f"column {found.name!r} was {found.wanted} when {champion.version} was trained and is {found.found} now: "
        "give it the kind that it had"
    )


def told_apart(classes: Sequence[str | int], other: Sequence[str | int]) -> str:
    """How many there are, and as many by name as can be read (the text 1 is not the number): first those that the other lacks."""
    first = sorted(classes, key=lambda name: name in other)[:MOST_NAMED]
    more = f" and {len(classes) - len(first)} more" if len(classes) > len(first) else ""
    return f"{len(classes)} classes ({', '.join(map(repr, first))}{more})"


def _not_comparable(what: str) -> Refused:
    return Refused(NOT_COMPARABLE, f"{what} or take notWorseThanServingBy out of the gates for this version")
