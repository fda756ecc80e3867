"""What a version's stored model says of rows, to compare with what the version answers and was judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import polars as pl

from cluster_support import bad_inputs
from cluster_support.place import Place


def said(place: Place, version: str, output: str, rows: pl.DataFrame) -> np.ndarray[Any, Any]:
    """An output of a version's model.onnx for rows of its features, by onnxruntime alone."""
    found = place.kubectl.get("mver", version) or {}
    blob = f"{found['spec']['store']['uri']}/blobs/sha256/{found['status']['lineage']['model']}"
    session = onnxruntime.InferenceSession(bad_inputs.stored_bytes(place, blob), providers=["CPUExecutionProvider"])
    feeds = {
        cells.name: np.array(cells.to_list(), dtype=object if cells.dtype == pl.String else np.float32).reshape(-1, 1)
        for cells in rows
    }
    scores: np.ndarray[Any, Any] = session.run([output], feeds)[0]
    return scores
