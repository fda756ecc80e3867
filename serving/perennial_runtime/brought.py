"""A model that is there already: from its URI into the store, if it is the one that was asked for.

`prepare` fetches it before it reads the data, so that a wrong one costs nothing. `evaluate` then takes it from the store by its
digest, as it does one that was trained, and trusts it as little.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import obstore

from perennial_runtime.answers import Refused, say
from perennial_runtime.bento import file_digest
from perennial_runtime.contract import MODEL_BYTES_LIMIT, MODEL_NAME, ModelSource
from perennial_runtime.store import CHUNK, Store, mapped, open_bucket

_WHAT = "model"


def fetch(model: ModelSource, store: Store, work: Path, secret: Path, most: int = MODEL_BYTES_LIMIT) -> str:
    """Its digest, by which the store has it now. Raises Refused where it is another one, not there, or too large."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        local = _downloaded(model, Path(folder) / MODEL_NAME, secret if secret.is_dir() else None, most)
        found = file_digest(local)
        if found != model.digest:
            raise Refused(
                "ModelDigestDiffers",
                f"model {model.uri} has sha256:{found}, and spec.model.digest is sha256:{model.digest}: it is another model than "
                "the one that was meant; correct the digest or the URI, or put the right object there",
            )
        say("model fetched", bytes=local.stat().st_size, digest=found)
        return store.put_file(local)


def _downloaded(model: ModelSource, target: Path, secret: Path | None, most: int) -> Path:
    folder, _, name = model.uri.rpartition("/")
    bucket = open_bucket(folder, secret, _WHAT)
    with mapped(model.uri, _WHAT):
        answer = obstore.get(bucket, name)
        if answer.meta["size"] > most:
            raise Refused("ModelTooLarge", f"model {model.uri} has {answer.meta['size']} bytes, at most {most} are served")
        with target.open("wb") as local:
            for chunk in answer.stream(min_chunk_size=CHUNK):
                local.write(chunk)
    return target
