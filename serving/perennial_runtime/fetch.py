"""The init container `fetch` of a train Job: the training rows and params.json from the store to an emptyDir.

It has the store's credentials so that the trainer beside it needs none. The holdout stays where it is. Where an earlier
attempt left a checkpoint, it is put back under /perennial/out/checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path

from perennial_runtime import checkpoint
from perennial_runtime.answers import Refused, say
from perennial_runtime.contract import (
    CHECKPOINT_NAME,
    MODEL_BYTES_LIMIT,
    OUT_PATH,
    PARAMS_FILE,
    PARITY_ROWS,
    TRAIN_FILE,
    TrainSpec,
)
from perennial_runtime.store import Store

READABLE = 0o444
"""The trainer may run as any user; it reads these files and never writes them."""


def main(spec: TrainSpec) -> None:
    """Fetch to the paths of the file contract."""
    fetch(spec, Store(spec.store), Path(TRAIN_FILE), Path(PARAMS_FILE), Path(OUT_PATH))


def fetch(spec: TrainSpec, store: Store, train_file: Path, params_file: Path, out: Path) -> None:
    """Verified training rows, params.json, and the checkpoint if there is one."""
    store.get_file(spec.train, train_file).chmod(READABLE)
    document = params(spec, store.get_bytes(spec.schema))
    goes_on = out.is_dir() and not spec.scratch
    restored = checkpoint.restore(store, spec.uid, out / CHECKPOINT_NAME) if goes_on else 0
    params_file.write_text(json.dumps({**document, "resume": restored > 0}, indent=2, sort_keys=True) + "\n")
    params_file.chmod(READABLE)
    say("fetched", version=spec.version, bytes=train_file.stat().st_size, checkpoint_files=restored)


def params(spec: TrainSpec, schema: bytes) -> dict[str, object]:
    """The document of params.json: what a trainer must know, and nothing of the holdout."""
    try:
        document = json.loads(schema)
        features = [{"name": item["name"], "kind": item["kind"]} for item in document["features"]]
        label, time = document["label"], document["time"]
        beside = {name: document[name] for name in ("group", "synthetic", "weight", "classes") if name in document}
    except (ValueError, KeyError, TypeError):
        raise Refused("SchemaBroken", f"blob sha256:{spec.schema} is no schema.json: train again from prepare") from None
    return {
        "task": spec.task,
        "features": features,
        "label": label,
        "time": time,
        **beside,
        "seed": spec.seed,
        "hyperparameters": spec.hyperparameters,
        **({"classWeights": spec.class_weights} if spec.class_weights else {}),
        "parity": {"rows": PARITY_ROWS},
        "limits": {"modelBytes": MODEL_BYTES_LIMIT},
    }
