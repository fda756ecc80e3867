"""A split by group on the real cluster: groups on one side in two versions, made rows not judged by, a sensitive value nowhere.

One model with all three: rows of households, a third of the rows marked as made, and an account number that nobody may use.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.shop import NAME, ROWS
from demo.ground import SYSTEM
from demo.stage import State
from perennial_runtime.contract import Answer, EvaluateResult, PrepareResult, decode_answer

SECRET = "DE02-1203-0000-0000-2020-51"
"""Stands in every row's sensitive cell."""
GROUP, MADE, ACCOUNT = "household", "made", "account"
COLUMNS = [
    *(column for column in synthetic.COLUMNS if column["role"] != "time"),
    {"name": GROUP, "role": "group"},
    {"name": MADE, "role": "synthetic"},
    {"name": ACCOUNT, "role": "sensitive"},
]
FRACTION = 0.25
FIRST, SECOND = range(150), range(75, 225)
"""Households of the first month, and of the second: some stay, some go, some come."""

_READ = """
import io, json, os, sys
from urllib.parse import urlsplit
import obstore, polars as pl
from obstore.store import S3Store
asked = json.loads(sys.argv[1])
uri = urlsplit(asked["store"])
plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
bucket = S3Store(uri.netloc, client_options={"allow_http": plain})
bodies = {}
for page in obstore.list(bucket, uri.path.lstrip("/")):
    for item in page:
        bodies[item["path"]] = bytes(obstore.get(bucket, item["path"]).bytes())
tables = {path: pl.read_parquet(io.BytesIO(body)) for path, body in bodies.items() if body[:4] == b"PAR1"}
secret = asked["secret"]
holding = [path for path, body in bodies.items() if secret.encode() in body]
holding += [path for path, table in tables.items() if secret in table.write_ndjson()]
columns = {}
for name, digest in asked["tables"].items():
    table = next(found for path, found in tables.items() if path.endswith(digest))
    columns[name] = {column: table[column].to_list() for column in table.columns if column in asked["columns"]}
print(json.dumps({"objects": len(bodies), "tables": len(tables), "holding": holding, "columns": columns}))
"""


def month(households: range, first: int) -> pl.DataFrame:
    """Rows of these households in no order, a third of them made."""
    chance = np.random.default_rng(first)
    return synthetic.table(ROWS, first=first).with_columns(
        pl.Series(GROUP, [f"h{number}" for number in chance.choice(np.array(households), ROWS)]),
        (pl.int_range(pl.len()) % 3 == 0).alias(MADE),
        pl.lit(SECRET).alias(ACCOUNT),
    )


def answers(state: State, number: int) -> dict[str, Answer]:
    """What the steps of a version answered."""
    steps = state.version(number).get("steps", [])
    return {one["step"]: decode_answer(one["result"]) for one in steps if one["state"] == "Succeeded"}


def prepared(state: State, number: int) -> PrepareResult:
    found = answers(state, number)["prepare"]
    assert isinstance(found, PrepareResult)
    return found


@pytest.fixture(scope="module")
def judged(shared_place: Place) -> State:
    """v1 of a month serves, and v2 of two months was judged beside it."""
    shared_place.upload(month(FIRST, 0), "january.parquet")
    gates = [{"metric": "roc_auc", "minimum": 0.6}, {"metric": "roc_auc", "notWorseThanServingBy": 0.2}]
    data = {"columns": COLUMNS, "holdout": {"by": "group", "fraction": FRACTION}}
    shared_place.apply(shared_place.manifest(NAME, data=data, evaluation={"gates": gates}))
    shared_place.serving(1, name=NAME)
    shared_place.upload(month(SECOND, ROWS), "february.parquet")
    shared_place.kubectl.annotate("mdep", NAME, "perennial.dev/retrain", "february")
    return shared_place.until(
        "v2 to be judged",
        lambda state: "evaluate" in answers(state, 2),
        name=NAME,
        seconds=240,
        never=lambda state: state.version(2).get("message", "") if state.state(2) in ("Failed", "Rejected") else "",
    )


@pytest.fixture(scope="module")
def store(shared_place: Place, judged: State) -> dict[str, Any]:
    """What lies in the model's part of the store: how many objects, which of them hold the secret, and columns of its tables."""
    version = shared_place.kubectl.get("mver", f"{NAME}-v1")
    assert version is not None
    tables = {f"{side} {number}": getattr(prepared(judged, number), side) for number in (1, 2) for side in ("train", "holdout")}
    asked = {
        "store": version["spec"]["store"]["uri"],
        "secret": SECRET,
        "tables": tables,
        "columns": [GROUP, MADE, synthetic.ROW],
    }
    cluster = shared_place.ground.cluster
    keys = [f"{key}={value}" for key, value in cluster.store_data().items()]
    found: dict[str, Any] = json.loads(cluster.run("env", *keys, sys.executable, "-c", _READ, json.dumps(asked), timeout=120))
    return found


def test_a_group_is_on_one_side_in_both_versions(judged: State, store: dict[str, Any]) -> None:
    sides = {name: set(columns[GROUP]) for name, columns in store["columns"].items()}
    assert not (sides["train 1"] | sides["train 2"]) & (sides["holdout 1"] | sides["holdout 2"])
    assert sides["train 1"] < sides["train 2"], "the second month has households of its own"
    assert len(sides["train 2"] | sides["holdout 2"]) == prepared(judged, 2).groups == len({*FIRST, *SECOND})
    assert len(sides["holdout 2"]) == prepared(judged, 2).held_out_groups


def test_a_champion_of_the_same_split_was_trained_on_no_row_of_the_holdout(judged: State) -> None:
    found = answers(judged, 2)["evaluate"]
    assert isinstance(found, EvaluateResult)
    assert found.champion is not None
    assert (found.dropped_rows, found.holdout_rows) == (0, prepared(judged, 2).holdout_rows)


def test_rows_that_were_made_are_trained_on_or_left_out_and_told(judged: State, store: dict[str, Any]) -> None:
    for number in (1, 2):
        trained, held = store["columns"][f"train {number}"], store["columns"][f"holdout {number}"]
        answer, told = prepared(judged, number), judged.version(number)["split"]
        assert answer.synthetic == number * ROWS // 3
        assert sum(trained[MADE]) == answer.synthetic - answer.left_out
        assert MADE not in held
        made = {f"r{row}" for row in range(number * ROWS) if row % 3 == 0}
        assert not made & set(held[synthetic.ROW])
        assert (told["syntheticRows"], told["leftOutRows"]) == (answer.synthetic, answer.left_out)
        assert 0.1 < told["share"] < 0.45, "a quarter of 150 households and more, in expectation"


def words(place: Place) -> Iterator[tuple[str, str]]:
    """Everything that is told in the namespace: objects, events, and logs of all containers, the operator's too."""
    yield "objects", json.dumps(list(place.kubectl.list("mdep,mver,jobs,pods,deployments,services,httproutes,configmaps,events")))
    for pod in place.kubectl.list("pods"):
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            name = pod["metadata"]["name"]
            yield f"{name} {container['name']}", place.kubectl.logs(name, container["name"], lines=2000)
    operator = place.ground.kubectl.within(SYSTEM)
    yield "operator", operator.run("logs", "deployment/perennial", "--tail=20000")


def test_a_sensitive_value_is_in_no_object_of_the_store_and_no_log_or_message(
    shared_place: Place, judged: State, store: dict[str, Any]
) -> None:
    assert store["tables"] >= 4
    assert store["objects"] > 10, "blobs, results, logs and cards of two versions"
    assert store["holding"] == []
    told = dict(words(shared_place))
    assert any('"rows put in order"' in text for text in told.values()), "prepare's log is among them"
    assert [name for name, text in told.items() if SECRET in text] == []
    assert prepared(judged, 2).rows == 2 * ROWS
