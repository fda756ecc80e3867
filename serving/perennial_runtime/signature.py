"""Who made this Bento: its signature, by OpenSSF's model-signing, as a Sigstore bundle that the library's own tool verifies, too.

`evaluate` signs every file of a Bento and verifies the champion's; `fetch_bento` verifies before anything is served. A signature
lies beside the blobs, named by the Bento's digest. It says who, not which: that the Bento is the version that was asked for is
for `identity` to see, by the version and UID in a file that is signed.

The library is imported when it is needed: it takes half a second, and only signed versions need it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perennial_runtime.answers import Refused, say
from perennial_runtime.contract import PRIVATE_KEY, PUBLIC_KEY, Mounted
from perennial_runtime.store import Store, signature_path

if TYPE_CHECKING:
    from model_signing import hashing

Key = TypeVar("Key")

SECRET = "the Secret of the signing keys (spec.signing.secretRef)"
CURVE = "secp256r1"
"""P-256, as the library names it."""
LIMIT = 1024 * 1024
"""Bytes of a signature: a Bento has some sixty files."""
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----\n?")
_SHOWN = 12
_MAKE = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out private.pem"


@dataclass(frozen=True, slots=True)
class Keys:
    """What the mounted Secret holds: public keys as PEM, by the id that signatures name them by; and where the private one is."""

    public: Mapping[str, bytes]
    private: Path | None = None


def _of_keys(reason: str, message: str) -> Refused:
    """A refusal that the Secret of the keys is to blame for."""
    return Refused(reason, message, Mounted.SIGNING)


def read_keys(folder: Path, *, to_sign: bool) -> Keys:
    """The keys, looked at before anything else is done. Raises Refused."""
    names = (PRIVATE_KEY, PUBLIC_KEY) if to_sign else (PUBLIC_KEY,)
    there = [name for name in names if (folder / name).is_file()]
    if not there:
        raise _of_keys(
            "SigningSecretMissing",
            f"{SECRET} does not exist or has no key {' and no key '.join(names)}: create it with {PRIVATE_KEY} and {PUBLIC_KEY}, "
            "or correct its name",
        )
    missing = [name for name in names if name not in there]
    if missing:
        raise _of_keys("SigningKeyMissing", f"{SECRET} has no key {missing[0]}: add it")
    private = folder / PRIVATE_KEY if to_sign else None
    if private is not None:
        _check_private(private.read_bytes())
    return Keys(_public_keys((folder / PUBLIC_KEY).read_text(encoding="utf-8", errors="replace")), private)


def sign(bento: str, folder: Path, keys: Keys, store: Store) -> str:
    """Sign the unpacked Bento, and store that; the id of the key. A signature that holds already stays. Raises Refused."""
    from model_signing import signing  # noqa: PLC0415 - half a second

    if keys.private is None:
        raise TypeError("the keys were read to verify")
    body = store.get_document(signature_path(bento))
    if body is not None and (signer := _holds(body, folder, keys)):
        return signer
    with tempfile.TemporaryDirectory() as room:
        written = Path(room) / "signature.json"
        signing.Config().use_elliptic_key_signer(private_key=keys.private).set_hashing_config(_every_file()).sign(folder, written)
        body = written.read_bytes()
    signer = _signer(body)
    if signer not in keys.public:
        raise _of_keys(
            "SigningKeysDiffer",
            f"{SECRET}: {PRIVATE_KEY} belongs to the public key {signer[:_SHOWN]}, which is not in {PUBLIC_KEY} "
            f"({_shown(keys)}): add it there, or nobody could verify what is signed",
        )
    store.put_document(signature_path(bento), body)
    say("bento signed", digest=bento, key=signer)
    return signer


def verify(bento: str, folder: Path, keys: Keys, store: Store, version: str) -> str:
    """The id of the key whose holder signed every file of the unpacked Bento, and no other is there. Raises Refused."""
    body = store.get_document(signature_path(bento))
    if body is None:
        raise Refused(
            "SignatureMissing",
            f"the store holds no signature of the Bento of {version} ({signature_path(bento)}): restore it, or train again",
        )
    signer = _verified(body, folder, keys, version)
    say("signature holds", version=version, key=signer)
    return signer


def _holds(body: bytes, folder: Path, keys: Keys) -> str | None:
    try:
        return _verified(body, folder, keys, "this version")
    except Refused:
        return None


def _verified(body: bytes, folder: Path, keys: Keys, version: str) -> str:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from model_signing import verifying  # noqa: PLC0415 - half a second

    signer = _signer(body)
    if not signer:
        raise _broken(version, "it is no signature that names a key")
    if signer not in keys.public:
        raise Refused(
            "SignatureByOtherKey",
            f"the Bento of {version} is signed by the key {signer[:_SHOWN]}, and {SECRET} trusts {_shown(keys)} in {PUBLIC_KEY}: "
            "if that key may sign, add it there; else somebody else made this Bento",
        )
    with tempfile.TemporaryDirectory() as room:
        key, written = Path(room) / PUBLIC_KEY, Path(room) / "signature.json"
        key.write_bytes(keys.public[signer])
        written.write_bytes(body)
        try:
            config = verifying.Config().use_elliptic_key_verifier(public_key=key)
            config.set_hashing_config(_every_file()).verify(folder, written)
        except InvalidSignature:
            raise _broken(version, "its bytes are not what that key signed") from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
            said = " ".join(str(error).split()).partition(": Expected")[0]  # what follows is bytes
            raise _broken(version, said[:200]) from None
    return signer


def _every_file() -> hashing.Config:
    """The library would leave out .git and its like."""
    from model_signing import hashing  # noqa: PLC0415

    return hashing.Config().use_file_serialization(max_workers=1).set_ignored_paths(paths=(), ignore_git_paths=False)


def _broken(version: str, found: str) -> Refused:
    return Refused(
        "SignatureWrong",
        f"the signature of the Bento of {version} does not hold: {found}. It was altered after it was signed: find out by whom, "
        "restore it in the store, or train again",
    )


def _signer(body: bytes) -> str:
    """The id of the key that a signature names; empty where it names none, which no key has."""
    try:
        hint = json.loads(body[:LIMIT])["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return hint if isinstance(hint, str) else ""


def _shown(keys: Keys) -> str:
    return ", ".join(sorted(one[:_SHOWN] for one in keys.public))


def _check_private(body: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    key = _loaded(PRIVATE_KEY, lambda: load_pem_private_key(body, None))
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != CURVE:
        raise _other_kind(PRIVATE_KEY, key)


def _public_keys(text: str) -> dict[str, bytes]:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415

    found = {}
    for block in _PUBLIC.findall(text):
        key = _loaded(PUBLIC_KEY, partial(serialization.load_pem_public_key, block.encode()))
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != CURVE:
            raise _other_kind(PUBLIC_KEY, key)
        plain = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        found[hashlib.sha256(plain).hexdigest()] = plain
    if not found:
        raise _of_keys(
            "SigningKeyWrong",
            f"{SECRET}: {PUBLIC_KEY} holds no public key (BEGIN PUBLIC KEY): openssl ec -in {PRIVATE_KEY} -pubout",
        )
    return found


def _loaded(name: str, load: Callable[[], Key]) -> Key:
    try:
        return load()
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        why = "it has a password, and nobody could type it" if isinstance(error, TypeError) else "it is no key in PEM"
        raise _of_keys("SigningKeyWrong", f"{SECRET}: {name} can't be read: {why}; {_MAKE}") from None


def _other_kind(name: str, key: object) -> Refused:
    found = getattr(getattr(key, "curve", None), "name", "no ECDSA key")
    return _of_keys("SigningKeyWrong", f"{SECRET}: {name} is {found}, wanted is P-256: {_MAKE}")
