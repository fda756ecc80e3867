"""Structured logs on stderr: one JSON object, or one line of text, with the object that it is about.

Callers pass facts as `extra={"kind": ..., "object": "namespace/name", ...}`. Set up once by `perennial.bootstrap`.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_QUIET = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3")
"""Libraries that speak of every object or request; their warnings are kept, but that Kopf leaves the signals to us."""


def set_up(level: str, style: Literal["json", "text"]) -> None:
    """Sends all logs to stderr in this style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its facts."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_facts(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """For people."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its facts."""
        facts = " ".join(f"{name}={value}" for name, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}" + (f"  [{facts}]" if facts else "")
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: logging.LogRecord) -> dict[str, object]:
    kopf_object = record.__dict__.get("k8s_ref")
    facts = {name: value for name, value in record.__dict__.items() if name not in _STANDARD and not name.startswith("k8s_")}
    if isinstance(kopf_object, dict):
        facts.setdefault("object", f"{kopf_object.get('namespace')}/{kopf_object.get('name')}")
    return facts
