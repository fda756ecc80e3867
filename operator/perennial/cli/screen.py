"""Tables and times as people read them: rich on a terminal, wide and plain elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import yaml
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from perennial.core.inputs import moment

if TYPE_CHECKING:
    from perennial.cli.explanation import Section

PLAIN_WIDTH = 240
"""Columns of a line where nobody looks: programs cut by words, not at a terminal's edge."""


def console() -> Console:
    """Standard output; colour only on a terminal that wants it (NO_COLOR)."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a head, as kubectl does."""
    console().print(_table(head, rows, "bold"))


def sections(found: Sequence[Section]) -> None:
    """Prints sections one below the other. Where nobody looks, a line stays one line."""
    out = console()
    out.print(rendered(found, wraps=out.is_terminal), soft_wrap=not out.is_terminal)


def rendered(found: Sequence[Section], *, wraps: bool = True) -> RenderableType:
    """Sections as rich draws them: what is under a head is indented, and long lines stay so where they are wrapped."""
    parts: list[RenderableType] = []
    for section in found:
        parts += [*([Text()] if parts else []), Text(section.head, style="bold")]
        parts += [Padding(Text(line), (0, 0, 0, 2), expand=False) if wraps else Text(f"  {line}") for line in section.lines]
        if section.rows:
            parts.append(Padding(_table(section.columns, section.rows, "dim"), (0, 0, 0, 2), expand=False))
    return Group(*parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], style: str) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=style)
    for name in head:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


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


def figures(value: float) -> str:
    """A number to three figures, without an exponent where it is short."""
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
