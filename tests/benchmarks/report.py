"""What a benchmark found: figures beside their targets, and distributions; shown on the terminal and kept in docs/benchmarks.md.

A benchmark owns one section of the document; running one of them leaves the others' sections as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BAR = 40


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `most` is the target (None: shown only); lower is better everywhere."""

    what: str
    value: float
    unit: str
    most: float | None = None
    shown: str = ""
    """Stands in the document for `value`: an estimate with its interval, where an end of it is held against the target."""

    @property
    def kept(self) -> bool:
        return self.most is None or self.value <= self.most

    def cells(self) -> tuple[str, str, str, str]:
        target = "-" if self.most is None else f"at most {self.most:g} {self.unit}"
        verdict = "" if self.most is None else ("kept" if self.kept else "MISSED")
        return self.what, self.shown or f"{self.value:.4g} {self.unit}".strip(), target, verdict


@dataclass(slots=True)
class Report:
    """One section."""

    name: str
    title: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    """Distributions as text."""
    tables: list[str] = field(default_factory=list)
    """Markdown that stands behind the figures as it is: wider tables, and pictures with their words."""

    @property
    def missed(self) -> list[Figure]:
        return [figure for figure in self.figures if not figure.kept]

    def add(self, what: str, value: float, unit: str, most: float | None = None, *, shown: str = "") -> None:
        """One more figure."""
        self.figures.append(Figure(what, value, unit, most, shown))

    def text(self) -> str:
        """For the terminal."""
        rows = [figure.cells() for figure in self.figures]
        widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else [0] * 4
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.title, *(f"  {line}" for line in lines), *self.tables, *self.pictures])

    def markdown(self) -> str:
        """For the document."""
        lines = [f"## {self.title}", "", self.about, "", "| what | measured | target | |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(figure.cells())} |" for figure in self.figures]
        for table in self.tables:
            lines += ["", table]
        for picture in self.pictures:
            lines += ["", "```text", picture, "```"]
        return "\n".join(lines)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def median(values: Sequence[float]) -> float:
    """The middle one; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def histogram(title: str, values: Sequence[float], step: float, unit: str) -> str:
    """Counts by intervals of `step`, one line each, and the single values when they are few."""
    last = int(max(values) / step)
    counts = [sum(1 for value in values if int(value / step) == index) for index in range(last + 1)]
    most = max(counts)
    lines = [
        f"{index * step:8g} .. {(index + 1) * step:<8g} {unit}  {count:5d}  {'#' * round(BAR * count / most)}".rstrip()
        for index, count in enumerate(counts)
    ]
    each = [f"all: {' '.join(f'{value:.1f}' for value in sorted(values))}"] if len(values) <= 20 else []
    return "\n".join([title, *lines, *each])


HEAD = """# Benchmarks

`make bench` measures this on the embedded cluster, with everything (the control plane, both nodes, the store, the gateway, the
load generator and the operator) on one machine, and writes this file. One alone: `make bench ONLY=detection`. A target that is
missed makes it end with 1. The rollout test itself is simulated without a cluster; its figures stand in
[statistics](statistics.md). `data` needs no cluster either: 10 GB of generated data in 2 GiB of memory, as root and with 50 GB of
free disk.
"""


def written(document: Path, reports: Sequence[Report], machine: str) -> None:
    """Puts the sections into the document; those of other benchmarks stay."""
    old = document.read_text() if document.exists() else ""
    sections = dict(re.findall(r"<!-- begin (\w+) -->\n(.*?)\n<!-- end \1 -->", old, flags=re.DOTALL))
    for report in reports:
        sections[report.name] = f"{report.markdown()}\n\n{machine}"
    parts = [f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->" for name, text in sorted(sections.items())]
    document.write_text("\n".join([HEAD, "\n\n".join(parts), ""]))


def replaced(document: Path, report: Report, words: str) -> None:
    """Puts one section into a document that people write: between its markers, which must be there; the rest stays.

    Raises ValueError when the document has no such markers.
    """
    begin, end = f"<!-- begin {report.name} -->\n", f"\n<!-- end {report.name} -->"
    before, found, rest = document.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document} needs the lines '{begin.strip()}' and '{end.strip()}' around the section to replace")
    document.write_text(f"{before}{begin}{report.markdown()}\n\n{words}{end}{after}")
