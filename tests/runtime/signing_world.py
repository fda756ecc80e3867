"""Key pairs as they lie in a mounted Secret."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from perennial_runtime.contract import PRIVATE_KEY, PUBLIC_KEY

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def private_pem(key: PrivateKey, password: str = "") -> bytes:
    secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def pair(folder: Path, trusted: tuple[PrivateKey, ...] = ()) -> PrivateKey:
    """A new pair in `folder`; public.pem holds the keys of `trusted`, too."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / PRIVATE_KEY).write_bytes(private_pem(key))
    (folder / PUBLIC_KEY).write_bytes(b"".join(public_pem(one) for one in (key, *trusted)))
    return key
