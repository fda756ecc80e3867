"""What `perennial_runtime.check` is asked for and what it finds: shared by its modules, standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perennial_runtime.contract import CLASSIFICATION

NUMERIC, CATEGORICAL = "numeric", "categorical"
ROLES: Final = ("feature", "label", "time", "id", "group", "weight", "synthetic")
KINDS: Final = {"number": NUMERIC, "text": CATEGORICAL}


@dataclass(frozen=True, slots=True)
class Described:
    """A column as the command line describes it; `kind` is of features."""

    name: str
    role: str
    kind: str = NUMERIC


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    columns: tuple[Described, ...]
    data: Path | None
    rows: int
    seed: int
    hyperparameters: dict[str, float]
    command: tuple[str, ...]
    user: int
    timeout: float
    max_difference: float
    root: Path
    keep: bool
    task: str = CLASSIFICATION

    def named(self, role: str) -> list[Described]:
        return [column for column in self.columns if column.role == role]

    def one(self, role: str) -> str | None:
        """The name of the column of a role that need not be there."""
        return next((column.name for column in self.named(role)), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: `ok`, `note` (something to know), or `wrong`; and what to do."""

    level: str
    what: str
    found: str
    todo: str = ""


class WrongWish(Exception):
    """The command line, or the place to work in, is wrong: what was found and what to do."""
