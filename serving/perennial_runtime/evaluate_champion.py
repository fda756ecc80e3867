"""The model that serves, scored on the challenger's holdout: from its own Bento, which is verified and unpacked without trust.

`perennial_runtime.evaluate` asks for it where a gate compares. A champion that can't be compared is a refusal that says why
(`comparable`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perennial_runtime import bento, comparable, identity, signature
from perennial_runtime.answers import Refused
from perennial_runtime.archive import MOST_PACKED, UnsafeArchive, unpack
from perennial_runtime.contract import Champion, ServeSpec
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_inputs import Inputs
from perennial_runtime.evaluate_rows import KindDiffers, in_kinds_of, tables
from perennial_runtime.evaluate_sandbox import SandboxLimits, Subject, score_in_sandbox
from perennial_runtime.scoring import classes_of, read_schema
from perennial_runtime.store import Store


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
    """Raises Refused where the champion's training rows were hashed in another way than by the scheme `wanted`."""
    try:
        found = int(json.loads((source / bento.IDENTITY_FILE).read_bytes()).get(bento.HASHES, 1))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} has no {bento.IDENTITY_FILE}") from error
    comparable.check_hashes(champion, found, wanted)


def champion_scores(champion: Champion, source: Path, inputs: Inputs, room: Path, limits: SandboxLimits) -> NDArray[np.float64]:
    """Its scores of the holdout; NaN where it can't answer. Raises Refused."""
    schema = read_schema(source / bento.SCHEMA_FILE)
    try:
        classes_of(schema)
    except ValueError as error:
        raise Refused("ChampionBroken", f"the stored Bento of {champion.version} is not usable: {error}") from error
    comparable.check_schema(champion, schema, inputs.schema, inputs.holdout)
    subject = Subject(source / bento.MODEL_FILE, source / bento.SCHEMA_FILE, domains=None, tolerant=True)
    holdout = tables(inputs.holdout, schema, lambda frame: in_kinds_of(schema, frame))
    try:
        return score_in_sandbox(subject, {"holdout": holdout}, room, limits)["holdout"]
    except KindDiffers as found:
        raise comparable.other_kind(champion, found) from found
    except ModelRefused as refused:
        raise Refused("ChampionBroken", f"{champion.version}, which serves, can't be scored: {refused.message}") from refused
