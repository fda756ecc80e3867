"""What a trainer says of itself, as far as it is passed on: numbers with plain names. Standard library only.

`perennial_runtime.reporter` passes them on, `perennial_runtime.check` shows which of them it would.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from perennial_runtime.contract import METRICS_NAME
from perennial_runtime.outputs import OutputError, opened

PARITY_BYTES_LIMIT = 16 * 1024 * 1024
METRICS_BYTES_LIMIT = 64 * 1024
MOST_CLAIMS = 8
LARGEST = 1e300
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")

Numbers = dict[str, float]


def read_claims(out: Path) -> Numbers:
    """metrics.json's finite numbers, at most 8: shown as what the trainer claims. Nothing where it is not readable."""
    try:
        with opened(out, METRICS_NAME, METRICS_BYTES_LIMIT) as stream:
            return numbers(stream.read())
    except OutputError:
        return {}


def numbers(body: bytes) -> Numbers:
    """The finite numbers with short plain names of a JSON object: all that is passed on of what a trainer writes."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    kept: Numbers = {}
    for name, value in document.items():
        finite = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST
        if finite and _PLAIN_NAME.fullmatch(name):
            kept[name] = float(f"{value:.6g}")
    return dict(list(kept.items())[:MOST_CLAIMS])
