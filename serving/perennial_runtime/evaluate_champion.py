"""The model that serves, scored on the challenger's holdout: from its own Bento, which is verified and unpacked without trust.

`perennial_runtime.evaluate` asks for it where a gate compares. A champion that can't be compared is a refusal that says why.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import bento, identity, signature
from perennial_runtime.answers import Refused
from perennial_runtime.archive import MOST_PACKED, UnsafeArchive, unpack
from perennial_runtime.contract import Champion, ServeSpec
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_inputs import Inputs
from perennial_runtime.evaluate_rows import KindDiffers, columns_of, in_kinds_of, tables
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, score_in_sandbox
from perennial_runtime.scoring import Schema, classes_of, read_schema, task_of
from perennial_runtime.store import Store

MOST_NAMED = 5
"""Classes that a message names."""


def fetch_champion(champion: Champion, store: Store, room: Path, keys: signature.Keys | None = None) -> Path:
    """src/ of the champion's Bento: verified by its digest, unpacked without trust, the model that it should be, and made by one
    who may sign, where it was made to be signed."""
    target = room / "champion"
    try:
        unpack(store.get_file(champion.bento, room / "champion.tar", most=MOST_PACKED), target)
    except UnsafeArchive as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} is not usable: {error}") from error
    source = target / bento.SOURCE
    if keys is not None and champion.signed_for:
        signature.verify(champion.bento, target, keys, store, f"{champion.version}, which serves,")
        wanted = ServeSpec(champion.version, "", champion.bento, champion.identity, champion.signed_for)
        identity.verify(wanted, source)
    missing = [name for name in (bento.MODEL_FILE, bento.SCHEMA_FILE, bento.TRAIN_ROWS_FILE) if not (source / name).is_file()]
    if missing:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} lacks {', '.join(missing)}")
    if bento.identity_of(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE) != champion.identity:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} holds another model than the one that serves")
    return source


def check_hashes(champion: Champion, source: Path, wanted: int) -> None:
    """Raises Refused where the champion's training rows were hashed in another way: none would be found in the holdout."""
    try:
        found = int(json.loads((source / bento.IDENTITY_FILE).read_bytes()).get(bento.HASHES, 1))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} has no {bento.IDENTITY_FILE}") from error
    if found != wanted:
        raise _not_comparable(
            f"the training rows of {champion.version} were hashed by scheme {found}, and those of this version by scheme "
            f"{wanted}, so that nobody can tell which rows of the holdout it was trained on: make a new ModelDeployment,"
        )


def champion_scores(champion: Champion, source: Path, inputs: Inputs, room: Path, limits: SandboxLimits) -> NDArray[np.float64]:
    """Its scores of the holdout; NaN where it can't answer. Raises Refused."""
    schema = read_schema(source / bento.SCHEMA_FILE)
    _refuse_others(champion, schema, inputs)
    subject = Subject(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE, domains=None, tolerant=True)
    holdout = tables(inputs.holdout, schema, lambda frame: in_kinds_of(schema, frame))
    try:
        return score_in_sandbox(subject, {"holdout": holdout}, room, limits)["holdout"]
    except KindDiffers as found:
        raise _not_comparable(
            f"column {found.name!r} was {found.wanted} when {champion.version} was trained and is {found.found} now: "
            "give it the kind that it had"
        ) from found
    except ModelRefused as refused:
        raise Refused("ChampionBroken", f"{champion.version}, which serves, can't be scored: {refused.message}") from refused


def told_apart(classes: Sequence[str | int], other: Sequence[str | int]) -> str:
    """How many there are, and as many by name as can be read (the text 1 is not the number): first those that the other lacks."""
    first = sorted(classes, key=lambda name: name in other)[:MOST_NAMED]
    more = f" and {len(classes) - len(first)} more" if len(classes) > len(first) else ""
    return f"{len(classes)} classes ({', '.join(map(repr, first))}{more})"


def _refuse_others(champion: Champion, schema: Schema, inputs: Inputs) -> None:
    """A champion that predicts something else, or from something that is not there any more."""
    before, now = task_of(schema), task_of(inputs.schema)
    if before != now:
        raise _not_comparable(f"{champion.version} was made for a {before}, and this is a {now}: make a new ModelDeployment,")
    try:
        theirs, ours = classes_of(schema), classes_of(inputs.schema)
    except ValueError as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} is not usable: {error}") from error
    if theirs != ours:
        raise _not_comparable(
            f"{champion.version} tells {told_apart(theirs, ours)} apart, and this version {told_apart(ours, theirs)}: give the "
            "training rows the classes that they had,"
        )
    present = columns_of(inputs.holdout)
    absent = [feature["name"] for feature in schema["features"] if feature["name"] not in present]
    if absent or schema["label"] != inputs.schema["label"]:
        what = f"needs {', '.join(absent[:5])}" if absent else f"predicts {schema['label']}"
        raise _not_comparable(f"{champion.version} {what}, which data.columns no longer has: keep the columns (role id will do)")


def _not_comparable(what: str) -> Refused:
    return Refused("ChampionNotComparable", f"{what} or take notWorseThanServingBy out of the gates for this version")
