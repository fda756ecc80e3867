"""The init container of a serving pod: only the Bento that was judged reaches the server (R13)."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from perennial_runtime import signature
from perennial_runtime.answers import Refused
from perennial_runtime.archive import MOST_PACKED, pack
from perennial_runtime.contract import PRIVATE_KEY, ServeSpec
from perennial_runtime.fetch_bento import fetch
from perennial_runtime.store import Store, blob_path, signature_path
from runtime.serving.bentos import write_source
from runtime.signing_world import pair


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


def test_a_blob_larger_than_any_bento_is_refused_before_it_fills_the_node(stored: Stored) -> None:
    with stored.blob.open("r+b") as blob:
        blob.truncate(MOST_PACKED + 1)
    with pytest.raises(Refused) as caught:
        stored.fetch()
    assert (caught.value.reason, str(MOST_PACKED) in caught.value.message) == ("BlobTooLarge", True)
    assert list(stored.target.iterdir()) == []


def test_a_bento_without_a_model_is_refused(tmp_path: Path) -> None:
    spec = write_source(tmp_path / "bento" / "src")
    (tmp_path / "bento" / "src" / "model.onnx").unlink()
    with pytest.raises(Refused) as refused:
        _store(tmp_path, spec, _packed(tmp_path)).fetch()
    assert refused.value.reason == "BentoBroken"


# ---- signed versions ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Signed:
    """A stored Bento that was signed, and where its public key is mounted."""

    stored: Stored
    keys: Path

    def fetch(self, **changes: str) -> None:
        spec = dataclasses.replace(self.stored.spec, **changes)
        fetch(spec, self.stored.target, self.stored.secret, self.keys)

    def refusal(self, **changes: str) -> Refused:
        with pytest.raises(Refused) as caught:
            self.fetch(**changes)
        return caught.value


def _signed(root: Path, stored: Stored, folder: Path) -> None:
    keys = signature.read_keys(root / "secret", to_sign=True)
    signature.sign(stored.spec.bento, folder, keys, Store(stored.spec.store, root))


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    pair(tmp_path / "secret")
    spec = dataclasses.replace(write_source(tmp_path / "bento" / "src", uid="uid-2"), signed_for="uid-2")
    stored = _store(tmp_path, spec, _packed(tmp_path))
    _signed(tmp_path, stored, tmp_path / "bento")
    (tmp_path / "secret" / PRIVATE_KEY).unlink()  # a serving pod has none
    return Signed(stored, tmp_path / "secret")


def test_signed_bento_is_unpacked(signed: Signed) -> None:
    signed.fetch()
    assert [entry.name for entry in signed.stored.target.iterdir()] == ["src"]


def test_record_that_was_changed_to_an_unsigned_bento_is_refused(signed: Signed, tmp_path: Path) -> None:
    """Whoever writes both store and status can make blob and digests fit, and no signature."""
    evil = write_source(tmp_path / "bento" / "src", uid="uid-2", breaks_on_unknown=True)
    other = _store(tmp_path, evil, _packed(tmp_path))
    found = signed.refusal(bento=other.spec.bento, identity=evil.identity)
    assert found.reason == "SignatureMissing"
    copied = tmp_path / "store" / signature_path(other.spec.bento)
    copied.write_bytes((tmp_path / "store" / signature_path(signed.stored.spec.bento)).read_bytes())
    assert signed.refusal(bento=other.spec.bento, identity=evil.identity).reason == "SignatureWrong"


def test_bento_that_was_signed_for_another_object_is_refused(signed: Signed) -> None:
    found = signed.refusal(signed_for="uid-9")
    assert (found.reason, "uid-2" in found.message, "uid-9" in found.message) == ("IdentityMismatch", True, True)


def test_bento_that_was_signed_by_another_key_is_refused(signed: Signed, tmp_path: Path) -> None:
    pair(tmp_path / "other")
    other = Signed(signed.stored, tmp_path / "other")
    assert other.refusal().reason == "SignatureByOtherKey"


def test_signed_version_without_a_key_to_verify_by_is_refused(signed: Signed, tmp_path: Path) -> None:
    found = Signed(signed.stored, tmp_path / "no-secret").refusal()
    assert found.reason == "SigningSecretMissing"
    assert not list(signed.stored.target.iterdir())


def test_version_that_was_made_unsigned_needs_no_key(stored: Stored) -> None:
    stored.fetch()
    assert (stored.target / "src" / "model.onnx").is_file()
