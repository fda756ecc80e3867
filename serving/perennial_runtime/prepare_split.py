"""What decides the side of a row in this version: the rule that the versions before were split by, or a new one.

By time (`split`) or by key (`split_keys`). A version that continues another takes that one's rule from its split.json; where the
spec asks for a different one it is refused, for rows would change sides. `prepare` asks first, and records the rule at its end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from perennial_runtime import split, split_keys
from perennial_runtime.answers import Refused
from perennial_runtime.columns import only
from perennial_runtime.contract import PrepareResult, PrepareSpec, Step
from perennial_runtime.rows import SCHEME
from perennial_runtime.split import Split
from perennial_runtime.split_keys import GROUP, KeyedSplit
from perennial_runtime.store import Store

TIME = "time"
_SCHEME = "row_hashes"
"""Key of `rows.SCHEME`."""
Rule = Split | KeyedSplit
_LISTED = 5
_STAY = "or make a new ModelDeployment, which starts a split of its own"


def rule(spec: PrepareSpec, store: Store) -> Rule:
    """The rule to go on with. Raises Refused."""
    document = _parent(spec, store)
    if document is not None and document.get("by", TIME) != spec.holdout_by:
        raise Refused(
            "SplitChanged",
            f"data.holdout.by is {spec.holdout_by}, and the versions before were split by {document.get('by', TIME)}: rows that "
            f"they were trained on would be held out; set it back, {_STAY}",
        )
    if spec.holdout_by == TIME:
        return _by_time(spec, document)
    return _first(spec) if document is None else _next(spec, document)


def _parent(spec: PrepareSpec, store: Store) -> dict[str, Any] | None:
    """split.json of the version before, with a rule that can be read; None where this is the first."""
    if spec.parent_uid is None:
        return None
    parent = store.get_result(spec.parent_uid, Step.PREPARE)
    if not isinstance(parent, PrepareResult):
        raise Refused(
            "ParentSplitMissing",
            f"the store holds no split of the version before ({spec.parent_uid}), so rows could change sides: "
            "restore results/ in the store",
        )
    try:
        document = json.loads(store.get_bytes(parent.split))
        scheme(document)
        if document.get("by", TIME) == TIME:
            split.from_document(document), str(document["column"])
        else:
            split_keys.from_document(document), [str(name) for name in document["columns"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Refused("ParentSplitBroken", f"blob sha256:{parent.split} is no split.json: restore it in the store") from None
    return dict(document)


def _by_time(spec: PrepareSpec, document: dict[str, Any] | None) -> Split:
    time = only(spec.columns, "time").name
    if document is None:
        return Split()
    if (column := str(document["column"])) != time:
        raise Refused(
            "TimeColumnChanged",
            f"data.columns gives the role time to {time!r}, but the versions before were split by {column!r}, and rows that they "
            f"were trained on could be held out: keep the role time for {column!r}, or make a new ModelDeployment",
        )
    return split.from_document(document)


def _first(spec: PrepareSpec) -> KeyedSplit:
    if spec.holdout_by == GROUP:
        column: str | None = only(spec.columns, "group").name
    else:
        column = next((one.name for one in spec.columns if one.role == "id"), None)
    return KeyedSplit(spec.holdout_by, column, spec.holdout_fraction, spec.salt)


def _next(spec: PrepareSpec, document: dict[str, Any]) -> KeyedSplit:
    before = split_keys.from_document(document)
    if scheme(document) != SCHEME:
        raise Refused(
            "SplitChanged",
            f"the versions before were split by hashes of scheme {scheme(document)}, and this runtime makes those of scheme "
            f"{SCHEME}: rows that they were trained on would be held out; keep to the older runtime image, {_STAY}",
        )
    role = "group" if before.by == GROUP else "id"
    if before.column is not None and before.column not in [one.name for one in spec.columns if one.role == role]:
        raise Refused(
            "SplitChanged",
            f"the versions before were split by column {before.column!r}, to which data.columns does not give the role {role}: "
            f"rows that they were trained on would be held out; give {before.column!r} the role {role}, {_STAY}",
        )
    if before.fraction != spec.holdout_fraction:
        raise Refused(
            "SplitChanged",
            f"data.holdout.fraction is {spec.holdout_fraction:g}, and the versions before were split with {before.fraction:g}: "
            f"by {before.by}, rows would change sides with it; set it back to {before.fraction:g}, {_STAY}",
        )
    return before


def check_identity(spec: PrepareSpec, after: Rule, store: Store, identity: Sequence[str]) -> None:
    """Raises Refused where whole rows decide and they have other columns than before: every one of them would be another row."""
    if not isinstance(after, KeyedSplit) or after.column is not None:
        return
    document = _parent(spec, store)
    if document is None or document["columns"] == list(identity):
        return
    new, gone = (
        sorted(set(one) - set(other)) for one, other in ((identity, document["columns"]), (document["columns"], identity))
    )
    words = [f"{_some(names)} {what}" for names, what in ((new, "new"), (gone, "gone")) if names]
    raise Refused(
        "SplitChanged",
        f"whole rows decide what is held out, and they have other columns than in the versions before ({'; '.join(words)}): "
        f"every row would be another one and could change its side; give the files the same columns, {_STAY}, with a "
        "column of role id",
    )


def document(after: Rule, spec: PrepareSpec, identity: Sequence[str], trained: str) -> dict[str, object]:
    """split.json: the rule, and what is kept of the training rows, the blob `trained` of their hashes."""
    rows: dict[str, object] = {_SCHEME: SCHEME, "train_rows": trained}
    match after:
        case Split():
            told = {"by": TIME, "column": only(spec.columns, "time").name, "fraction": spec.holdout_fraction}
            return {**split.to_document(after), **told, **rows}
        case KeyedSplit():
            return {**split_keys.to_document(after), "columns": list(identity) if after.column is None else [], **rows}
        case _:
            assert_never(after)


def scheme(document: Mapping[str, Any]) -> int:
    """How the rows of a split.json were hashed; the first one did not say so."""
    return int(document.get(_SCHEME, 1))


def words(after: Rule, spec: PrepareSpec) -> str:
    """What decides, for people."""
    match after:
        case Split():
            return f"column {only(spec.columns, 'time').name!r}"
        case KeyedSplit(column=None):
            return "a hash of whole rows"
        case KeyedSplit():
            return f"a hash of column {after.column!r} (role {'group' if after.by == GROUP else 'id'})"
        case _:
            assert_never(after)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"
