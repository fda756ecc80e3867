"""The step `ledger`: entries of a ModelDeployment's ledger, from the Job's spec into the store, each once and in order.

    the entries given, verified -> the object they go on behind, verified -> a new object, created -> LedgerResult

Runs in a Job of its own (`python -m perennial_runtime ledger`) with the store's keys, which the operator does not have. An object
is named after its first entry and only ever created: of two Jobs that go on behind the same entry one creates it, and the other
finds it there, compares, and goes on behind it. So a repeat writes nothing and gives the same answer. See `chain` for the form.
"""

from __future__ import annotations

from collections.abc import Sequence

from perennial_runtime import chain
from perennial_runtime.answers import Refused, say
from perennial_runtime.chain import Broken, Link
from perennial_runtime.contract import LedgerEnd, LedgerResult, LedgerSpec
from perennial_runtime.store import Store

_KEEP = "keep a copy of both, see who may write them, and see docs/security.md"


def main(spec: LedgerSpec) -> LedgerResult:
    """Carry out the step."""
    return append(spec, Store(spec.store))


def append(spec: LedgerSpec, store: Store) -> LedgerResult:
    """Where the ledger ends in the store now: at the last of the entries given, or behind it."""
    links = _given(spec)
    if spec.after is not None:
        last = _end(spec.after, store)
        if links[0].number == last.number + 1 and links[0].previous != last.digest:
            raise _differs(spec, links[0].number)
    return _written(spec, links, store)


def _given(spec: LedgerSpec) -> list[Link]:
    """The entries of the spec. Refused unless they are a chain that begins where it should."""
    try:
        links = [chain.link(line) for line in spec.entries]
        chain.follow(links)
    except Broken as error:
        raise Refused(
            "LedgerBroken", f"status.ledger of {spec.model} does not hold: {error}; nothing was stored: {_KEEP}"
        ) from None
    first = max(spec.begins, spec.after.number + 1 if spec.after else 1)
    if not links or links[0].number != first:
        found = f"the first one given is {links[0].number}" if links else "none was given"
        raise Refused("LedgerGap", f"status.ledger of {spec.model} has a gap: entry {first} is next in the store, {found}")
    return links


def _end(after: LedgerEnd, store: Store) -> Link:
    """The newest entry in the store, as it is known to be. Refused where it is not there, or another."""
    name = chain.object_name(after.first)
    body = store.get_document(name)
    if body is None:
        raise Refused(
            "LedgerMissing", f"{name}, which held the ledger up to entry {after.number}, is not in the store: restore it"
        )
    links = _read(name, body)
    last = next((one for one in links if one.number == after.number), None)
    if last is None or last.digest != after.digest:
        raise Refused("LedgerAltered", f"{name} does not hold entry {after.number} as it was stored: restore it; {_KEEP}")
    return last


def _read(name: str, body: bytes) -> list[Link]:
    try:
        return chain.parsed(name, body)
    except Broken as error:
        raise Refused("LedgerAltered", f"{name} was altered in the store: {error}; restore it; {_KEEP}") from None


def _written(spec: LedgerSpec, links: Sequence[Link], store: Store) -> LedgerResult:
    """Creates the object, or compares with the one that is there and goes on behind it."""
    first = links[0].number
    name = chain.object_name(first)
    body = store.get_document(name)  # looked at first: a store that knows no conditions would write over it
    if body is None and store.create_document(name, chain.body_of(links)):
        say("ledger stored", model=spec.model, first=first, last=links[-1].number)
        return LedgerResult(links[-1].number, links[-1].digest, first, spec.store)
    there = _read(name, body or store.get_document(name) or b"")
    for one, other in zip(links, there, strict=False):
        if one.line != other.line:
            raise _differs(spec, one.number)
    rest = links[len(there) :]
    if not rest:
        say("ledger stored already", model=spec.model, first=first, last=there[-1].number)
        return LedgerResult(links[-1].number, links[-1].digest, first, spec.store)
    return _written(spec, rest, store)


def _differs(spec: LedgerSpec, number: int) -> Refused:
    return Refused(
        "LedgerDiffers",
        f"entry {number} in status.ledger of {spec.model} is another than in the store, or does not follow it: "
        f"one of them was changed; {_KEEP}",
    )
