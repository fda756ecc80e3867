"""Signatures of Bentos: what holds, what does not, and keys that can't be used."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from perennial_runtime import signature
from perennial_runtime.answers import Refused
from perennial_runtime.contract import PRIVATE_KEY, PUBLIC_KEY
from perennial_runtime.store import Store, signature_path
from runtime.signing_world import pair, private_pem, public_pem

BENTO = "b" * 64


@dataclass(frozen=True, slots=True)
class Signed:
    """An unpacked Bento, signed."""

    store: Store
    folder: Path
    secret: Path
    signer: str

    def verify(self) -> str:
        return signature.verify(BENTO, self.folder, signature.read_keys(self.secret, to_sign=False), self.store, "delays-v3")

    def refusal(self) -> Refused:
        with pytest.raises(Refused) as caught:
            self.verify()
        return caught.value

    def sign(self) -> str:
        return signature.sign(BENTO, self.folder, signature.read_keys(self.secret, to_sign=True), self.store)

    def written(self) -> bytes:
        body = self.store.get_document(signature_path(BENTO))
        assert body is not None
        return body


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    folder = tmp_path / "delays-v3"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "model.onnx").write_bytes(b"a model")
    (folder / "bento.yaml").write_text("name: delays\n")
    pair(tmp_path / "secret")
    store = Store((tmp_path / "store").as_uri())
    signer = signature.sign(BENTO, folder, signature.read_keys(tmp_path / "secret", to_sign=True), store)
    return Signed(store, folder, tmp_path / "secret", signer)


def test_signature_holds_and_says_whose_it_is(signed: Signed) -> None:
    assert signed.verify() == signed.signer


def test_signature_is_a_bundle_that_names_every_file_by_its_digest(signed: Signed) -> None:
    bundle = json.loads(signed.written())
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert statement["subject"][0]["name"] == "delays-v3"
    assert [one["name"] for one in statement["predicate"]["resources"]] == ["bento.yaml", "src/model.onnx"]


def test_signing_again_leaves_a_signature_that_holds(signed: Signed) -> None:
    before = signed.written()
    assert (signed.sign(), signed.written()) == (signed.signer, before)


def test_signing_again_by_another_key_takes_the_place_of_one_that_is_not_trusted_any_more(signed: Signed) -> None:
    pair(signed.secret)
    again = signed.sign()
    assert again != signed.signer
    assert signed.verify() == again


def test_signature_by_an_older_key_holds_while_its_public_key_is_kept(signed: Signed, tmp_path: Path) -> None:
    old = (signed.secret / PUBLIC_KEY).read_bytes()
    pair(signed.secret)
    assert signed.refusal().reason == "SignatureByOtherKey"
    with (signed.secret / PUBLIC_KEY).open("ab") as keys:
        keys.write(old)
    assert signed.verify() == signed.signer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "src" / "model.onnx").write_bytes(b"another"), "Hash mismatch for 'src/model.onnx'"),
        (lambda folder: (folder / "src" / "more.py").write_text("import os"), "Extra files found"),
        (lambda folder: (folder / ".git").write_text("hidden"), "Extra files found"),
        (lambda folder: (folder / "bento.yaml").unlink(), "Missing files"),
    ],
    ids=["a file that was altered", "one more file", "one that tools leave out", "a file that is gone"],
)
def test_bento_that_was_altered_after_it_was_signed_is_refused(
    signed: Signed, change: Callable[[Path], object], words: str
) -> None:
    change(signed.folder)
    found = signed.refusal()
    assert found.reason == "SignatureWrong"
    assert "delays-v3" in found.message
    assert words in found.message


def without(bundle: dict[str, Any], *path: str) -> dict[str, Any]:
    node = bundle
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return bundle


def altered(bundle: dict[str, Any]) -> dict[str, Any]:
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return bundle


@pytest.mark.parametrize(
    "change",
    [
        altered,
        lambda bundle: without(bundle, "dsseEnvelope"),
        lambda bundle: without(bundle, "verificationMaterial", "publicKey"),
        lambda bundle: {**bundle, "dsseEnvelope": {**bundle["dsseEnvelope"], "signatures": []}},
        lambda bundle: {**bundle, "dsseEnvelope": {**bundle["dsseEnvelope"], "signatures": 3}},
        lambda bundle: {**bundle, "mediaType": "text/plain"},
        lambda bundle: [],
        lambda bundle: None,
    ],
    ids=["other digests", "no envelope", "no key", "no signature", "a number", "another type", "a list", "null"],
)
def test_signature_that_was_altered_is_refused(signed: Signed, change: Callable[[dict[str, Any]], object]) -> None:
    signed.store.put_document(signature_path(BENTO), json.dumps(change(json.loads(signed.written()))).encode())
    assert signed.refusal().reason == "SignatureWrong"


def test_signature_that_is_no_json_is_refused(signed: Signed) -> None:
    signed.store.put_document(signature_path(BENTO), b"\x00{")
    assert "no signature that names a key" in signed.refusal().message


def test_signature_that_claims_to_be_by_a_key_that_did_not_make_it_is_refused(signed: Signed) -> None:
    body = json.loads(signed.written())
    pair(signed.secret)
    trusted = next(iter(signature.read_keys(signed.secret, to_sign=False).public))
    body["verificationMaterial"]["publicKey"]["hint"] = trusted
    signed.store.put_document(signature_path(BENTO), json.dumps(body).encode())
    found = signed.refusal()
    assert (found.reason, "not what that key signed" in found.message) == ("SignatureWrong", True)


def test_bento_without_a_signature_is_refused(signed: Signed) -> None:
    with pytest.raises(Refused) as caught:
        signature.verify("c" * 64, signed.folder, signature.read_keys(signed.secret, to_sign=False), signed.store, "delays-v3")
    assert caught.value.reason == "SignatureMissing"
    assert f"signatures/{'c' * 64}.json" in caught.value.message


def test_both_keys_are_named_when_another_one_signed(signed: Signed) -> None:
    pair(signed.secret)
    trusted = next(iter(signature.read_keys(signed.secret, to_sign=False).public))
    found = signed.refusal()
    assert found.reason == "SignatureByOtherKey"
    assert signed.signer[:12] in found.message
    assert trusted[:12] in found.message


# ---- keys that can't be used -------------------------------------------------------------------------------------------------


def put(folder: Path, private: bytes | None, public: bytes | None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, body in ((PRIVATE_KEY, private), (PUBLIC_KEY, public)):
        if body is not None:
            (folder / name).write_bytes(body)
    return folder


def unreadable(folder: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        signature.read_keys(folder, to_sign=True)
    return caught.value


GOOD = ec.generate_private_key(ec.SECP256R1())
LONG = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("private", "public", "reason", "words"),
    [
        (None, None, "SigningSecretMissing", "create it with private.pem and public.pem"),
        (None, public_pem(GOOD), "SigningKeyMissing", "no key private.pem"),
        (private_pem(GOOD), None, "SigningKeyMissing", "no key public.pem"),
        (b"", public_pem(GOOD), "SigningKeyWrong", "private.pem can't be read: it is no key in PEM"),
        (private_pem(GOOD, "secret"), public_pem(GOOD), "SigningKeyWrong", "it has a password"),
        (private_pem(LONG), public_pem(LONG), "SigningKeyWrong", "private.pem is secp384r1, wanted is P-256"),
        (private_pem(RSA), public_pem(RSA), "SigningKeyWrong", "private.pem is no ECDSA key"),
        (public_pem(GOOD), public_pem(GOOD), "SigningKeyWrong", "private.pem can't be read"),
        (private_pem(GOOD), private_pem(GOOD), "SigningKeyWrong", "public.pem holds no public key"),
        (private_pem(GOOD), public_pem(RSA), "SigningKeyWrong", "public.pem is no ECDSA key"),
        (private_pem(GOOD), b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "SigningKeyWrong", "public.pem"),
    ],
    ids=[
        "no Secret", "no private key", "no public key", "an empty key", "a password", "another curve", "RSA",
        "a public key as the private one", "a private key as the public one", "an RSA public key", "a public key cut short",
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used_are_refused_in_words(
    tmp_path: Path, private: bytes | None, public: bytes | None, reason: str, words: str
) -> None:
    found = unreadable(put(tmp_path / "secret", private, public))
    assert found.reason == reason
    assert words in found.message
    assert "spec.signing.secretRef" in found.message


def test_a_private_key_whose_public_key_is_not_trusted_signs_nothing(signed: Signed, tmp_path: Path) -> None:
    secret = put(tmp_path / "other", private_pem(GOOD), (signed.secret / PUBLIC_KEY).read_bytes())
    with pytest.raises(Refused) as caught:
        signature.sign("d" * 64, signed.folder, signature.read_keys(secret, to_sign=True), signed.store)
    assert caught.value.reason == "SigningKeysDiffer"
    assert signed.store.get_document(signature_path("d" * 64)) is None


def test_serving_pods_need_no_private_key(signed: Signed) -> None:
    (signed.secret / PRIVATE_KEY).unlink()
    assert signed.verify() == signed.signer
