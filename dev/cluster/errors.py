"""What can go wrong, as one small tree, so that the command line prints a sentence and never a traceback.

ClusterError
├── MissingCapability   the machine lacks something; the message names the fix
└── CommandFailed       a program ended badly; the message carries the last lines of its log and the log's path
"""

from pathlib import Path

TAIL_LINES = 15


class ClusterError(Exception):
    """Something about the cluster is not as it must be; str() says what was found and what to do."""


class MissingCapability(ClusterError):
    """The machine cannot carry the cluster until its owner changes something."""

    def __init__(self, lacking: str, fix: str) -> None:
        super().__init__(f"{lacking}\n  fix: {fix}")


class CommandFailed(ClusterError):
    """A program that the cluster depends on ended badly, or never became ready."""

    def __init__(self, what: str, log: Path | None = None, output: str = "") -> None:
        tail = last_lines(log) if log else output.strip().splitlines()[-TAIL_LINES:]
        shown = "".join(f"\n  | {line}" for line in tail)
        where = f"\n  log: {log}" if log else ""
        super().__init__(f"{what}{shown}{where}")


def last_lines(log: Path, count: int = TAIL_LINES) -> list[str]:
    """The end of a log file, or nothing where there is none."""
    try:
        return log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
