"""One picture of a model as it is now: who has the requests, what is compared, how far the evidence is, what is left to wait for.

Pure: `perennial.cli.watch` shows it again and again, and remembers the evidence in a `Track`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from perennial.api.base import Condition, seconds
from perennial.api.evidence import MetricEvidence
from perennial.api.rollout_status import RolloutStatus
from perennial.cli.asking import Model
from perennial.cli.screen import figures, second, span
from perennial.core.inputs import since

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Characters of a whole: all requests, or the newest evidence."""
WELL = ("Ready", "Measured", "MetricsAnswered", "Accepted", "Approved", "Pinned", "LedgerStored", "DataPolled")
"""Conditions that are well when they are True; all others tell of something when they are."""
STEADY = ("Ready", "Progressing", "UpToDate", "Reconciling", "Stalled")
"""Conditions that are well when they are True, or that say nothing more than the head line."""


@dataclass(slots=True)
class Track:
    """The evidence of each metric as it became another, in parts of its threshold on a logarithmic scale from 0 to 1."""

    saved: str = ""
    levels: dict[str, list[float]] = field(default_factory=dict)

    def see(self, model: Model) -> None:
        """Takes what was written since; another rollout begins anew."""
        rollout = model.status.rollout
        if rollout is None:
            self.saved, self.levels = "", {}
            return
        if rollout.saved_at == self.saved:
            return
        self.saved = rollout.saved_at
        for one in evidence(model):
            if one.threshold:
                self.levels.setdefault(one.name, []).append(level(one))


def level(one: MetricEvidence) -> float:
    """log E in parts of log threshold, from 0 (no evidence) to 1 (it is taken back)."""
    if one.e <= 1.0 or one.threshold <= 1.0:
        return 0.0
    return min(1.0, math.log(one.e) / math.log(one.threshold))


def sparkline(levels: list[float], width: int = WIDTH) -> str:
    """The newest levels, one character each."""
    return "".join(BARS[min(len(BARS) - 1, int(one * len(BARS)))] for one in levels[-width:])


@dataclass(frozen=True, slots=True)
class Sparkline:
    """As many of the newest levels as there is room for."""

    levels: list[float]
    style: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self.levels, min(WIDTH, options.max_width)), style=self.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(WIDTH, len(self.levels)))


def evidence(model: Model) -> list[MetricEvidence]:
    """Of the rollout that is under way, as its version has it."""
    rollout = model.status.rollout
    version = model.version(rollout.candidate) if rollout else None
    if rollout is None or version is None:
        return []
    return version.status.shadow_evidence if rollout.phase == "Shadow" else version.status.evidence


def frame(model: Model, track: Track, now: datetime) -> RenderableType:
    """The picture."""
    parts: list[RenderableType] = [_head(model), Text()]
    trained = training(model, now)
    parts += [Text(trained), Text()] if trained else []
    parts += [_shares(model)] if model.status.weights else []
    if model.status.rollout is not None:
        parts += [Text(), Text(stage(model, model.status.rollout, now))]
        found = evidence(model)
        saved = span(since(now, model.status.rollout.saved_at))
        parts += [Text(), _metrics(found, track), Text(f"as written {saved} ago", style="dim")] if found else []
    trouble = _trouble(model)
    parts += [Text(), *trouble] if trouble else []
    return Group(*parts)


def line(model: Model, now: datetime) -> str:
    """The same in one line, for what is no terminal."""
    rollout = model.status.rollout
    if rollout is None:
        return "; ".join(part for part in (model.progress, training(model)) if part)
    parts = [model.status.summary, stage(model, rollout, now).partition(":")[0]]
    parts += [f"{one.name}: {_counted(rollout, one) if one.threshold else one.message}" for one in evidence(model)]
    return "; ".join(parts)


def training(model: Model, now: datetime | None = None) -> str:
    """How far the newest version's trainer is, by its own words as they were written last; empty while there are none.

    With the time that is left; in a line that is printed when it changes, the time at which it ends.
    """
    newest = model.versions[0].status if model.versions else None
    if newest is None or newest.progress is None or newest.state != "Training":
        return ""
    found = newest.progress
    words = [f"training: {found.percent} %"]
    words += [f"loss {figures(found.loss)}"] if found.loss is not None else []
    left = -since(now, found.ends_at) if found.ends_at and now else 0.0
    words += [f"about {span(left)} left"] if left > 0 else []
    words += [f"done at about {second(found.ends_at)}"] if found.ends_at and now is None else []
    return ", ".join(words)


def _counted(rollout: RolloutStatus, one: MetricEvidence) -> str:
    """The counts of a test, and how far its evidence is."""
    candidate = f"v{rollout.candidate} {one.candidate_bad:,} bad of {one.candidate_total:,}"
    stable = f"v{rollout.stable} {one.stable_bad:,} of {one.stable_total:,}"
    return f"{candidate}, {stable}, evidence {figures(one.e)} (taken back at {figures(one.threshold)})"


def stage(model: Model, rollout: RolloutStatus, now: datetime) -> str:
    """Where a rollout is, and what is left of its hold and of the requests that it needs."""
    wish = model.spec.rollout
    if rollout.phase == "Watch":
        left = seconds(wish.watch.for_) - since(now, rollout.watch_started_at) if wish.watch else 0.0
        return f"watch of v{rollout.candidate} beside v{rollout.stable}: {span(left)} left"
    if rollout.phase == "Shadow":
        name, hold = "shadow", seconds(wish.shadow.hold) if wish.shadow else 0.0
    else:
        index = min(rollout.step, len(wish.steps) - 1)
        name, hold = f"step {index + 1} of {len(wish.steps)}, {wish.steps[index].weight} %", seconds(wish.steps[index].hold)
    if rollout.step_started_at is None:
        held = f"its hold of {span(hold)} begins with the first request"
    else:
        left = hold - since(now, rollout.step_started_at)
        held = f"{span(left)} of {span(hold)} left" if left > 0 else f"its hold of {span(hold)} is over"
    requests = f"{rollout.step_candidate_requests:,} of at least {wish.minimum_requests:,} requests answered"
    return f"{name}: {held}; {requests}"


def _head(model: Model) -> Text:
    newest = model.versions[0] if model.versions else None
    head = Text(f"{model.name}", style="bold")
    head.append(f"  {model.status.summary or 'not seen by the operator yet'}", style="bold cyan")
    head.append(f"  namespace {model.namespace}", style="dim")
    if newest is not None and newest.status.message:
        head.append(f"\nv{newest.number}: {newest.status.message}", style="")
    return head


def _shares(model: Model) -> Table:
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for one in sorted(model.status.weights, key=lambda found: found.version):
        is_candidate = model.status.rollout is not None and one.version == model.status.rollout.candidate
        bar = Text("█" * round(one.weight * WIDTH / 100), style="yellow" if is_candidate else "green")
        achieved = f" (really {one.achieved:.0f} %)" if one.achieved is not None and round(one.achieved) != one.weight else ""
        made.add_row(f"v{one.version}", f"{one.weight:3d} %{achieved}", bar)
    return made


def _metrics(found: list[MetricEvidence], track: Track) -> RenderableType:
    """The tests in a table; below it what is measured without one, in its own words."""
    tested = [one for one in found if one.threshold]
    told = [Text(f"{one.name}: {one.message or 'nothing was counted'}") for one in found if not one.threshold]
    return Group(*([_tests(tested, track)] if tested else []), *told)


def _tests(found: list[MetricEvidence], track: Track) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("metric", "candidate bad", "stable bad", "odds ratio", "E", "taken back at", "evidence so far"):
        made.add_column(name, no_wrap=name == "metric")
    for one in found:
        style = "red" if level(one) >= 1 else "yellow" if level(one) >= 0.5 else "green"
        made.add_row(
            one.name,
            f"{one.candidate_bad:,} of {one.candidate_total:,}",
            f"{one.stable_bad:,} of {one.stable_total:,}",
            one.odds_ratio or "-",
            figures(one.e),
            figures(one.threshold),
            Sparkline(track.levels.get(one.name, [level(one)]), style),
        )
    return made


def _trouble(model: Model) -> list[Text]:
    """Conditions that a person wants to know of."""
    found = [one for one in model.status.conditions if is_trouble(one)]
    return [Text(f"{one.type}={one.status} {one.reason}: {one.message}", style="yellow") for one in found]


def is_trouble(one: Condition) -> bool:
    """Whether a condition tells of something that a person wants to know of."""
    wrong = one.status == "False" if one.type in WELL else one.status == "True"
    return wrong and (one.type == "Ready" or one.type not in STEADY)
