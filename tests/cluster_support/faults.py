"""Kills of the operator at its writes: which there are, which are chosen, and how one told story is compared with another.

A *point* is one side of one write of a story that nobody disturbed, its reference. `cluster_support.faultlane` plays stories;
tests/faults says what has to hold.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster_support.faulty import decided
from cluster_support.watching import Manifest, Seen
from perennial.api.ledger import LedgerEntry

Side = Literal["before", "after"]
EVIDENCE_SECONDS = 1.0
"""So many seconds of an arm's traffic may be missing from the evidence, or be in it though the weights were being changed."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """Where the operator is killed."""

    story: str
    write: str
    side: Side

    @property
    def is_first(self) -> bool:
        """Whether the write says something for the first time: such a write is made in every telling."""
        return self.write.endswith("#1")

    def __str__(self) -> str:
        return f"{self.story}: {self.side} {self.write}"


@dataclass(frozen=True, slots=True)
class Counted:
    """Requests of one arm: what the operator's evidence says, and what clients got while it was gathered."""

    arm: str
    evidence: int
    answers: int
    second: float
    """Answers of the arm in one second, at its largest share."""

    @property
    def fits(self) -> bool:
        return abs(self.evidence - self.answers) <= EVIDENCE_SECONDS * self.second


@dataclass(slots=True)
class Told:
    """One telling of a story."""

    point: Point | None
    killed: bool = False
    problem: str = ""
    """Why it did not come to its end."""
    seconds: float = 0.0
    writes: list[str] = field(default_factory=list)
    """Those that were made, by name."""
    left: set[str] = field(default_factory=set)
    made: dict[str, int] = field(default_factory=dict)
    ledger: list[str] = field(default_factory=list)
    """Its entries, without what ticks."""
    ledger_problem: str = ""
    """What the verifier says of it."""
    decisions: list[str] = field(default_factory=list)
    """The ModelDeployment's status without what ticks, each time that it became another."""
    weights: list[str] = field(default_factory=list)
    """The route's weights, each time that they became others."""
    events: Counter[str] = field(default_factory=Counter)
    """By reason."""
    counted: list[Counted] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    """Requests that failed, by version, without those that the version was made to fail."""


def points(references: Mapping[str, Told]) -> list[Point]:
    """Both sides of every write of every reference."""
    sides: tuple[Side, ...] = ("before", "after")
    return [Point(story, write, side) for story, told in references.items() for write in told.writes for side in sides]


def chosen(every: Sequence[Point], seed: int, count: int) -> list[Point]:
    """So many points, of every story alike, of writes that are surely made; the same ones for the same seed."""
    chance = random.Random(seed)
    stories = sorted({point.story for point in every})
    piles = {story: sorted(point for point in every if point.story == story and point.is_first) for story in stories}
    for pile in piles.values():
        chance.shuffle(pile)
    found: list[Point] = []
    while len(found) < count and any(piles.values()):
        found.extend(pile.pop() for pile in piles.values() if pile)
    return found[:count]


def part(every: Sequence[Point], words: str) -> list[Point]:
    """`2/4`: the second of four shares, which together are all of them; all of them when nothing is said.

    Raises ValueError when it is no such share.
    """
    if not words:
        return list(every)
    which, _, of = words.partition("/")
    if not (which.isdigit() and of.isdigit() and 1 <= int(which) <= int(of)):
        raise ValueError(f"FAULTS_PART={words!r} is no share: write 2/4 for the second of four")
    return sorted(every)[int(which) - 1 :: int(of)]


def decisions(events: Sequence[Seen]) -> list[str]:
    """What the ModelDeployment's status decided, in order. `settled` and `pending` are about measuring and about tidying up."""
    written = [seen.manifest.get("status") or {} for seen in events if seen.kind == "ModelDeployment" and seen.type != "DELETED"]
    parts = [decided(status).split(" ") for status in written]
    said = [" ".join(part for part in found if not part.startswith(("settled", "pending"))) for found in parts]
    return changes(said)


def weights(events: Sequence[Seen]) -> list[str]:
    """The route's weights in order, without those that are nothing."""
    routes = [seen.manifest for seen in events if seen.kind == "HTTPRoute" and seen.type != "DELETED"]
    return changes([" ".join(f"{name}:{share}" for name, share in sorted(shares(route).items())) for route in routes])


def shares(route: Manifest) -> dict[str, int]:
    """Shares of the traffic by backend, without those that get none."""
    backends = [backend for rule in route["spec"]["rules"] for backend in rule["backendRefs"]]
    return {str(one["name"]): int(one["weight"]) for one in backends if one["weight"]}


def entered(entries: Sequence[LedgerEntry]) -> list[str]:
    """A ledger's entries without times and counts. How often pods were not there or not read is the outage's doing: that, and the
    share that is given again afterwards, is left out."""
    found: list[str] = []
    for entry in entries:
        line = f"v{entry.version} {entry.what} {entry.message.partition(':')[0]}"
        again = entry.what in ("CanaryStep", "ShadowStarted") and line in found
        if entry.what not in ("Waits", "CanaryWithheld", "ShadowWithheld") and not again:
            found.append(line)
    return found


def changes(values: Sequence[str]) -> list[str]:
    """Without what only repeats the one before."""
    return [value for index, value in enumerate(values) if not index or value != values[index - 1]]


def counting(writes: Sequence[Mapping[str, Any]], readings: Sequence[float]) -> list[tuple[float, float]]:
    """Times (monotonic, from and to) whose answers are to be in the evidence: from the reading that came before a status which
    says that answers count, to the last one before a status which does not. In a shadow those of clients do not count.

    The operator's own times are taken. When a watcher of the API server hears of a write depends on how busy its machine is.
    """
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for write in writes:
        verb, kind, *said = str(write["said"]).split(" ")
        if (verb, kind) != ("status", "ModelDeployment"):
            continue
        counts = "settled=True" in said and "phase=Shadow" not in said
        at = max((reading for reading in readings if reading <= write["at"]), default=write["at"])
        if counts and since is None:
            since = at
        elif since is not None and not counts:
            spans.append((since, at))
            since = None
    return spans
