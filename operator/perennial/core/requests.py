"""Requests by annotation: `perennial.dev/<verb>: "<argument>[;id=<token>]"`, each carried out once.

A request is recorded in status in the pass that carries it out, and its annotation removed after that write. A crash in between
leaves the annotation and a record marked pending: the next pass removes it and does nothing else. The same id again, or a wish
that is fulfilled already, is a no-op that says so. `perennial.core.plan` carries the wish out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from perennial.api.v1alpha1 import RequestRecord
from perennial_runtime.contract import GROUP

Verb = Literal["rollback-to", "retrain", "promote", "abort"]
VERBS: tuple[Verb, ...] = get_args(Verb)


@dataclass(frozen=True, slots=True)
class Request:
    """A request annotation as found."""

    verb: Verb
    argument: str
    id: str
    key: str
    value: str


def found(annotations: Mapping[str, str]) -> tuple[Request, ...]:
    """The requests among an object's annotations, in the order of VERBS."""
    return tuple(_parse(verb, annotations[f"{GROUP}/{verb}"]) for verb in VERBS if f"{GROUP}/{verb}" in annotations)


def is_known(request: Request, records: Iterable[RequestRecord]) -> str:
    """Why this request needs no carrying out (it was, already), or an empty string."""
    for record in records:
        if record.verb != request.verb:
            continue
        if request.id and record.id == request.id:
            return f"id {request.id} was carried out before ({record.outcome})"
        if record.pending and record.argument == request.argument and record.id == request.id:
            return "carried out already; its annotation is being removed"
    return ""


def settle(records: Iterable[RequestRecord], annotations: Mapping[str, str]) -> list[RequestRecord]:
    """Records whose annotation is gone are no longer pending: the same words would be a new wish."""
    present = {request.verb for request in found(annotations)}
    return [
        record.model_copy(update={"pending": False}) if record.pending and record.verb not in present else record
        for record in records
    ]


def remember(records: Iterable[RequestRecord], record: RequestRecord) -> list[RequestRecord]:
    """The records with this one; the newest of each verb is kept."""
    return [*(old for old in records if old.verb != record.verb), record]


def _parse(verb: str, value: str) -> Request:
    argument, *rest = (part.strip() for part in value.split(";"))
    token = next((part[3:] for part in rest if part.startswith("id=")), "")
    return Request(cast(Verb, verb), argument[:256], token[:128], f"{GROUP}/{verb}", value)
