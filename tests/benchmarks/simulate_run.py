"""Runs scenarios: draws the traffic once and puts it to every rule, ours and others', in parts that two processes share.

The columns of the tables are made here. Another test of ours on the same traffic is one more entry of `_ours`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from benchmarks.simulate_analysis import breaches, remembered
from benchmarks.simulate_rules import RULES
from benchmarks.simulate_scenarios import SCENARIOS, Scenario
from benchmarks.simulate_traffic import Shares, Traffic

SEED = 7
PART = 100
"""Runs that are drawn at once. What is drawn depends on the seed, the traffic and the number of the part alone."""
ALPHAS = {"Perennial 5 %": 0.05, "Perennial 1 %": 0.01}
"""Columns of our test, by falseRollbackRate; the larger first."""
COLUMNS = (*ALPHAS, *(rule.name for rule in RULES))

Times = dict[str, Shares]
"""By column: the seconds at which the runs were rolled back, inf where they were not."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some runs of a scenario, as a process is asked for them: functions do not travel, names do."""

    scenario: str
    number: int
    runs: int
    seed: int


def simulate(scenario: Scenario, runs: int, seed: int = SEED, number: int = 0) -> Times:
    """One part of a scenario."""
    chance = np.random.default_rng([seed, crc32(scenario.seed_word.encode()), number])
    traffic = scenario.draw(chance, runs, scenario.seconds)
    with remembered():
        ours = _ours(scenario, traffic)
    return {**ours, **{rule.name: rule.decide(traffic, scenario.look_seconds) for rule in RULES}}


def simulate_all(
    share: float = 1.0, seed: int = SEED, workers: int | None = None, say: Callable[[str], None] = lambda _words: None
) -> dict[str, Times]:
    """Every scenario with this share of its runs, by name. `say` is told how far it is."""
    began = time.monotonic()
    parts = [part for scenario in SCENARIOS for part in _parts(scenario, share, seed)]
    done: dict[str, list[Times]] = {scenario.name: [] for scenario in SCENARIOS}
    for finished, (part, times) in enumerate(zip(parts, _carried_out(parts, workers), strict=True), 1):
        done[part.scenario].append(times)
        if finished == len(parts) or parts[finished].scenario != part.scenario:
            say(f"  [{time.monotonic() - began:4.0f}s] {finished} of {len(parts)} parts: {part.scenario}")
    return {
        name: {column: np.concatenate([times[column] for times in several]) for column in COLUMNS}
        for name, several in done.items()
    }


def _ours(scenario: Scenario, traffic: Traffic) -> Times:
    found = breaches(
        traffic,
        look_seconds=scenario.look_seconds,
        tolerance=scenario.tolerance,
        planned_seconds=scenario.planned_seconds,
        alphas=tuple(ALPHAS.values()),
    )
    return {name: found[:, column] for column, name in enumerate(ALPHAS)}


def _parts(scenario: Scenario, share: float, seed: int) -> list[Part]:
    runs = max(1, round(scenario.runs * share))
    return [Part(scenario.name, number, min(PART, runs - PART * number), seed) for number in range(-(-runs // PART))]


def _carried_out(parts: Sequence[Part], workers: int | None) -> Iterator[Times]:
    count = workers or min(2, os.cpu_count() or 1)
    if count == 1:
        yield from map(_carry_out, parts)
        return
    with ProcessPoolExecutor(count) as pool:
        yield from pool.map(_carry_out, parts)


def _carry_out(part: Part) -> Times:
    return simulate(_BY_NAME[part.scenario], part.runs, part.seed, part.number)


_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
