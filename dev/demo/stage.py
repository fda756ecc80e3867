"""Where the story is seen: waits that show what happens meanwhile, on a terminal as one refreshing table, else as plain lines.

A wait ends when the cluster's objects say so. When they say the opposite, or nothing in time, it raises `StoryError` with what
was found; the caller adds the diagnosis.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from demo import view
from demo.kubectl import Kubectl, KubectlError
from demo.traffic import Client, Tally

HEARTBEAT = 20.0
"""Seconds between plain lines when nothing changes."""


class StoryError(Exception):
    """What was expected and what was found instead."""


@dataclass(frozen=True, slots=True)
class State:
    """The ModelDeployment, its versions and the client's tally, at one moment."""

    deployment: Mapping[str, Any] | None
    versions: Sequence[Mapping[str, Any]]
    tally: Tally

    @property
    def status(self) -> Mapping[str, Any]:
        return dict((self.deployment or {}).get("status", {}))

    def version(self, number: int) -> Mapping[str, Any]:
        """Status of a version, empty when there is none."""
        found = next((version for version in self.versions if view.number(version) == number), {})
        return dict(found.get("status", {}))

    def state(self, number: int) -> str:
        """A version's state, empty when there is none."""
        return str(self.version(number).get("state", ""))

    def weight(self, number: int) -> int:
        """A version's share of the traffic in per cent."""
        return next((entry["weight"] for entry in self.status.get("weights", []) if entry["version"] == number), 0)


def read(kubectl: Kubectl, name: str, client: Client | None) -> State:
    """One look: a single kubectl call, and what the client wrote since the last one."""
    found = kubectl.list("mdep,mver")
    deployment = next((one for one in found if one["kind"] == "ModelDeployment" and one["metadata"]["name"] == name), None)
    versions = [one for one in found if one["kind"] == "ModelVersion" and one["spec"]["modelDeployment"] == name]
    return State(deployment, sorted(versions, key=view.number), client.look() if client else Tally())


class Stage:
    """Shows one ModelDeployment while the story waits for it."""

    def __init__(self, kubectl: Kubectl, name: str, console: Console) -> None:
        self.kubectl, self.name, self.console = kubectl, name, console
        self.client: Client | None = None
        self._live: Live | None = None
        self._started = time.monotonic()
        self._said: dict[str, str] = {}
        self._spoke = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def tell(self, *sentences: str, style: str = "") -> None:
        """The narrator's words, with the time since the demo began."""
        for sentence in sentences:
            self.console.print(Text(f"[{self.elapsed:4.0f}s] {sentence}", style=style), soft_wrap=True)

    def typed(self, command: str) -> None:
        """A command a person would type; the story does the same."""
        self.console.print(Text(f"        $ {command}", style="bold cyan"), soft_wrap=True)

    def until(
        self,
        what: str,
        reached: Callable[[State], bool],
        *,
        seconds: float,
        never: Callable[[State], str] = lambda state: "",
        every: float = 1.0,
    ) -> State:
        """Waits until `reached`. Raises StoryError after `seconds`, or at once when `never` gives a reason to stop."""
        deadline = time.monotonic() + seconds
        state = State(None, [], Tally())
        trouble = ""
        while time.monotonic() < deadline:
            try:
                state, trouble = read(self.kubectl, self.name, self.client), ""
            except KubectlError as error:
                trouble = str(error)
            self._show(what, state, deadline - time.monotonic())
            if trouble == "" and reached(state):
                return state
            if reason := never(state) or (self.client.problem if self.client else ""):
                raise StoryError(f"While waiting for {what}: {reason}")
            time.sleep(every)
        last = trouble or view.headline(state.deployment)
        raise StoryError(f"{what} did not happen within {seconds:.0f} s. Last seen: {last}")

    def _show(self, what: str, state: State, left: float) -> None:
        found = view.rows(state.deployment, state.versions, state.tally)
        if self._live is not None:
            note = Text(f"waiting for {what} ({left:.0f} s left) - {view.headline(state.deployment)}", style="dim")
            self._live.update(Group(view.table(found, f"ModelDeployment {self.name}, {self.elapsed:.0f} s"), note))
            return
        fresh = [row for row in found if self._said.get(row.version) != f"{row.state}{row.weight}{row.score}"]
        self._said.update({row.version: f"{row.state}{row.weight}{row.score}" for row in found})
        for row in fresh:
            self.console.print(f"[{self.elapsed:4.0f}s]   {view.line(row)}", markup=False, highlight=False, soft_wrap=True)
        now = time.monotonic()
        if fresh:
            self._spoke = now
        elif now - self._spoke > HEARTBEAT:
            self._spoke = now
            words = f"[{self.elapsed:4.0f}s]   waiting for {what} ({left:.0f} s left): {view.headline(state.deployment)}"
            self.console.print(words, markup=False, highlight=False, soft_wrap=True)
