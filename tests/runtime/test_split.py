"""A row keeps its side for ever, whatever data comes later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial_runtime.split import Split, from_document, from_text, to_document, to_text

TIMES = st.integers(0, 60)
BATCHES = st.lists(st.lists(TIMES, max_size=25), min_size=1, max_size=6)
FRACTIONS = st.sampled_from([0.05, 0.2, 0.5, 0.9])


def array(times: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(times, dtype=np.int64)


@given(BATCHES, FRACTIONS)
def test_a_row_keeps_its_side_for_ever_as_data_grows_late_rows_included(batches: list[list[int]], fraction: float) -> None:
    split, seen, sides = Split(), [], {}
    for batch in batches:
        seen += batch
        split = split.extended(array(seen), fraction)
        for time, side in zip(seen, split.holds_out(array(seen)), strict=True):
            assert sides.setdefault(time, bool(side)) == bool(side)


@given(BATCHES, FRACTIONS)
def test_a_row_keeps_its_side_when_old_rows_are_taken_out_of_the_data(batches: list[list[int]], fraction: float) -> None:
    split, sides = Split(), {}
    for batch in batches:
        split = split.extended(array(batch), fraction)
        for time, side in zip(batch, split.holds_out(array(batch)), strict=True):
            assert sides.setdefault(time, bool(side)) == bool(side)


@given(BATCHES, FRACTIONS)
def test_a_split_reads_back_as_it_was_written(batches: list[list[int]], fraction: float) -> None:
    split = Split()
    for batch in batches:
        split = split.extended(array(batch) * 1_234_567, fraction)
    assert from_document(to_document(split)) == split


def test_the_newest_fraction_is_held_out() -> None:
    split = Split().extended(np.arange(1000, dtype=np.int64), 0.2)
    assert split == Split(((800, 999),), 999)


def test_rows_of_one_time_are_never_separated_and_the_share_is_the_nearest_there_is() -> None:
    times = array([1] * 50 + [2] * 35 + [3] * 15)
    assert Split().extended(times, 0.2).windows == ((3, 3),)
    assert Split().extended(times, 0.4).windows == ((2, 3),)


def test_no_window_is_cut_where_all_new_rows_have_one_time() -> None:
    first = Split().extended(np.arange(100, dtype=np.int64), 0.2)
    later = first.extended(array([150] * 40), 0.2)
    assert later == Split(first.windows, 150)
    assert not later.extended(array([150, 160, 170]), 0.5).holds_out(array([150])).any()


def test_nothing_changes_without_newer_rows() -> None:
    first = Split().extended(np.arange(100, dtype=np.int64), 0.2)
    assert first.extended(np.arange(90, dtype=np.int64), 0.2) is first


@pytest.mark.parametrize("text", ["2013-10-19T19:00:00Z", "1969-12-31T23:59:59Z", "2013-10-19T19:00:00.000001Z"])
def test_a_time_is_written_in_rfc_3339(text: str) -> None:
    assert to_text(from_text(text)) == text
