"""Tables and times as people read them: rich on a terminal, wide and plain elsewhere."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from perennial.core.inputs import moment

if TYPE_CHECKING:
    from perennial.cli.explanation import Section

PLAIN_WIDTH = 240
"""Columns of a line where nobody looks: programs cut by words, not at a terminal's edge."""
INDENT = "  "
UNBOUNDED = 100_000
"""Columns of a screen on which everything has room."""
GAP = 3
"""Blanks between two columns."""
NARROW = 20
"""Characters that a cell has without being folded."""


def console() -> Console:
    """Standard output; colour only on a terminal that wants it (NO_COLOR)."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a head, as kubectl does. Where nobody looks, a row stays one line."""
    _print(Columns(head, rows))


def sections(found: Sequence[Section]) -> None:
    """Prints sections one below the other. Where nobody looks, a line stays one line."""
    _print(rendered(found))


def _print(what: RenderableType) -> None:
    """What is wider than a terminal is not cut: the terminal goes on in its next line, and what is copied from it is whole."""
    out = console()
    out.print(what, crop=False, no_wrap=not out.is_terminal)


def rendered(found: Sequence[Section]) -> RenderableType:
    """Sections as rich draws them: what is under a head is indented, and long lines stay so where they are folded."""
    parts: list[RenderableType] = []
    for section in found:
        parts += [*([Text()] if parts else []), Text(section.head, style="bold")]
        parts += [Folded(line, INDENT) for line in section.lines]
        if section.rows:
            parts.append(Columns(section.columns, section.rows, "dim", INDENT))
    return Group(*parts)


@dataclass(frozen=True, slots=True)
class Folded:
    """A line, folded between its words where it is too long; a word that is longer than the screen stays whole."""

    words: str
    indent: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = self.indent + self.words[: len(self.words) - len(self.words.lstrip())]
        width = None if options.no_wrap else options.max_width
        yield from (_uncut(line) for line in folded(self.words.strip(), width, inner))


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows under a head. Cells are folded between their words, so that rows fit the screen; where they cannot, none is folded:
    names, times, addresses and digests stay whole."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    style: str = "bold"
    indent: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table()
        asked = Measurement.get(console, options.update(max_width=UNBOUNDED), table)
        room = options.max_width - cell_len(self.indent)
        fits = asked.minimum <= room and not options.no_wrap
        width = min(asked.maximum, room) if fits else asked.maximum
        for line in console.render_lines(table, options.update(width=width, no_wrap=False), pad=False):
            text = Text.assemble(self.indent, *((part.text, part.style or "") for part in line), no_wrap=True, overflow="ignore")
            text.rstrip()  # a line that is padded would go on in a terminal's next one
            yield text

    def _table(self) -> Table:
        """rich's: a column is no narrower than its longest word."""
        found = Table(box=None, show_edge=False, pad_edge=False, padding=(0, GAP, 0, 0), header_style=self.style)
        for title, *cells in zip(self.head, *self.rows, strict=True):
            found.add_column(Text(title), min_width=min(NARROW, max(map(cell_len, (title, *cells)))))
        for row in self.rows:
            found.add_row(*(Text(" ".join(cell.splitlines())) for cell in row))
        return found


def folded(words: str, width: int | None, indent: str = "") -> list[str]:
    """The lines of a text, folded between its words only; None: it stays one line."""
    words = " ".join(words.splitlines())
    if width is None or cell_len(indent) + cell_len(words) <= width:
        return [f"{indent}{words}"]
    return textwrap.wrap(
        words, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _uncut(line: str, style: str = "") -> Text:
    return Text(line, style=style, no_wrap=True, overflow="ignore")


def document(value: Any, output: str) -> None:
    """Prints a value as JSON or YAML."""
    click.echo(
        json.dumps(value, indent=2) if output == "json" else yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()
    )


def age(stamp: str | None, now: datetime | None = None) -> str:
    """How long ago: 40s, 12m, 5h, 3d; - when there is no such time."""
    if not stamp:
        return "-"
    return span(((now or datetime.now(UTC)) - moment(stamp)).total_seconds())


def span(seconds: float) -> str:
    """A length of time in its two largest units: 40s, 12m05s, 5h20m, 3d4h."""
    whole = max(0, round(seconds))
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def second(stamp: str | None) -> str:
    """A time to the second, as Kubernetes' own; - when there is none."""
    return f"{stamp[:19]}Z" if stamp else "-"


def figures(value: float) -> str:
    """A number to three figures, without an exponent where it is short."""
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
