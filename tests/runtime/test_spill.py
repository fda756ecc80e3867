"""Rows and hashes on disk: what comes out depends on what went in, not on how much of it fits into memory."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial_runtime import pagecache, parquet_file, prepare_gather, spill, tabular
from perennial_runtime.columns import HASH
from perennial_runtime.parquet_file import write_parquet
from perennial_runtime.spill import Hashes, Runs
from runtime.steps_world import World, frame


def rows(keys: list[tuple[int, int]]) -> pl.DataFrame:
    times = pl.Series("at", [time for time, _ in keys], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"at": times, HASH: pl.Series([number for _, number in keys], dtype=pl.UInt64)})


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 30)), min_size=1, max_size=80), st.integers(1, 40), st.integers(1, 9)
)
def test_the_parts_together_are_all_rows_in_order_once(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[int, int]], run_bytes: int, batch: int
) -> None:
    runs = Runs(tmp_path_factory.mktemp("runs"), "at", run_bytes=run_bytes * 16, part_bytes=run_bytes * 8)
    with runs.filling():
        for start in range(0, len(keys), batch):
            runs.add(rows(keys[start : start + batch]))
    found = pl.concat([runs.part(number, lambda part: part) for number in range(runs.parts)])
    times = found["at"].to_physical().to_list()
    # a hash stands for a whole row, its time included, so equal rows are equal in both
    assert list(zip(times, found[HASH].to_list(), strict=True)) == sorted(set(keys)) or len({h for _, h in keys}) < len(set(keys))
    assert runs.rows == len(keys)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=200), st.integers(1, 30), st.integers(1, 4))
def test_rows_that_are_nearly_in_order_come_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, noise: list[tuple[int, int]], batch: int, block: int
) -> None:
    keys = [(place // 3 + late, 10 * place + number) for place, (late, number) in enumerate(noise)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BLOCK_ROWS", block)
        runs = Runs(tmp_path_factory.mktemp("runs"), "at", run_bytes=16 * batch, part_bytes=400)
        with runs.filling():
            for start in range(0, len(keys), batch):
                runs.add(rows(keys[start : start + batch]))
                runs.add(rows(keys[start : start + 1]))
        found = pl.concat([runs.part(number, lambda part: part) for number in range(runs.parts)])
    assert list(zip(found["at"].to_physical().to_list(), found[HASH].to_list(), strict=True)) == sorted(set(keys))


def test_a_part_is_small_even_where_all_rows_have_one_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BLOCK_ROWS", 16)
    runs = Runs(tmp_path, "at", run_bytes=4096, part_bytes=1024)
    with runs.filling():
        for start in range(0, 4000, 100):
            runs.add(rows([(7, number * 7919 % 4001) for number in range(start, start + 100)]))
    sizes = [runs.part(number, lambda part: part).height for number in range(runs.parts)]
    assert sum(sizes) == 4000
    assert max(sizes) < 400


def test_keys_are_those_of_the_rows_of_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BLOCK_ROWS", 16)
    runs = Runs(tmp_path, "at", ["made"], run_bytes=4096, part_bytes=1024)
    with runs.filling():
        for start in range(0, 2000, 100):
            frame = rows([(number * 31 % 977 % 50, number % 1500) for number in range(start, start + 100)])
            made = (frame[HASH] % 7 == 0).alias("made")
            number = frame[HASH].cast(pl.Float64).alias("x")  # two schemas: numbers in one half, text in the other
            runs.add(frame.with_columns(made, number if start < 1000 else number.cast(pl.String)))
    assert runs.parts > 5
    for part in range(runs.parts):
        whole = runs.part(part, lambda frame: frame.with_columns(pl.col("x").cast(pl.Float64)))
        assert runs.keys(part).equals(whole.select("at", HASH, "made"))


def test_blocks_that_were_read_whole_leave_the_page_cache_and_come_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[tuple[Path, int, int | None]] = []
    drop = pagecache.drop

    def noted(path: Path, start: int = 0, stop: int | None = None) -> None:
        dropped.append((path, start, stop))
        drop(path, start, stop)

    monkeypatch.setattr(spill, "BLOCK_ROWS", 16)
    monkeypatch.setattr(pagecache, "drop", noted)
    found = []
    for kept in (0, spill.KEPT_BYTES):
        folder = tmp_path / str(kept)
        folder.mkdir()
        runs = Runs(folder, "at", run_bytes=4096, part_bytes=3000, kept_bytes=kept)
        with runs.filling():
            for start in range(0, 4000, 100):  # nearly in order: a part has blocks as a whole, and pieces of others
                runs.add(rows([(number + number * 7 % 40, number) for number in range(start, start + 100)]))
        written = len(dropped)
        found.append([runs.part(number, lambda part: part) for number in range(runs.parts)])
        if kept:
            assert not dropped
            continue
        spans = [(start, stop) for path, start, stop in dropped[written:] if stop is not None]
        assert written
        assert len(set(spans)) == len(spans) > runs.parts
        assert max(stop for _, stop in spans) < (folder / "rows-0.arrow").stat().st_size
        dropped.clear()
    assert len(found[0]) > 10
    assert all(one.equals(other) for one, other in zip(*found, strict=True))


def test_long_texts_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "BLOCK_ROWS", 64)
    keys = [(number, number * 7919 % 4001) for number in range(4000)]
    texts = [f"text {number} of row {time}, longer than what lies in the row itself" for time, number in keys]
    runs = Runs(tmp_path, "at")
    with runs.filling():
        runs.add(rows(keys).with_columns(pl.Series("text", texts)))
    assert (tmp_path / "rows-0.arrow").stat().st_size < 3 * sum(map(len, texts))
    assert runs.part(0, lambda part: part)["text"].to_list() == texts


def test_rows_are_added_only_while_the_runs_are_filled(tmp_path: Path) -> None:
    runs = Runs(tmp_path, "at", run_bytes=16)
    with pytest.raises(RuntimeError, match="only within"):
        runs.add(rows([(1, 1)]))


def test_a_run_that_cannot_be_written_ends_the_filling(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "not-there", "at", run_bytes=16)

    def fill() -> None:
        with runs.filling():
            for number in range(3):
                runs.add(rows([(number, number)]))

    with pytest.raises(FileNotFoundError):
        fill()


def test_prepare_writes_the_same_bytes_whatever_fits_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    data = frame(3000)
    for number in range(5):
        data[number::5].write_parquet(world.source / f"{number}.parquet")
    whole = world.prepare("whole")
    monkeypatch.setattr(spill, "BLOCK_ROWS", 64)
    monkeypatch.setattr(prepare_gather, "Runs", partial(Runs, run_bytes=20_000, part_bytes=10_000))
    assert replace(world.prepare("pieces"), positive_rate=0.0) == replace(whole, positive_rate=0.0)


def test_a_file_of_many_frames_has_the_bytes_of_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "ROW_GROUP", 100)
    data, one, many = frame(950), tmp_path / "one", tmp_path / "many"
    data.write_parquet(one, compression="zstd", compression_level=parquet_file.LEVEL, row_group_size=100)
    digest = write_parquet((data[start : start + 70] for start in range(0, 950, 70)), many)
    assert many.read_bytes() == one.read_bytes()
    assert digest == hashlib.sha256(one.read_bytes()).hexdigest()


def test_hashes_come_back_in_order_and_as_numpy_saves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MOST_WAITING", 500)
    numbers = np.random.default_rng(1).integers(0, 2**64, 3000, dtype=np.uint64)
    hashes = Hashes(tmp_path / "hashes")
    for piece in np.split(numbers, 10):
        hashes.add(piece)
    np.save(tmp_path / "expected.npy", np.sort(numbers))
    assert hashes.write(tmp_path / "found.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    assert hashes.digest(b"words") == hashlib.sha256(b"words" + np.sort(numbers).astype("<u8").tobytes()).hexdigest()


def test_a_file_of_many_columns_is_read_fewer_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "BATCH_CELLS", 100_000)
    pl.DataFrame({f"x{number}": np.arange(10_000) for number in range(20)}).write_parquet(tmp_path / "wide.parquet")
    found = list(tabular.read(tmp_path / "wide.parquet", "wide.parquet", tmp_path))
    assert [batch.height for batch in found] == [5000, 5000]
    monkeypatch.setattr(tabular, "BATCH_BYTES", 100_000)
    assert tabular.rows_at_once(1, rows=1000, size=20_000) == 5000
    assert tabular.rows_at_once(1, rows=0, size=0) == 100_000
    assert tabular.rows_at_once(1000, rows=1, size=10**9) == tabular.FEWEST_ROWS
    monkeypatch.undo()
    one = tabular.read(tmp_path / "wide.parquet", "wide.parquet", tmp_path, tabular.Wanted(only=["x1"]))
    assert [batch.height for batch in one] == [10_000]
