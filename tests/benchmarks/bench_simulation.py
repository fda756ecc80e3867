"""The rollout test and other people's rules on the same simulated traffic; needs no cluster. It writes into docs/statistics.md.

False rollbacks are held against falseRollbackRate wherever the guarantee is claimed exact, and only shown where it is not. A
simulated share is known with an interval alone: the target is missed when all of the 99 % interval lies above it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from benchmarks.report import Report
from benchmarks.simulate_outcomes import Outcome, binomial_interval, outcome
from benchmarks.simulate_plots import pictures
from benchmarks.simulate_rules import RULES
from benchmarks.simulate_run import ALPHAS, COLUMNS, SEED, Times, simulate_all
from benchmarks.simulate_scenarios import EXACT, ODDS_RATIOS, SCENARIOS, Scenario
from demo.ground import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "statistics.md"
IMAGES = REPOSITORY / "docs" / "img"
FROM_START, LATER = "1 -> 10 % from the start", "1 -> 10 % after 300 s"
MOST_FROM_START, MOST_LATER = 6.0, 12.0
"""Seconds at the median."""
WORDS = f"Drawn with seed {SEED}: `make bench ONLY=simulation` gives the same figures again."
"""Closes the section: nothing in it depends on the machine."""


def run(images: Path | None = IMAGES, share: float = 1.0, workers: int | None = None) -> Report:
    """The section. `share` of the runs of each scenario are drawn; the pictures are written into `images`, if any."""
    results = simulate_all(share, SEED, workers, click.echo)
    report = report_of(results)
    for words, file in ({} if images is None else pictures(results, images)).items():
        report.tables.append(f"**{words}**\n\n![{words}]({os.path.relpath(file, DOCUMENT.parent)})")
    return report


def report_of(results: Mapping[str, Times]) -> Report:
    """What was found, against the targets, and all of it in tables."""
    report = Report("simulation", "Simulated rollouts", _about())
    _targets(report, results)
    report.tables += [
        _titled("A healthy candidate: rolled back within ten minutes, per cent", _healthy(results)),
        _titled("A harmful candidate: seconds from its turn to the rollback, median / 90th percentile", _harmful(results)),
        _titled(
            "A candidate slower by an odds ratio (stable: 5 % of the answers slow): rolled back within ten minutes, per cent",
            _odds(results),
        ),
    ]
    return report


def _about() -> str:
    settings = "\n".join(f"- {rule.name}: {rule.setting}" for rule in RULES)
    return (
        "100 requests a second, 10 % of them to the candidate, ten minutes of rollout (which is also what the stakes are spread "
        "over), 1,000 to 2,000 rollouts a line, unless it says otherwise. All rules see the very same answers. Perennial's test "
        "is the shipped code, with one metric that has all of falseRollbackRate (5 % and 1 %), and looks every second; every "
        "five or ten where a line has no delays, which costs less to simulate and changes no guarantee. The other rules are told "
        "the candidate's success rate without any delay of scraping; Flagger rolls back in the check after the one that reached "
        "its threshold. Their sources stand in tests/benchmarks/simulate_rules.py. Intervals are exact, 99 %. Settings:\n\n"
        f"{settings}"
    )


def _targets(report: Report, results: Mapping[str, Times]) -> None:
    """The required delays first, then every promise of an exact guarantee."""
    for name, most in ((FROM_START, MOST_FROM_START), (LATER, MOST_LATER)):
        found = outcome(results[name]["Perennial 1 %"], _scenario(name).bad_from)
        report.add(f"{name}, alpha 1 %: turn to verdict, median", found.wait(0.5), "s", most)
    for scenario in SCENARIOS:
        if scenario.bad_from is not None or scenario.guarantee != EXACT:
            continue
        for column, alpha in ALPHAS.items():
            found = outcome(results[scenario.name][column], None)
            low, high = _interval(found)
            shown = f"{found.share:.2f} % ({low:.2f} to {high:.2f})"
            report.add(f"false rollbacks, {scenario.name}, alpha {100 * alpha:g} %", low, "%", 100 * alpha, shown=shown)


def _healthy(results: Mapping[str, Times]) -> str:
    rows = []
    for scenario in _family("healthy"):
        found = {column: outcome(results[scenario.name][column], None) for column in COLUMNS}
        cells = [_with_interval(found[column]) if column in ALPHAS else f"{found[column].share:.1f}" for column in COLUMNS]
        rows.append((scenario.name, scenario.guarantee, *cells))
    return _table(("both versions alike", "our guarantee", *COLUMNS), rows)


def _harmful(results: Mapping[str, Times]) -> str:
    rows = [
        (scenario.name, *(_delay(outcome(results[scenario.name][column], scenario.bad_from)) for column in COLUMNS))
        for scenario in (*_family("harmful"), *_family("severity"))
    ]
    return _table(("candidate", *COLUMNS), rows)


def _odds(results: Mapping[str, Times]) -> str:
    others = ("z-test 1 %", "Argo 95 % tight", "Flagger usual")
    tests = [(column, tolerance) for tolerance in (1.0, 1.25) for column in ALPHAS]
    rows = []
    for ratio in ODDS_RATIOS:
        ours = [
            _with_interval(outcome(results[f"odds ratio {ratio:g}, tolerance {tolerance:g}"][column], None))
            for column, tolerance in tests
        ]
        theirs = [f"{outcome(results[f'odds ratio {ratio:g}, tolerance 1'][column], None).share:.1f}" for column in others]
        rows.append((f"{ratio:g}", *ours, *theirs))
    return _table(("odds ratio", *(f"{column}, tolerance {tolerance:g}" for column, tolerance in tests), *others), rows)


def _delay(found: Outcome) -> str:
    """One cell: what a rule did to a candidate that turned bad."""
    if found.early == found.runs:
        return "all rolled back before"
    median, late = found.wait(0.5), found.wait(0.9)
    cell = f"{median:.0f} / {late:.0f}" if math.isfinite(late) else f"{median:.0f} / -" if math.isfinite(median) else "-"
    if found.share < 100.0:
        cell += f"; {found.share:.1f} % found"
    return f"{cell}; {found.early_share:.1f} % before" if found.early else cell


def _with_interval(found: Outcome) -> str:
    low, high = _interval(found)
    return f"{found.share:.1f} ({low:.1f} to {high:.1f})"


def _interval(found: Outcome) -> tuple[float, float]:
    low, high = binomial_interval(found.found, found.runs)
    return 100.0 * low, 100.0 * high


def _family(name: str) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if scenario.family == name]


def _scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def _titled(title: str, table: str) -> str:
    return f"**{title}**\n\n{table}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
