"""A version that cannot be compared with the one that serves is refused by prepare, before its training is paid for.

What the champion was made of is read from the store: its result of prepare, its schema and its split. Where they are not there,
or cannot be read, prepare goes on, and evaluate, which has the champion's Bento, decides. What is refused here evaluate would
refuse of the same champion, in the same words (`comparable`). Where another one serves by the time of the refusal, the operator
prepares once more; one that comes to serve later, while the version would have been trained, is not waited for.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perennial_runtime import prepare_split
from perennial_runtime.answers import Refused, say
from perennial_runtime.comparable import check_hashes, check_kinds, check_schema
from perennial_runtime.contract import Champion, PrepareResult, Step
from perennial_runtime.rows import SCHEME
from perennial_runtime.scoring import Schema, classes_of
from perennial_runtime.store import Store


def check(champion: Champion, store: Store, now: Schema, holdout: Path) -> None:
    """Raises Refused where it is sure that the two cannot be compared; `now`: task, label and classes of the new version."""
    try:
        schema, scheme = _made_of(champion, store)
    except (Refused, AttributeError, KeyError, TypeError, ValueError) as error:
        why = error.reason if isinstance(error, Refused) else type(error).__name__
        say("left to evaluate whether the version that serves can be compared with", version=champion.version, why=why)
        return
    check_hashes(champion, scheme, SCHEME)
    check_schema(champion, schema, now, holdout)
    check_kinds(champion, schema, holdout)
    say("the version that serves can be compared with", version=champion.version)


def _made_of(champion: Champion, store: Store) -> tuple[dict[str, Any], int]:
    """Its schema, and the scheme by which its rows were hashed."""
    result = store.get_result(champion.uid, Step.PREPARE) if champion.uid else None
    if not isinstance(result, PrepareResult):
        raise Refused("PrepareResultMissing", f"the store holds no result of prepare for {champion.version}")
    schema = dict(json.loads(store.get_bytes(result.schema)))
    classes_of(schema)
    for feature in schema["features"]:
        str(feature["name"]), str(feature["kind"])
    return {**schema, "label": str(schema["label"])}, prepare_split.scheme(json.loads(store.get_bytes(result.split)))
