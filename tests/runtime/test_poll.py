"""poll: the digest of what lies behind a source, which changes with the files and with nothing else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.contract import PollResult, PollSpec, decode_answer, encode_answer
from perennial_runtime.poll import poll
from perennial_runtime.source import listing_digest
from perennial_runtime.source_files import SourceFile
from runtime.steps_world import World, frame

FILES = (SourceFile("a.csv", "a.csv", 10, mark="e1"), SourceFile("b.csv", "b.csv", 20, mark="e2"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def look(world: World) -> PollResult:
    return poll(PollSpec("delays", f"file://{world.source}/"), world.root / "no-secret")


def test_tells_how_many_files_there_are_and_how_large(world: World) -> None:
    (world.source / "a.csv").write_text("x\n1\n")
    (world.source / "b.csv.gz").write_bytes(b"12345")
    (world.source / "_SUCCESS").write_text("")
    found = look(world)
    assert (found.objects, found.bytes) == (2, 9)
    assert found.source == hashlib.sha256(f"file://{world.source}/".encode()).hexdigest()
    assert len(encode_answer(found)) < 400
    assert decode_answer(encode_answer(found)) == found


def test_digest_is_that_of_what_prepare_reads(world: World) -> None:
    frame(600).write_parquet(world.source / "a.parquet")
    assert look(world).listing == world.prepare().listing


def test_file_that_comes_changes_the_digest_and_bookkeeping_does_not(world: World) -> None:
    (world.source / "a.csv").write_text("x\n1\n")
    before = look(world).listing
    (world.source / "_SUCCESS").write_text("")
    assert look(world).listing == before
    (world.source / "b.csv").write_text("x\n2\n")
    assert look(world).listing != before


@pytest.mark.parametrize(
    "other",
    [
        (FILES[0],),
        (FILES[0], SourceFile("b.csv", "b.csv", 21, mark="e2")),
        (FILES[0], SourceFile("b.csv", "b.csv", 20, mark="e3")),
        (FILES[0], SourceFile("c.csv", "c.csv", 20, mark="e2")),
    ],
    ids=["one is gone", "another size", "another ETag", "another name"],
)
def test_each_of_name_size_and_etag_counts(other: tuple[SourceFile, ...]) -> None:
    assert listing_digest(other) != listing_digest(FILES)
    assert listing_digest(reversed(FILES)) == listing_digest(FILES), "the order does not"


def test_a_stamp_that_tells_more_than_the_content_does_not_count() -> None:
    assert listing_digest(replace(file, stamp="moved") for file in FILES) == listing_digest(FILES)


def test_file_of_a_claim_counts_by_its_time_in_whatever_pod_it_is_mounted(world: World) -> None:
    path = world.source / "a.csv"
    path.write_text("x\n1\n")
    before, time = look(world).listing, path.stat().st_mtime_ns
    path.rename(world.root / "kept.csv")  # so that the next one gets an inode of its own
    path.write_text("x\n2\n")
    os.utime(path, ns=(time, time))
    assert look(world).listing == before
    os.utime(path, ns=(time, time + 1_000_000_000))
    assert look(world).listing != before


def test_answer_is_of_the_claim_that_was_looked_at_not_only_of_its_path() -> None:
    specs = [PollSpec("delays", "file:///perennial/source/", claim) for claim in ("", "flights", "trains")]
    assert len({spec.digest for spec in specs}) == 3


def test_source_without_data_is_refused_in_words(world: World) -> None:
    with pytest.raises(Refused, match="nothing lies under it: upload the data or correct the URI"):
        look(world)
