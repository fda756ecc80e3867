"""Benchmarks keep their word: a missed target is called missed, and each owns its own section of the document."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report import Figure, Report, histogram, median, quantile, written


def test_a_figure_over_its_target_is_missed() -> None:
    assert Figure("p50", 40.0, "ms", 40.0).kept
    assert not Figure("p50", 40.1, "ms", 40.0).kept
    assert Figure("shown only", 1e9, "s").kept


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0), quantile([3.0], 0.01)) == (50, 99, 100, 3)
    assert (median([3.0, 1.0, 2.0]), median([4.0, 1.0])) == (2.0, 2.5)


def test_a_histogram_counts_every_value() -> None:
    lines = histogram("title", [0.5, 1.0, 1.9, 4.2], 1.0, "s").splitlines()
    assert [int(line.split("s", 1)[1].split()[0]) for line in lines[1:6]] == [1, 2, 0, 0, 1]
    assert lines[-1] == "all: 0.5 1.0 1.9 4.2"


def test_running_one_benchmark_leaves_the_section_of_another(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    first, second = Report("one", "One", "about one"), Report("two", "Two", "about two")
    first.add("seconds", 5.0, "s", 4.0)
    written(document, [first, second], "a machine")
    second.add("seconds", 3.0, "s", 4.0)
    written(document, [second], "another machine")
    text = document.read_text()
    assert "| seconds | 5 s | at most 4 s | MISSED |" in text
    assert "| seconds | 3 s | at most 4 s | kept |" in text
    assert (text.count("<!-- begin"), text.count("a machine"), text.count("another machine")) == (2, 1, 1)
