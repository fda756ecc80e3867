"""Tables and times as people read them: rich on a terminal, wide and plain elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from perennial.core.inputs import moment

PLAIN_WIDTH = 240
"""Columns of a line where nobody looks: programs cut by words, not at a terminal's edge."""


def console() -> Console:
    """Standard output; colour only on a terminal that wants it (NO_COLOR)."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a head, as kubectl does."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for name in head:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*row)
    console().print(made)


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
