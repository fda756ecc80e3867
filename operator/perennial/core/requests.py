"""Requests by annotation: `perennial.dev/<verb>: "<argument>[;id=<token>]"`, each carried out once.

A request is recorded in status in the pass that carries it out, and its annotation removed after that write. A crash in between
leaves the annotation and a record marked pending: the next pass removes it and does nothing else. The same id again, or a wish
that is fulfilled already, is a no-op that says so. `perennial.core.wishes` carries the wish out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from perennial.api.base import REQUESTED_BY, UNATTESTED
from perennial.api.v1alpha1 import RequestRecord
from perennial_runtime.contract import GROUP

Verb = Literal["rollback-to", "retrain", "retry", "promote", "abort", "approve", "pause", "resume", "lift", "reproduce"]
VERBS: tuple[Verb, ...] = get_args(Verb)
OURS = frozenset({*(f"{GROUP}/{verb}" for verb in VERBS), REQUESTED_BY})
REMEMBERED = 32
"""Records that are kept: the newest of each verb, and the newest with an id."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request annotation as found."""

    verb: Verb
    argument: str
    id: str
    key: str
    value: str
    unknown: str = ""
    """What stands behind a ; and is no id."""
    declared: bool = False
    """It stands in a manifest that somebody applies, perhaps again and again."""


@dataclass(frozen=True, slots=True)
class Known:
    """A request that was carried out before."""

    record: RequestRecord
    message: str
    """What to tell; empty when it is the same request, whose annotation is still being removed."""
    differs: bool = False
    """The id is known, the argument is another: somebody may think that it was carried out."""


def found(annotations: Mapping[str, str], declared: Collection[str] = ()) -> tuple[Request, ...]:
    """The requests among an object's annotations, in the order of VERBS; `declared` are the keys in applied manifests."""
    keys = {verb: f"{GROUP}/{verb}" for verb in VERBS}
    return tuple(_parse(verb, annotations[key], key in declared) for verb, key in keys.items() if key in annotations)


def is_known(request: Request, records: Iterable[RequestRecord]) -> Known | None:
    """The record of this request when it was carried out before, else None."""
    for record in records:
        if record.verb != request.verb:
            continue
        by_id = request.id != "" and record.id == request.id
        same = record.argument == request.argument and record.id == request.id
        if (by_id or same) and record.pending:
            return Known(record, "")
        if by_id:
            differs = record.argument != request.argument
            but = f", with the argument {record.argument!r}: give the new wish a new id" if differs else ""
            return Known(record, f"id {request.id} was carried out before ({record.outcome}){but}"[:600], differs)
        if same and request.declared:
            words = f"it stands in the applied manifest and was carried out before ({record.outcome})"[:600]
            return Known(record, f"{words}; take it out of the manifest, or give it a new id: {request.argument};id=<token>")
    return None


def settle(records: Iterable[RequestRecord], annotations: Mapping[str, str]) -> list[RequestRecord]:
    """Records whose annotation is gone are no longer pending: the same words would be a new wish."""
    present = {request.verb for request in found(annotations)}
    return [
        record.model_copy(update={"pending": False}) if record.pending and record.verb not in present else record
        for record in records
    ]


def remember(records: Iterable[RequestRecord], record: RequestRecord) -> list[RequestRecord]:
    """The records with this one: the newest of each verb, and those with an id, as many as are kept."""
    kept = [old for old in records if old.verb != record.verb or old.id]
    return [*kept, record][-REMEMBERED:]


def requested_by(annotations: Mapping[str, str], attested: bool) -> str:
    """Who asks. A name that the API server did not check could be anybody's, and is not believed."""
    return (annotations.get(REQUESTED_BY, "")[:256] or UNATTESTED) if attested else UNATTESTED


def misspelled(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Annotations of our group that are no request and go with none: most likely one that nobody carries out."""
    return tuple(sorted(key for key in annotations if key.startswith(f"{GROUP}/") and key not in OURS))


def _parse(verb: Verb, value: str, declared: bool) -> Request:
    argument, *rest = (part.strip() for part in value.split(";"))
    token = next((part[3:] for part in rest if part.startswith("id=")), "")
    unknown = next((part for part in rest if part and not part.startswith("id=")), "")
    return Request(verb, argument[:256], token[:128], f"{GROUP}/{verb}", value, unknown[:64], declared)
