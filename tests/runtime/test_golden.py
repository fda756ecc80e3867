"""The rows that a pod asks itself must be rows that it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_columns import Table
from perennial_runtime.golden import MOST_TEXT, ROWS, choose, golden_document
from perennial_runtime.predict import MAX_BODY_BYTES, MAX_TEXT, RequestModel, features_of

NOTE = {"name": "note", "kind": "categorical", "nullable": True, "categories": [], "example": "x"}


def texts(schema: dict[str, Any], values: list[str]) -> Table:
    """Rows whose features all hold the same text, one row for each value."""
    codes = np.arange(len(values), dtype=np.int32)
    return Table(rows=len(values), numbers={}, texts={item["name"]: (values, codes) for item in schema["features"]})


def test_a_text_that_the_predict_api_refuses_is_no_golden_request() -> None:
    values = ["a", "b" * MAX_TEXT, "c" * (MAX_TEXT + 1), "ü" * MAX_TEXT, ""]
    schema = {"features": [NOTE]}
    assert choose(schema, texts(schema, values)) == [0, 1, 3, 4]
    golden = golden_document(schema, texts(schema, values), np.zeros(len(values)))
    requests = RequestModel(features_of(schema))
    assert [requests.parse(encoded([row])) for row in golden["rows"]]


def test_all_golden_requests_together_are_a_body_that_is_taken() -> None:
    schema = {"features": [{**NOTE, "name": f"note {number}"} for number in range(64)]}
    long = "\u0001" * (MOST_TEXT // 64)  # of all characters the longest when escaped
    golden = golden_document(schema, texts(schema, [long] * 100 + [long + "!"]), np.zeros(101))
    assert len(golden["rows"]) == ROWS
    assert len(encoded(golden["rows"])) < MAX_BODY_BYTES
    assert choose(schema, texts(schema, [long + "!", "short"])) == [1]


def test_data_without_a_row_that_could_be_asked_is_refused() -> None:
    schema = {"features": [NOTE]}
    with pytest.raises(ModelRefused, match="more than 4096 characters") as caught:
        choose(schema, texts(schema, ["x" * 5000] * 3))
    assert caught.value.reason == "NoRowServable"


def encoded(rows: list[dict[str, Any]]) -> bytes:
    """As `golden_run` sends them."""
    import httpx

    return httpx.Request("POST", "http://pod/predict", json={"instances": rows}).content
