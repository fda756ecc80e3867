"""The command `fetch-bento`: the init container of a serving pod, the only one there with (read-only) keys of the store.

Fetches the version's Bento by digest, verifies every byte, unpacks it without trusting it, and checks that it is the model that
was judged, and, where it is signed, by whom. `server` then reads it from the same volume, read-only and without any secret.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from perennial_runtime import signature
from perennial_runtime.answers import Refused, say
from perennial_runtime.archive import MOST_PACKED, UnsafeArchive, unpack
from perennial_runtime.bento import SOURCE
from perennial_runtime.contract import BENTO_PATH, SIGNING_SECRET_PATH, STORE_SECRET_PATH, ServeSpec
from perennial_runtime.identity import verify
from perennial_runtime.store import Store


def main(spec: ServeSpec) -> None:
    """Fill BENTO_PATH. Raises Refused or Unavailable."""
    fetch(spec, Path(BENTO_PATH), Path(STORE_SECRET_PATH))


def fetch(spec: ServeSpec, target: Path, secret: Path, signing: Path = Path(SIGNING_SECRET_PATH)) -> None:
    """Fill `target`, which a container that was restarted may have left half full. `signing`: where the public keys are."""
    _empty(target)
    keys = signature.read_keys(signing, to_sign=False) if spec.signed_for else None
    store = Store(spec.store, secret)
    archive = target / "bento.tar"
    unpacked = target / "unpacked"
    store.get_file(spec.bento, archive, most=MOST_PACKED)
    try:
        unpack(archive, unpacked)
    except UnsafeArchive as error:
        raise Refused(
            "BentoBroken", f"the Bento of {spec.version} (blob sha256:{spec.bento}) is no archive of ours: {error}. Train again"
        ) from error
    archive.unlink()
    if keys is not None:
        signature.verify(spec.bento, unpacked, keys, store, spec.version)
    for entry in unpacked.iterdir():
        entry.replace(target / entry.name)
    unpacked.rmdir()
    verify(spec, target / SOURCE)
    say("fetched", version=spec.version, bento=spec.bento)


def _empty(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in target.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
