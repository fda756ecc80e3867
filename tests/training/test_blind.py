"""A trainer that looks for the holdout, on the real cluster: in environment, mounts, neighbours, the API and the store.

What it found it tells as its claims, which is all that it can tell. It trains honestly then, so that its version is judged.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS
from perennial_runtime.contract import PrepareResult, TrainResult, decode_answer

TRIES = """
import json, os, pathlib, sys, urllib.error, urllib.request
import polars as pl
from perennial_runtime.recipes.train import train

def status(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code

def readable(path):
    try:
        path.read_bytes()
        return True
    except OSError:
        return False

out, data = pathlib.Path("/perennial/out"), pathlib.Path("/perennial/data")
words = ("AWS_", "SECRET", "TOKEN", "PASSWORD", "CREDENTIAL")
mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
files = [path for root in ("/perennial", "/tmp", "/var/run", "/run", "/home") for path in pathlib.Path(root).rglob("*")]
tables = [path for path in files if path.suffix == ".parquet"]
others = [path for path in pathlib.Path("/proc").glob("[0-9]*/environ") if path.parent.name != str(os.getpid())]
times = pl.read_parquet(data / "train.parquet")[sys.argv[2]]
found = {
    "variables": sum(any(word in name for word in words) for name in os.environ),
    "secrets": sum("secret" in mount or "store" in mount for mount in mounts),
    "tables": len(tables),
    "columns": sum(len(pl.read_parquet(path).columns) for path in tables),
    "minutes": (times.max() - times.min()).total_seconds() / 60,
    "neighbours": sum(readable(path) for path in others),
    "store": status(sys.argv[1]),
    "api": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
}
train("logistic-regression", pathlib.Path("/perennial/params.json"), data / "train.parquet", out)
(out / "metrics.json").write_text(json.dumps({name: float(value) for name, value in found.items()}))
"""


@pytest.fixture(scope="module")
def steps(shared_place: Place) -> dict[str, Any]:
    """What prepare and the trainer answered, by step."""
    secret = shared_place.kubectl.get("secret", "perennial-store")
    assert secret is not None
    endpoint = base64.b64decode(secret["data"]["AWS_ENDPOINT_URL"]).decode().rstrip("/")
    bucket = shared_place.source.removeprefix("s3://")
    shared_place.upload(synthetic.table(ROWS))
    command = ["python3", "-c", TRIES, f"{endpoint}/{bucket}part-1.parquet", synthetic.TIME]
    training = {"recipe": None, "image": shared_place.images.training, "command": command}
    shared_place.apply(shared_place.manifest(NAME, training=training))
    shared_place.serving(1)
    version = shared_place.kubectl.get("mver", f"{NAME}-v1")
    assert version is not None
    return {one["step"]: decode_answer(one["result"]) for one in version["status"]["steps"]}


def test_a_trainer_that_looks_for_the_holdout_finds_the_training_rows_and_nothing_else(steps: dict[str, Any]) -> None:
    prepared, trained = steps["prepare"], steps["train"]
    assert isinstance(prepared, PrepareResult)
    assert isinstance(trained, TrainResult)
    claims = dict(trained.claims)
    assert claims.pop("tables") == 1, "train.parquet"
    assert claims.pop("columns") == len(synthetic.COLUMNS), "without the holdout's own"
    assert claims.pop("store") == 403, "the source and the store ask for keys"
    first = synthetic.table(ROWS)[synthetic.TIME].min()
    assert isinstance(first, datetime)
    minutes = (datetime.fromisoformat(prepared.cutoff) - first).total_seconds() / 60
    assert 0 < claims.pop("minutes") < minutes, "its newest row is older than every row of the holdout"
    assert claims == {"variables": 0, "secrets": 0, "neighbours": 0, "api": 0}
