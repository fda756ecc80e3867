"""Bad ModelDeployments, one for each way in which data or a trainer can be wrong, with what a person must be told.

`test_refusals` applies them all at once and looks at each. Data lies in folders under the place's source: `good/` and one for
each broken file; a trainer is a few lines of Python in the training image.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from cluster_support import synthetic
from cluster_support.place import Place

SECRET_VALUE = "4929-1234-5678-9012"
"""Stands for a client's private value: it may be in no log."""

Manifest = dict[str, Any]
SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}}
GOOD = "good"
GOOD_FILE = f"{GOOD}/part-1.parquet"
ROWS = 1500


@dataclass(frozen=True, slots=True)
class Case:
    """What is applied, how the version of it must end, and the words that its message must hold."""

    number: int
    name: str
    state: str
    words: tuple[str, ...]
    """The reason first, then what was found where."""
    fix: str
    """What to do, in the message's own words."""
    data: str = GOOD
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Merged over the manifest; a text that starts with `{training}`, `{trainer}` or `{registry}` gets the place's."""


def trainer(*lines: str, **training: Any) -> Mapping[str, Any]:
    """A user image that runs these lines."""
    wish = {
        "recipe": None,
        "image": "{training}",
        "retries": 0,
        "resources": SMALL,
        "command": ["python3", "-c", "\n".join(lines)],
    }
    return {"training": {**wish, **training}}


OUT = ("import numpy as np, onnx, polars as pl", "from onnx import helper as h", "out = '/perennial/out/'")
PARITY = ("pl.DataFrame({'row': np.arange(512), 'score': np.full(512, 0.5)}).write_parquet(out + 'parity.parquet')",)
GRAPH = (
    "w = onnx.numpy_helper.from_array(np.ones((1, 1), dtype=np.float32), 'w')",
    "x, y = (h.make_tensor_value_info(n, 1, [None, 1]) for n in ('amount', 'score'))",
)
OWN_TRAINER = ("import runpy", "runpy.run_path('/trainer/train.py', run_name='__main__')")


def model(domain: str, operator: str, save: str) -> tuple[str, ...]:
    """Lines that write a model of one operator."""
    return (
        *OUT,
        *PARITY,
        *GRAPH,
        f"g = h.make_graph([h.make_node('{operator}', ['amount', 'w'], ['score'], domain='{domain}')], 'g', [x], [y], [w])",
        "ops = [h.make_opsetid('', 17)" + (f", h.make_opsetid('{domain}', 1)]" if domain else "]"),
        "m = h.make_model(g, opset_imports=ops, ir_version=8)",
        save,
    )


HANGS: tuple[str, ...] = ("import time", "time.sleep(3600)")

DATA_CASES = (
    Case(
        2, "no-secret", "Failed", ("SecretMissing", "data source", "secretRef", "AWS_ACCESS_KEY_ID"),
        fix="create it with the keys",
        spec={"data": {"source": {"secretRef": {"name": "nobody-made-it"}}}},
    ),
    Case(
        2, "no-bucket", "Failed", ("BucketNotFound", "s3://no-such-bucket/data"),
        fix="create it or correct the URI",
        spec={"data": {"source": {"uri": "s3://no-such-bucket/data/"}}},
    ),
    Case(2, "no-object", "Failed", ("ObjectNotFound", "nothing/"), fix="upload the data or correct the URI", data="nothing"),
    Case(
        2, "no-column", "Failed", ("ColumnMissing", "'weight'", "part-1.parquet"),
        fix="correct data.columns or the file",
        spec={"data": {"columns": [*synthetic.COLUMNS, {"name": "weight", "role": "feature"}]}},
    ),
    Case(3, "empty-file", "Failed", ("FileEmpty", "part-1.parquet"), fix="remove it or upload it again", data="empty"),
    Case(3, "truncated-file", "Failed", ("FileTruncated", "part-1.parquet"), fix="upload it again", data="truncated"),
    Case(3, "other-type", "Failed", ("FileWrongType", "part-1.parquet"), fix="write Parquet or rename it", data="wrong"),
    Case(4, "one-class", "Failed", ("OneClass", "'late'"), fix="check the label, or add data", data="oneclass"),
    Case(
        5, "few-rows", "Failed", ("TooFewRows", str(ROWS), "100000"),
        fix="add data or lower minimumRows",
        spec={"data": {"minimumRows": 100_000}},
    ),
)  # fmt: skip

TRAINER_CASES = (
    Case(
        6, "exits", "Failed", ("TrainerFailed", "exit code 3"),
        fix="see: kubectl logs job/exits-v1-train-1 -c train",
        spec=trainer("raise SystemExit(3)"),
    ),
    Case(
        7, "memory", "Failed", ("OutOfMemory", "train", "peak", "64Mi", "or use less data"),
        fix="raise spec.training.resources.limits.memory",
        spec=trainer(
            "held = [b'x' * 10**6 for _ in range(1000)]",
            resources={"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        ),
    ),
    Case(
        8, "hangs", "Failed", ("TimedOut", "longer than 10s"),
        fix="raise spec.training.timeout or make the training shorter",
        spec=trainer(*HANGS, timeout="10s"),
    ),
    Case(9, "silent", "Failed", ("OutputMissing", "model.onnx"), fix="see docs/file-contract.md", spec=trainer("pass")),
    Case(
        10, "broken", "Rejected", ("OnnxBroken", "model.onnx", "12 bytes"),
        fix="write it completely",
        spec=trainer(*OUT, *PARITY, "open(out + 'model.onnx', 'wb').write(b'not a model!')"),
    ),
    Case(
        10, "oversized", "Failed", ("OutputTooLarge", "model.onnx", "536870912"),
        fix="make it smaller",
        spec=trainer(*OUT, *PARITY, "open(out + 'model.onnx', 'wb').truncate(600 * 1024**2)"),
    ),
    Case(
        11, "elsewhere", "Rejected", ("OnnxExternalData", "model.onnx"),
        fix="save it as one file",
        spec=trainer(
            *model("", "Mul", "onnx.save(m, out + 'model.onnx', save_as_external_data=True, location='w.bin', size_threshold=0)")
        ),
    ),
    Case(
        11, "own-domain", "Rejected", ("OnnxDomainNotAllowed", "evil.example::Steal", "ai.onnx.ml"),
        fix="export the model with these only",
        spec=trainer(*model("evil.example", "Steal", "onnx.save(m, out + 'model.onnx')")),
    ),
    Case(
        21, "fills", "Failed", ("OutOfStorage", "pod fills-v1-train-1", "64Mi"),
        fix="write less, or raise spec.training.resources.limits.ephemeral-storage",
        spec=trainer(
            "with open('/perennial/out/scratch', 'wb') as file:",
            "    [file.write(b'x' * 1024**2) for _ in range(256)]",
            *HANGS,
            resources={**SMALL, "limits": {"ephemeral-storage": "64Mi"}},
        ),
    ),
    Case(
        12, "parity", "Rejected", ("ParityOff", "0.1", "parity.parquet"),
        fix="correct it, or raise spec.evaluation.parity.maxAbsDifference",
        spec=trainer(
            *OWN_TRAINER,
            "import polars as pl",
            "file, s = '/perennial/out/parity.parquet', pl.col('score')",
            "off = pl.when(s > 0.5).then(s - 0.1).otherwise(s + 0.1)",
            "pl.read_parquet(file).with_columns(score=off).write_parquet(file)",
            image="{trainer}",
        ),
    ),
)  # fmt: skip

NO_IMAGE = Case(
    14, "no-image", "Failed", ("ImageCannotBePulled", "container train", "no/such-image", "for 1"),
    fix="correct spec.training.image or spec.training.imagePullSecrets",
    spec={"training": {"recipe": None, "image": "{registry}/no/such-image:1", "retries": 0, "resources": SMALL}},
)  # fmt: skip

CASES = (NO_IMAGE, *TRAINER_CASES, *DATA_CASES)
"""All that `test_refusals` applies. The numbers that stand here stand on no test: a test that looks at cases takes theirs."""


def data() -> Sequence[tuple[str, bytes]]:
    """Every folder's file."""
    whole = synthetic.parquet(synthetic.table(ROWS))
    one_class = synthetic.table(ROWS).with_columns(pl.lit(0).alias(synthetic.LABEL))
    return [
        (GOOD_FILE, whole),
        ("empty/part-1.parquet", b""),
        ("truncated/part-1.parquet", whole[: len(whole) // 2]),
        ("wrong/part-1.parquet", synthetic.csv(synthetic.table(50))),
        ("oneclass/part-1.parquet", synthetic.parquet(one_class)),
    ]


def named(name: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.name == name)


def manifest(place: Place, case: Case, *, name: str = "") -> Manifest:
    """The ModelDeployment of a case, by its own name or as one that is there already."""
    return wish(place, name or case.name, folder=case.data, **_filled(place, case.spec))


def wish(place: Place, name: str, *, folder: str = GOOD, **spec: Any) -> Manifest:
    """A ModelDeployment on a folder of the data."""
    result = place.manifest(name, **spec)
    source = result["spec"]["data"]["source"]
    if source["uri"] == place.source:
        source["uri"] = f"{place.source}{folder}/"
    return result


def _filled(place: Place, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(place, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(place, item) for item in value]
    if not isinstance(value, str):
        return value
    images = {"training": place.images.training, "trainer": place.light_image, "registry": place.ground.cluster.registry}
    return next((value.replace(f"{{{key}}}", image) for key, image in images.items() if value.startswith(f"{{{key}}}")), value)


def hurt(place: Place, digest: str, store: str) -> None:
    """Turns one bit of a blob of the store."""
    keys = [f"{key}={value}" for key, value in place.ground.cluster.store_data().items()]
    place.ground.cluster.run("env", *keys, sys.executable, "-c", _HURT, f"{store}/blobs/sha256/{digest}", timeout=60)


def stored(place: Place, uri: str) -> str:
    """The text of an object of the store."""
    return stored_bytes(place, uri).decode()


def stored_bytes(place: Place, uri: str) -> bytes:
    """An object of the store."""
    keys = [f"{key}={value}" for key, value in place.ground.cluster.store_data().items()]
    return base64.b64decode(place.ground.cluster.run("env", *keys, sys.executable, "-c", _STORED, uri, timeout=60))


_STORED = """
import base64, os, sys
from urllib.parse import urlsplit
import obstore
from obstore.store import S3Store
uri = urlsplit(sys.argv[1])
plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
bucket = S3Store(uri.netloc, client_options={"allow_http": plain})
sys.stdout.write(base64.b64encode(bytes(obstore.get(bucket, uri.path.lstrip("/")).bytes())).decode())
"""


_HURT = """
import os, sys
from urllib.parse import urlsplit
import obstore
from obstore.store import S3Store
uri = urlsplit(sys.argv[1])
plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
bucket = S3Store(uri.netloc, client_options={"allow_http": plain})
body = bytearray(obstore.get(bucket, uri.path.lstrip("/")).bytes())
body[len(body) // 2] ^= 1
obstore.put(bucket, uri.path.lstrip("/"), bytes(body))
"""
