"""What the two processes under limits have in common: the limits, and a refusal as the way to answer.

`evaluate_sandbox` starts `python -m perennial_runtime.onnx_check` (model.onnx) and `perennial_runtime.parity_check`
(parity.parquet) with the path of a request. Both read a file that anybody may have written with native code, so both may crash,
hang or eat memory there, and only there. The answer is a file: {} or {"reason", "message"}; what was found lies beside it.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ANSWER_FILE = "answer.json"
WORDS_FILE = "difference.json"
"""What `model_difference` found."""


class ModelRefused(ValueError):
    """The model may not be used: a CamelCase reason and a message that says what was found and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def carry_out(request_file: str, work: Callable[[Mapping[str, Any], Path], None]) -> None:
    """The child process: limits first, then `work` on the request, which writes into the folder `out`."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    _limit(int(request["memory"]), int(request["seconds"]), int(request["file"]))
    out = Path(request["out"])
    answer: dict[str, str] = {}
    try:
        work(request, out)
    except ModelRefused as refused:
        answer = {"reason": refused.reason, "message": refused.message}
    (out / ANSWER_FILE).write_text(json.dumps(answer), encoding="utf-8")


def _limit(memory: int, seconds: int, file: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
