"""The store: written once, verified on every read."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import Refusal, TrainResult
from perennial_runtime.store import DigestMismatch, Store, blob_path, open_bucket, result_path

ONE = TrainResult(model="a", parity="b")
TWO = TrainResult(model="c", parity="d")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


def test_a_file_comes_back_by_its_digest(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights" * 100_000)
    digest = store.put_file(tmp_path / "a")
    assert store.put_file(tmp_path / "a") == digest
    assert store.get_file(digest, tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert store.get_bytes(store.put_bytes(b"small")) == b"small"


def test_a_large_file_is_written_in_parts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perennial_runtime.store.CONDITIONAL_LIMIT", 1024 * 1024)
    with (tmp_path / "a").open("wb") as sparse:
        sparse.truncate(18 * 1024 * 1024)
    digest = store.put_file(tmp_path / "a")
    assert store.put_file(tmp_path / "a") == digest
    assert store.get_file(digest, tmp_path / "b").stat().st_size == 18 * 1024 * 1024


def test_a_file_that_is_not_needed_any_more_is_moved_into_a_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"rows")
    place = (tmp_path / "a").stat().st_ino
    digest = store.take_file(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "store" / blob_path(digest)).stat().st_ino == place
    (tmp_path / "b").write_bytes(b"rows")
    assert store.take_file(tmp_path / "b") == digest
    assert store.get_bytes(digest) == b"rows"


def test_a_lent_file_is_the_blob_itself_and_verified(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"rows")
    blob = tmp_path / "store" / blob_path(digest)
    assert store.lend_file(digest, tmp_path / "a").samefile(blob)
    blob.write_bytes(b"r0ws")
    with pytest.raises(DigestMismatch, match="altered in the store"):
        store.lend_file(digest, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(Refused, match="no such object"):
        store.lend_file("00", tmp_path / "b")


def test_files_go_between_file_systems_by_copying(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    for name in ("replace", "hardlink_to"):
        monkeypatch.setattr(Path, name, refuse)
    (tmp_path / "a").write_bytes(b"rows")
    digest = store.take_file(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    monkeypatch.undo()
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    lent = store.lend_file(digest, tmp_path / "b")
    assert lent.read_bytes() == b"rows"
    assert not lent.samefile(tmp_path / "store" / blob_path(digest))


@pytest.mark.refusal(13)
def test_an_altered_byte_is_noticed_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"weights")
    (tmp_path / "store" / blob_path(digest)).write_bytes(b"wEights")
    with pytest.raises(DigestMismatch, match="altered in the store"):
        store.get_file(digest, tmp_path / "b")
    with pytest.raises(DigestMismatch):
        store.get_bytes(digest)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_result_is_written_once_and_may_be_replaced_on_purpose(store: Store) -> None:
    assert store.get_result("uid", "train", "1") is None
    assert store.put_result("uid", "train", ONE, "1") == ONE
    assert store.put_result("uid", "train", TWO, "1") == ONE
    assert store.put_result("uid", "train", TWO, "1", replace=True) == TWO
    assert store.get_result("uid", "train", "1") == TWO
    assert store.get_result("uid", "train", "2") is None


def test_a_refusal_may_be_a_result_too(store: Store) -> None:
    refusal = Refusal("ParityOff", "...")
    assert store.put_result("uid", "evaluate", refusal) == refusal


def test_a_broken_result_is_told_by_its_path(store: Store, tmp_path: Path) -> None:
    store.put_result("uid", "prepare", ONE)
    (tmp_path / "store" / result_path("uid", "prepare")).write_text("{}")
    with pytest.raises(Refused, match=r"results/uid/prepare\.json"):
        store.get_result("uid", "prepare")


def test_a_document_may_be_written_over(store: Store) -> None:
    assert store.get_document("checkpoints/uid.json") is None
    store.put_document("checkpoints/uid.json", b"1")
    store.put_document("checkpoints/uid.json", b"2")
    assert store.get_document("checkpoints/uid.json") == b"2"


def test_a_missing_blob_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="blobs/sha256/00") as caught:
        store.get_file("00", tmp_path / "b")
    assert caught.value.reason == "ObjectNotFound"


def test_a_folder_that_may_not_be_written_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blobs").write_text("a file where a folder should be")
    with pytest.raises(Unavailable) as caught:
        Store(f"file://{tmp_path / 'store'}").put_bytes(b"x")
    assert caught.value.reason == "StoreUnavailable"


@pytest.mark.parametrize("uri", ["", "gs://bucket/x", "s3:///x", "models"])
def test_a_uri_that_is_none_of_ours_is_refused(uri: str) -> None:
    with pytest.raises(Refused, match="s3://<bucket>/<prefix>"):
        open_bucket(uri, None)
