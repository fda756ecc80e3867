"""The init container of a serving pod: only the Bento that was judged reaches the server (R13)."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from perennial_runtime.answers import Refused
from perennial_runtime.archive import pack
from perennial_runtime.contract import ServeSpec
from perennial_runtime.fetch_bento import fetch
from perennial_runtime.store import Store, blob_path
from runtime.serving.bentos import write_source


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored Bento, where its blob lies, and where it is fetched to."""

    spec: ServeSpec
    blob: Path
    target: Path
    secret: Path

    def fetch(self) -> None:
        fetch(self.spec, self.target, self.secret)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    spec = write_source(tmp_path / "bento" / "src")
    return _store(tmp_path, spec, _packed(tmp_path))


def _packed(tmp_path: Path) -> Path:
    archive = tmp_path / "bento.tar"
    pack(tmp_path / "bento", archive)
    return archive


def _store(tmp_path: Path, spec: ServeSpec, archive: Path) -> Stored:
    folder = tmp_path / "store"
    digest = Store(f"file://{folder}", tmp_path).put_file(archive)
    placed = dataclasses.replace(spec, store=f"file://{folder}", bento=digest)
    return Stored(placed, folder / blob_path(digest), tmp_path / "target", tmp_path)


def test_the_judged_bento_is_unpacked_and_nothing_else_is_left(stored: Stored) -> None:
    stored.fetch()
    assert [entry.name for entry in stored.target.iterdir()] == ["src"]
    assert (stored.target / "src" / "model.onnx").is_file()


def test_a_restarted_container_starts_over(stored: Stored) -> None:
    (stored.target / "src").mkdir(parents=True)
    (stored.target / "src" / "half.onnx").write_bytes(b"half")
    stored.fetch()
    stored.fetch()
    assert not (stored.target / "src" / "half.onnx").exists()


@pytest.mark.refusal(13)
@pytest.mark.parametrize("position", [0, 700, -1])
def test_one_altered_byte_is_refused_and_nothing_is_unpacked(stored: Stored, position: int) -> None:
    content = bytearray(stored.blob.read_bytes())
    content[position] ^= 1
    stored.blob.write_bytes(content)
    with pytest.raises(Refused) as refused:
        stored.fetch()
    assert refused.value.reason == "DigestMismatch"
    assert list(stored.target.iterdir()) == []


@pytest.mark.refusal(13)
def test_a_bento_that_was_not_judged_is_refused(stored: Stored) -> None:
    other = dataclasses.replace(stored, spec=dataclasses.replace(stored.spec, identity="0" * 64))
    with pytest.raises(Refused) as refused:
        other.fetch()
    assert refused.value.reason == "IdentityMismatch"
    assert stored.spec.version in refused.value.message


def test_a_bento_of_another_version_is_refused(stored: Stored) -> None:
    other = dataclasses.replace(stored, spec=dataclasses.replace(stored.spec, version="delays-v3"))
    with pytest.raises(Refused) as refused:
        other.fetch()
    assert refused.value.reason == "IdentityMismatch"


def test_a_missing_blob_is_refused(stored: Stored) -> None:
    stored.blob.unlink()
    with pytest.raises(Refused) as refused:
        stored.fetch()
    assert refused.value.reason == "ObjectNotFound"


def test_a_hostile_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "hostile.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    stored = _store(tmp_path, ServeSpec("delays-v2", "", "", "0" * 64), archive)
    with pytest.raises(Refused) as refused:
        stored.fetch()
    assert refused.value.reason == "BentoBroken"
    assert not (tmp_path / "outside").exists()


def test_a_bento_without_a_model_is_refused(tmp_path: Path) -> None:
    spec = write_source(tmp_path / "bento" / "src")
    (tmp_path / "bento" / "src" / "model.onnx").unlink()
    with pytest.raises(Refused) as refused:
        _store(tmp_path, spec, _packed(tmp_path)).fetch()
    assert refused.value.reason == "BentoBroken"
