"""What a version's steps have answered, as its records hold it: the newest answer of each."""

from __future__ import annotations

from perennial.api.v1alpha1 import ModelVersionStatus
from perennial_runtime.contract import Answer, PrepareResult, Refusal, decode_answer


def answer_of(status: ModelVersionStatus, step: str) -> Answer | None:
    """The step's newest recorded answer."""
    records = [record for record in status.steps if record.step == step and record.state == "Succeeded"]
    return decode_answer(records[-1].result) if records else None


def prepared_of(status: ModelVersionStatus) -> PrepareResult | None:
    """What prepare found, of a version that it ended well for."""
    answer = answer_of(status, "prepare")
    return answer if isinstance(answer, PrepareResult) else None


def data_of(status: ModelVersionStatus) -> str:
    """Digest of the rows that prepare read, also where it refused the version for what they are compared with; empty: unknown."""
    records = [record for record in status.steps if record.step == "prepare" and record.result]
    answers = [decode_answer(record.result) for record in reversed(records)]
    return next((answer.data for answer in answers if isinstance(answer, PrepareResult | Refusal)), "")
