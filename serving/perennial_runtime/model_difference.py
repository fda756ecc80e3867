"""In what two ONNX models differ, in counts and distances: no value of a tensor and no category is told, for those may be data.

`perennial_runtime.evaluate_sandbox` starts `python -m perennial_runtime.model_difference <request.json>`, a process under limits,
because both files come from a trainer. Used by `compare`, when a version that was trained again is not bit-equal.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from perennial_runtime.evaluate_child import WORDS_FILE, carry_out

Values = dict[str, Any]


def difference(one: onnx.ModelProto, other: onnx.ModelProto) -> list[str]:
    """What differs, each thing in a few words; `one` is the model that there was, `other` the new one."""
    found = [
        *_facts("operator sets", _opsets(one), _opsets(other)),
        *_facts("IR version", one.ir_version, other.ir_version),
        *_facts("producer", f"{one.producer_name} {one.producer_version}", f"{other.producer_name} {other.producer_version}"),
        *_facts("inputs and outputs", _ends(one), _ends(other), shown=False),
        *_nodes(one, other),
        *_numbers(dict(_values(one)), dict(_values(other))),
    ]
    return found or ["graph, tensors and attributes are the same: only names, words or the order of the file differ"]


def _facts(what: str, one: object, other: object, *, shown: bool = True) -> Iterator[str]:
    if one != other:
        yield f"{what}: {one}, now {other}"[:120] if shown else f"{what} differ"


def _opsets(model: onnx.ModelProto) -> str:
    return ", ".join(sorted(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import))


def _ends(model: onnx.ModelProto) -> list[tuple[str, int]]:
    return [(item.name, item.type.tensor_type.elem_type) for item in (*model.graph.input, *model.graph.output)]


def _nodes(one: onnx.ModelProto, other: onnx.ModelProto) -> Iterator[str]:
    before, now = (Counter(node.op_type for node in model.graph.node) for model in (one, other))
    if before != now:
        yield f"{before.total()} nodes, now {now.total()}"


def _values(model: onnx.ModelProto) -> Iterator[tuple[str, Any]]:
    """Tensors and lists of numbers, by their place: names of nodes may be drawn at random."""
    for place, tensor in enumerate(model.graph.initializer):
        yield f"tensor {place}", numpy_helper.to_array(tensor)
    for place, node in enumerate(model.graph.node):
        for attribute in node.attribute:
            yield f"{node.op_type} {place} {attribute.name}", _array(attribute)


def _array(attribute: onnx.AttributeProto) -> Any:
    """Numbers as an array, anything else as bytes."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, float | int) or (isinstance(value, list) and value and isinstance(value[0], float | int)):
        return np.asarray(value)
    return np.frombuffer(attribute.SerializeToString(deterministic=True), dtype=np.uint8).tobytes()


def _numbers(one: Values, other: Values) -> Iterator[str]:
    shared = [name for name in one if name in other]
    if len(one) + len(other) > 2 * len(shared):
        yield f"{len(one)} tensors and attributes, now {len(other)}"
    reshaped, unequal, largest = 0, 0, 0.0
    for name in shared:
        before, now = one[name], other[name]
        if np.shape(before) != np.shape(now):
            reshaped += 1
        elif not _same(before, now):
            unequal += 1
            largest = max(largest, _distance(before, now))
    if reshaped:
        yield f"{reshaped} tensors and attributes have another size"
    if unequal:
        by = f", numbers by up to {largest:.3g}" if largest else ""
        yield f"{unequal} of {len(shared)} tensors and attributes have other values{by}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bytes) or isinstance(other, bytes):
        return bool(one == other)
    return bool(one.tobytes() == other.tobytes())


def _distance(one: Any, other: Any) -> float:
    """The largest difference of two numbers; 0 where they are none, or not finite."""
    if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)) or one.dtype.kind not in "iuf":
        return 0.0
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return float(apart[np.isfinite(apart)].max(initial=0.0))


def _work(request: Mapping[str, Any], out: Path) -> None:
    try:
        models = [onnx.load(request[name], load_external_data=False) for name in ("one", "other")]
        words = difference(*models)
    except (DecodeError, ValueError, TypeError, LookupError, onnx.checker.ValidationError) as error:
        words = [f"they can't be compared tensor by tensor ({type(error).__name__})"]
    (out / WORDS_FILE).write_text(json.dumps(words), encoding="utf-8")


if __name__ == "__main__":
    carry_out(sys.argv[1], _work)
