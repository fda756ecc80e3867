"""The step that stores the ledger, on a store that is a folder: each entry once, in order, and nothing over what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial_runtime import chain
from perennial_runtime.answers import Refused
from perennial_runtime.chain import Broken
from perennial_runtime.contract import MESSAGE_LIMIT, LedgerEnd, LedgerResult, LedgerSpec, decode, encode, encode_answer
from perennial_runtime.ledger import append
from perennial_runtime.store import Store


def lines(last: int, first: int = 1, words: str = "é") -> list[str]:
    """A chain of entries up to `last`; those from `first` on."""
    made: list[str] = []
    previous = ""
    for number in range(1, last + 1):
        entry: dict[str, Any] = {
            "number": number,
            "at": "2026-01-01T00:00:00.000Z",
            "what": "Gate",
            "message": f"{words} {number}",
        }
        entry |= {"previous": previous} if previous else {}
        entry["digest"] = previous = chain.digest_of(entry)
        made.append(chain.line_of(entry))
    return made[first - 1 :]


def digest(number: int) -> str:
    return chain.link(lines(number)[-1]).digest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def spec(entries: list[str], after: LedgerEnd | None = None, begins: int = 1) -> LedgerSpec:
    given = LedgerSpec("delays", "s3://bucket/shop/uid", tuple(entries), begins, after)
    return decode(LedgerSpec, encode(given))


def objects(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "store" / "ledger"
    return {f"ledger/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def refusal(store: Store, given: LedgerSpec) -> Refused:
    with pytest.raises(Refused) as caught:
        append(given, store)
    return caught.value


def end(number: int, first: int) -> LedgerEnd:
    return LedgerEnd(number, digest(number), first)


def test_entries_are_stored_in_order_and_read_back_as_one_chain(store: Store, tmp_path: Path) -> None:
    assert append(spec(lines(3)), store) == LedgerResult(3, digest(3), 1, "s3://bucket/shop/uid")
    assert append(spec(lines(5, 4), end(3, 1)), store) == LedgerResult(5, digest(5), 4, "s3://bucket/shop/uid")
    assert sorted(objects(tmp_path)) == ["ledger/0000000001.jsonl", "ledger/0000000004.jsonl"]
    assert [one.line for one in chain.chained(objects(tmp_path))] == lines(5)


def test_a_repeat_writes_nothing_and_gives_the_same_answer(store: Store, tmp_path: Path) -> None:
    first = append(spec(lines(3)), store)
    before = objects(tmp_path)
    assert append(spec(lines(3)), store) == first
    assert objects(tmp_path) == before


def test_a_job_that_comes_late_goes_on_where_another_ended(store: Store, tmp_path: Path) -> None:
    append(spec(lines(5)), store)
    assert append(spec(lines(3)), store) == LedgerResult(3, digest(3), 1, "s3://bucket/shop/uid"), "all of it was there"
    assert append(spec(lines(8)), store) == LedgerResult(8, digest(8), 6, "s3://bucket/shop/uid"), "the rest was not"
    assert [one.line for one in chain.chained(objects(tmp_path))] == lines(8)


def test_another_entry_than_the_stored_one_is_refused_and_nothing_is_written(store: Store, tmp_path: Path) -> None:
    append(spec(lines(3)), store)
    before = objects(tmp_path)
    assert refusal(store, spec(lines(3, words="forged"))).reason == "LedgerDiffers"
    assert refusal(store, spec(lines(5, 4, words="forged"), end(3, 1))).reason == "LedgerDiffers"
    assert refusal(store, spec(lines(4, 3), end(3, 1))).reason == "LedgerGap"
    assert objects(tmp_path) == before


def test_a_gap_is_refused_but_where_the_ledger_says_that_it_begins(store: Store, tmp_path: Path) -> None:
    found = refusal(store, spec(lines(5, 3)))
    assert (found.reason, "entry 1 is next" in found.message) == ("LedgerGap", True)
    append(spec(lines(3)), store)
    assert refusal(store, spec(lines(6, 5), end(3, 1))).reason == "LedgerGap"
    assert refusal(store, spec([])).reason == "LedgerGap"
    assert append(spec(lines(6, 5), end(3, 1), begins=5), store).first == 5
    assert [one.number for one in chain.chained(objects(tmp_path), begins=5)] == [1, 2, 3, 5, 6]
    with pytest.raises(Broken, match="entry 4 is missing"):
        chain.chained(objects(tmp_path), begins=4)


def test_entries_that_do_not_hold_are_not_stored(store: Store, tmp_path: Path) -> None:
    good = lines(4)
    for bad in ([good[0], good[2]], [good[1], good[0]], [good[0], good[1].replace("é", "e")], ["{}"], ["nothing"]):
        assert refusal(store, spec(bad)).reason == "LedgerBroken"
    assert objects(tmp_path) == {}


def test_what_was_stored_must_still_be_there_as_it_was(store: Store, tmp_path: Path) -> None:
    append(spec(lines(3)), store)
    path = tmp_path / "store" / "ledger" / "0000000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"2026", b"2027", 1))
    assert refusal(store, spec(lines(5, 4), end(3, 1))).reason == "LedgerAltered"
    assert refusal(store, spec(lines(3))).reason == "LedgerAltered"
    path.write_bytes(chain.body_of([chain.link(line) for line in lines(2)]))
    assert refusal(store, spec(lines(5, 4), end(3, 1))).reason == "LedgerAltered", "it was cut short"
    path.unlink()
    found = refusal(store, spec(lines(5, 4), end(3, 1)))
    assert (found.reason, path.name in found.message) == ("LedgerMissing", True)


def test_the_answer_fits_a_termination_message() -> None:
    longest = LedgerResult(10**9, "f" * 64, 10**9, f"s3://{'b' * 63}/{'p' * 600}")
    assert len(encode_answer(longest)) <= MESSAGE_LIMIT


BODY = chain.body_of([chain.link(line) for line in lines(6)])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_any_one_byte_changed_is_found(place: int, other: int) -> None:
    changed = BODY[:place] + bytes([BODY[place] ^ other]) + BODY[place + 1 :]
    with pytest.raises(Broken):
        chain.chained({chain.object_name(1): changed})


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_bytes_that_are_put_in_or_left_out_are_found(place: int, more: bytes, fewer: int) -> None:
    changed = BODY[:place] + more + BODY[place + fewer :]
    assert is_the_beginning(changed) == (changed in BEGINNINGS)


BEGINNINGS = {chain.body_of([chain.link(line) for line in lines(number)]) for number in range(1, 7)}
"""A file that was cut between two entries is a chain, too: `status.ledger.stored` tells where it ends."""


def is_the_beginning(body: bytes) -> bool:
    try:
        return bool(chain.chained({chain.object_name(1): body}))
    except Broken:
        return False


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda line: line.replace(":", ": ", 1), "written in another way"),
        (lambda line: line.replace("é", "\\u00e9"), "written in another way"),
        (lambda line: '{"number":2,' + line[1:], "written in another way"),
        (lambda line: line.replace('"number":2', '"number":2.0'), "it is no entry"),
        (lambda line: line.replace('"number":2', '"number":true'), "it is no entry"),
        (lambda line: line.replace("é", "\\ud800"), "written in another way"),
        (lambda line: "[" * 100_000, "it is no JSON"),
        (lambda line: line.replace("Gate", "Date"), "entry 2 (Date) was changed"),
        (lambda line: "", "it is no JSON"),
    ],
)
def test_another_form_of_the_same_entry_is_found(form: Any, words: str) -> None:
    one, two, three = lines(3)
    body = f"{one}\n{form(two)}\n{three}\n".encode()
    with pytest.raises(Broken) as caught:
        chain.chained({chain.object_name(1): body})
    assert "0000000001.jsonl, line 2" in str(caught.value)
    assert words in str(caught.value)


def test_objects_that_change_places_or_are_missing_are_found() -> None:
    links = [chain.link(line) for line in lines(6)]
    parts = {chain.object_name(number): chain.body_of(links[number - 1 : number + 1]) for number in (1, 3, 5)}
    assert len(chain.chained(parts)) == 6
    first, second, third = sorted(parts)
    with pytest.raises(Broken, match="begins with entry 3"):
        chain.chained({**parts, first: parts[second], second: parts[first]})
    with pytest.raises(Broken, match="entry 3 is missing"):
        chain.chained({first: parts[first], third: parts[third]})
    with pytest.raises(Broken, match="entry 1 is missing"):
        chain.chained({second: parts[second], third: parts[third]})
    other = [chain.link(line) for line in lines(4, 3, words="forged")]
    with pytest.raises(Broken, match="entry 3 does not follow entry 2"):
        chain.chained({first: parts[first], second: chain.body_of(other)})
