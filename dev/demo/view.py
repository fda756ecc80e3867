"""Objects of the cluster and the client's tallies as words and tables. Pure: no clock, no kubectl.

`story` reads the objects, this module says what they mean; the tests of its words need no cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from rich.table import Table

from demo.traffic import Tally

Manifest = Mapping[str, Any]
ENDED_BADLY = ("Failed", "Rejected", "RolledBack")


@dataclass(frozen=True, slots=True)
class Row:
    """One version, as the table shows it."""

    version: str
    state: str
    trained_on: str
    score: str
    against: str
    weight: str
    requests: str
    failures: str


HEADINGS = ("version", "state", "trained on", "score", "against the serving version", "traffic", "requests", "failures")


def rows(deployment: Manifest | None, versions: Sequence[Manifest], tally: Tally) -> list[Row]:
    """The table's rows, oldest version first."""
    weights = {entry["version"]: entry["weight"] for entry in (deployment or {}).get("status", {}).get("weights", [])}
    return [_row(version, weights, tally) for version in sorted(versions, key=number)]


def _row(version: Manifest, weights: Mapping[int, int], tally: Tally) -> Row:
    name = version["metadata"]["name"]
    status = version.get("status", {})
    seen = tally.versions.get(name)
    weight = weights.get(number(version))
    return Row(
        version=f"v{number(version)}",
        state=status.get("state", "Pending"),
        trained_on=trained_on(status),
        score=score(status),
        against=against(status),
        weight="-" if not weight else f"{weight} %",
        requests=f"{seen.requests:,}" if seen else "-",
        failures=f"{seen.failures:,}" if seen else "-",
    )


def number(version: Manifest) -> int:
    """N of <name>-v<N>."""
    return int(version["spec"]["number"])


def trained_on(status: Manifest) -> str:
    """Rows that were seen in training, and how many it never saw."""
    rows_, held = status.get("rows"), status.get("holdoutRows")
    if rows_ is None:
        return "-"
    return f"{rows_:,} rows" + (f", {held:,} kept aside" if held is not None else "")


def score(status: Manifest) -> str:
    """The first absolute gate with its 95 % bounds, or the version's own line."""
    gate = next((gate for gate in status.get("gates", []) if gate["kind"] == "minimum"), None)
    if gate is None:
        return str(status.get("score") or "-")
    lower, upper = _outwards(gate, 3)
    return f"{gate['metric']} {gate['estimate']:.3f} ({lower:.3f} to {upper:.3f})"


def against(status: Manifest) -> str:
    """By how much it is better than the champion on the same holdout; less than 0: worse."""
    gate = next((gate for gate in status.get("gates", []) if gate["kind"] == "notWorseThanServingBy"), None)
    if gate is None or (gate["estimate"] == gate["lower"] == gate["upper"] == 0):
        return "-"
    lower, upper = _outwards(gate, 4)
    return f"{gate['estimate']:+.4f} ({lower:+.4f} to {upper:+.4f})"


def _outwards(gate: Mapping[str, Any], digits: int) -> tuple[Decimal, Decimal]:
    """Its bounds to so many digits as the status tells them: never narrower than they are."""
    place = Decimal(1).scaleb(-digits)
    lower, upper = (Decimal(repr(float(gate[name]))) for name in ("lower", "upper"))
    return lower.quantize(place, ROUND_FLOOR), upper.quantize(place, ROUND_CEILING)


def table(found: Sequence[Row], title: str) -> Table:
    """For a terminal."""
    drawn = Table(title=title, title_justify="left", expand=False)
    for heading in HEADINGS:
        drawn.add_column(heading, justify="right" if heading in ("traffic", "requests", "failures") else "left")
    for row in found:
        style = "red" if row.state in ENDED_BADLY else "green" if row.state == "Serving" else ""
        drawn.add_row(*cells(row), style=style)
    return drawn


def cells(row: Row) -> tuple[str, ...]:
    """Its cells in the order of HEADINGS."""
    return (row.version, row.state, row.trained_on, row.score, row.against, row.weight, row.requests, row.failures)


def line(row: Row) -> str:
    """For a log: one version on one line, without what is not known yet."""
    named = zip(HEADINGS[2:], cells(row)[2:], strict=True)
    return f"{row.version} {row.state}" + "".join(f" | {heading} {cell}" for heading, cell in named if cell != "-")


def gate_lines(version: Manifest) -> list[str]:
    """Each gate's verdict in the operator's words."""
    return [f"gate {gate['verdict']}: {gate['message']}" for gate in version.get("status", {}).get("gates", [])]


def evidence_lines(version: Manifest) -> list[str]:
    """What the rollout's test counted, in the operator's words where there are some."""
    return [_evidence(entry) for entry in version.get("status", {}).get("evidence", [])]


def _evidence(entry: Mapping[str, Any]) -> str:
    if entry.get("message"):
        return f"{entry['name']}: {entry['message']}"
    counts = (
        f"new version {entry.get('candidateBad', 0):,} bad of {entry.get('candidateTotal', 0):,}, "
        f"serving version {entry.get('stableBad', 0):,} bad of {entry.get('stableTotal', 0):,}"
    )
    ratio = f", odds ratio {entry['oddsRatio']}" if entry.get("oddsRatio") else ""
    bound = f", E {entry.get('e', 0):.3g} (rolled back at {entry.get('threshold', 0):.4g})"
    return f"{entry['name']}: {counts}{ratio}{bound}"


def condition(subject: Manifest | None, kind: str) -> Mapping[str, Any]:
    """A condition of an object, empty when it has none of that type."""
    found = (subject or {}).get("status", {}).get("conditions", [])
    return next((dict(entry) for entry in found if entry["type"] == kind), {})


def headline(deployment: Manifest | None) -> str:
    """One line for what is happening: the operator's own summary and the reason of Ready."""
    if deployment is None:
        return "not applied yet"
    ready = condition(deployment, "Ready")
    summary = deployment.get("status", {}).get("summary") or "waiting for the operator"
    message = str(ready.get("message", ""))
    return f"{summary}" + (f": {message[:160]}" if message else "")


def exposure(tally: Tally, name: str) -> str:
    """How long and how often a version harmed the client, in words."""
    seen = tally.versions.get(name)
    if seen is None or not seen.failures or seen.first_failure is None or seen.last_failure is None:
        return f"no client saw a bad answer of {name}"
    lasted = seen.last_failure - seen.first_failure
    return (
        f"{lasted:.1f} s passed from the first bad answer of {name} to the last one a client saw ({seen.failures:,} bad answers)"
    )
