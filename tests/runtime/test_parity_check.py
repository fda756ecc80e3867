"""parity.parquet as any image may have written it: read in a process of its own, two columns of it, the footer first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial_runtime import evaluate_sandbox
from perennial_runtime.evaluate_child import ModelRefused
from perennial_runtime.evaluate_sandbox import SandboxLimits, parity_in_sandbox
from perennial_runtime.parity_check import PARITY_BYTES, read_parity

SCORES = np.linspace(0, 1, 512)
FRAME = pl.DataFrame({"row": np.arange(512), "score": SCORES})


def refusal(path: Path) -> str:
    with pytest.raises(ModelRefused) as caught:
        read_parity(path, 512)
    assert caught.value.reason == "ParityBroken"
    return caught.value.message


def test_the_scores_come_out_of_the_sandbox_in_the_order_of_the_rows(tmp_path: Path) -> None:
    FRAME.sample(fraction=1.0, shuffle=True, seed=7).write_parquet(tmp_path / "parity.parquet")
    scores = parity_in_sandbox(tmp_path / "parity.parquet", 512, tmp_path, SandboxLimits(memory=768 * 1024**2))
    assert np.array_equal(scores, SCORES)
    assert [path.name for path in tmp_path.iterdir()] == ["parity.parquet"]


def test_a_refusal_comes_out_of_the_sandbox(tmp_path: Path) -> None:
    FRAME.drop("score").write_parquet(tmp_path / "parity.parquet")
    with pytest.raises(ModelRefused, match="no column score"):
        parity_in_sandbox(tmp_path / "parity.parquet", 512, tmp_path, SandboxLimits())


def test_a_file_that_kills_its_reader_is_refused_and_we_live(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="the process that reads it ended with 1") as caught:
        parity_in_sandbox(tmp_path / "absent", 512, tmp_path, SandboxLimits())  # the child knows no answer to this, and ends
    assert caught.value.reason == "ParityBroken"


def test_a_file_that_is_never_read_to_its_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_sandbox, "PARITY_SECONDS", 0)
    FRAME.write_parquet(tmp_path / "parity.parquet")
    with pytest.raises(ModelRefused, match="not read within"):
        parity_in_sandbox(tmp_path / "parity.parquet", 512, tmp_path, SandboxLimits())


def test_no_other_column_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "parity.parquet"
    word = "0123456789abcdef"
    FRAME.with_columns(secret=pl.lit(word)).write_parquet(path, compression="uncompressed", statistics=False)
    assert word.encode() in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(word.encode(), b"\xff" * len(word)))
    assert np.array_equal(read_parity(path, 512), SCORES)


def test_the_rows_are_counted_before_any_is_decoded(tmp_path: Path) -> None:
    zeros = np.zeros(3_000_000, dtype=np.int64)
    pl.DataFrame({"row": zeros, "score": zeros.astype(float)}).write_parquet(tmp_path / "parity.parquet")
    assert "it has 3000000 rows" in refusal(tmp_path / "parity.parquet")


def test_the_kinds_are_judged_before_any_row_is_decoded(tmp_path: Path) -> None:
    pl.DataFrame({"row": np.arange(512), "score": ["x" * 1_000_000] * 512}).write_parquet(tmp_path / "parity.parquet")
    assert "not int64 and float64" in refusal(tmp_path / "parity.parquet")


def test_a_large_file_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "parity.parquet").open("wb") as sparse:
        sparse.truncate(PARITY_BYTES + 1)
    assert f"it has {PARITY_BYTES + 1} bytes" in refusal(tmp_path / "parity.parquet")
