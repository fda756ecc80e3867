"""What evaluate found -> one termination message of at most 1 KiB, and the evidence behind it as a blob.

The message holds as many decimals and as many slices by name as fit; gates that are too long by name go by their place among
those that were asked for (`contract.packed`). The smallest class of several is told where a gate is undecided, and goes with the
last of the slices' names. The evidence holds every gate, and every slice, that was measured.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perennial_runtime.answers import Refused
from perennial_runtime.contract import (
    MESSAGE_LIMIT,
    ContractError,
    EvaluateResult,
    GateMeasurement,
    GateSpec,
    encode_answer,
    packed,
)
from perennial_runtime.evaluate_facts import LATENCY
from perennial_runtime.evaluate_gates import DECIMALS, shortened
from perennial_runtime.evaluate_slices import TOLD

LEAST_DECIMALS = 2
PLAIN_DECIMALS = 4
"""Fewer are worth less than the gates' names."""
SHORT_NAME = 16
"""Characters that are left of the name of a slice, or of a class, before it is not told at all."""


def fitted(result: EvaluateResult, gates: Sequence[GateSpec], requests: int = 0) -> EvaluateResult:
    """The result with as much as fits into one termination message; `requests` is how many a latency was measured by."""
    for candidate in _candidates(result, gates, requests):
        try:
            encode_answer(candidate)
        except ContractError:
            continue
        return candidate
    raise Refused("TooManyGates", f"the measurements of {len(result.gates)} gates do not fit into {MESSAGE_LIMIT} bytes")


def _candidates(result: EvaluateResult, gates: Sequence[GateSpec], requests: int) -> Iterator[EvaluateResult]:
    """From the longest to the shortest."""
    for decimals in range(DECIMALS, PLAIN_DECIMALS - 1, -1):
        yield _short(result, requests, decimals)
    for told in range(TOLD, 0, -1):
        for decimals in range(DECIMALS, LEAST_DECIMALS, -1):
            yield packed(_short(result, requests, decimals, told), gates)
    for decimals in range(LEAST_DECIMALS + 1, LEAST_DECIMALS - 1, -1):
        yield packed(_short(result, requests, decimals, 1, SHORT_NAME), gates)
    yield packed(_short(result, requests, LEAST_DECIMALS, 0, SHORT_NAME), gates)


def _short(result: EvaluateResult, requests: int, decimals: int, told: int = TOLD, letters: int = 0) -> EvaluateResult:
    rows = {gate.metric: requests if gate.metric == LATENCY else result.holdout_rows for gate in result.gates}
    found = (shortened(gate, rows[gate.metric], decimals) for gate in result.gates)
    return replace(result, gates=tuple(_fewer(gate, told, letters) for gate in found))


def _fewer(gate: GateMeasurement, told: int, letters: int) -> GateMeasurement:
    """The gate with fewer slices by name, and shorter names (0: as they are)."""
    few = gate.smallest if gate.needed_rows and told else None
    gate = replace(gate, smallest=few and replace(few, name=_cut(few.name, letters)))
    if gate.slices is None:
        return gate
    some = tuple(replace(one, name=_cut(one.name, letters)) for one in gate.slices.told[:told])
    return replace(gate, slices=replace(gate.slices, told=some, thin=gate.slices.thin if not letters else ""))


def _cut(name: str, letters: int) -> str:
    return f"{name[: letters - 3]}..." if letters and len(name) > letters else name


def evidence_of(result: EvaluateResult, slices: Mapping[str, Any], made: Mapping[str, str | None]) -> bytes:
    """Every number as JSON: the result's own fields, its gates, and the slices; and what the answer has no room for, the digest
    of the SBOM and who signed (docs/evaluation.md)."""
    document = {
        "identity": result.identity,
        "champion": result.champion,
        "parity": result.parity,
        "holdoutRows": result.holdout_rows,
        "droppedRows": result.dropped_rows,
        "gates": [dataclasses.asdict(replace(gate, slices=None)) for gate in result.gates],
        "slices": slices,
        **made,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
