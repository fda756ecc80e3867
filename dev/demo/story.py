"""The plot: v1 trained and served, v2 better and promoted, v3 harmful and taken back, and a person's return to v1.

Every chapter types what a person would type, waits for what the objects say, and fails the demo when they say something else.
Nothing is read but the objects' status and what the client saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo import view
from demo.stage import Stage, State, StoryError
from demo.traffic import Client, Tally

NEVER_V1 = ("Failed", "Rejected", "RolledBack", "Superseded")


@dataclass(frozen=True, slots=True)
class Plot:
    """What differs between the demo on real flights and the small story of the cluster suite."""

    manifest: Mapping[str, Any]
    """The ModelDeployment."""
    harmful: Mapping[str, Any]
    """`spec.training` of v3: a user's image."""
    first_data: Callable[[], str]
    """Uploads what v1 learns from and says what it is."""
    more_data: Callable[[], str]
    """Uploads what v2 learns from in addition."""
    start_client: Callable[[str], Client]
    """Starts the traffic against an address."""
    train_seconds: float = 600
    rollout_seconds: float = 300
    quiet_seconds: float = 5
    """How long the traffic runs on after each verdict."""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


def play(stage: Stage, plot: Plot) -> State:
    """The whole story. Returns the last state; raises StoryError when something else happens than what is told."""
    first_version(stage, plot)
    second_version(stage, plot)
    third_version(stage, plot)
    state = return_to_first(stage, plot)
    return finish(stage, plot, state)


def first_version(stage: Stage, plot: Plot) -> None:
    """v1: trained, judged on rows it never saw, packaged, served; then the client starts."""
    stage.tell(plot.first_data())
    stage.typed(f"kubectl -n {stage.kubectl.namespace} apply -f examples/flights/modeldeployment.yaml")
    stage.kubectl.apply(plot.manifest)
    stage.tell("Perennial splits the data, trains v1, judges it on the rows it kept aside, packages it and starts a pod.")
    state = stage.until(
        "v1 to serve",
        lambda seen: seen.state(1) == "Serving" and seen.weight(1) == 100,
        seconds=plot.train_seconds,
        never=ended(1, NEVER_V1),
    )
    judged(stage, state, 1)
    address = str(state.status.get("address", ""))
    if not address:
        raise StoryError("v1 serves, but status.address of the ModelDeployment is empty")
    stage.tell(f"v1 serves at {address}. A client starts to ask, and does not stop until the end.")
    stage.client = plot.start_client(predict_url(address))
    stage.client.__enter__()
    stage.until("the first answers", lambda seen: seen.tally.requests > 50, seconds=60)


def predict_url(address: str) -> str:
    """status.address names the model; predictions are asked for under /predict."""
    return address if address.endswith("/predict") else f"{address.rstrip('/')}/predict"


def second_version(stage: Stage, plot: Plot) -> None:
    """v2: more data, the same recipe; compared with v1 on the same holdout and promoted through the canary."""
    stage.tell(plot.more_data())
    stage.typed(
        f'kubectl -n {stage.kubectl.namespace} annotate mdep {plot.name} perennial.dev/retrain="more months have arrived"'
    )
    stage.kubectl.annotate("mdep", plot.name, "perennial.dev/retrain", "more months have arrived")
    trained(stage, plot, 2)
    state = stage.until(
        "v2 to be promoted",
        lambda seen: seen.state(2) == "Serving" and seen.weight(2) == 100,
        seconds=plot.rollout_seconds,
        never=ended(2, NEVER_V1),
    )
    evidence(stage, state, 2)
    stage.tell("v2 is promoted: no evidence of harm at any step. v1 is kept, and its pods will soon be scaled to zero.")
    pause(stage, plot)


def trained(stage: Stage, plot: Plot, number: int) -> None:
    """Waits until a version passed its gates and met live traffic."""
    state = stage.until(
        f"v{number} to be trained, judged and get its first live requests",
        lambda seen: seen.state(number) in ("Canary", "Serving", "RolledBack"),
        seconds=plot.train_seconds,
        never=ended(number, ("Failed", "Rejected", "Superseded")),
    )
    judged(stage, state, number)


def third_version(stage: Stage, plot: Plot) -> None:
    """v3: a user's image that passes every gate and fails on what only live traffic holds."""
    stage.tell(
        "v3 comes from a data scientist's own image. It knows only the categories of its training data and refuses any other.",
        "The holdout has no other, so it will pass every gate, honestly. The live traffic has.",
    )
    change = '{"spec":{"training":{"recipe":null,"image":"..."}}}'
    stage.typed(f"kubectl -n {stage.kubectl.namespace} patch mdep {plot.name} --type=merge -p '{change}'")
    stage.kubectl.patch("mdep", plot.name, {"spec": {"training": dict(plot.harmful)}})
    trained(stage, plot, 3)
    state = stage.until(
        "v3 to be taken back",
        lambda seen: seen.state(3) == "RolledBack" and seen.weight(2) == 100,
        seconds=plot.rollout_seconds,
        never=lambda seen: "v3 was promoted, it should have been caught" if seen.state(3) == "Serving" else "",
        every=0.5,
    )
    evidence(stage, state, 3)
    if 3 not in [entry["version"] for entry in state.status.get("quarantined", [])]:
        raise StoryError("v3 was rolled back, but status.quarantined does not name it")
    pause(stage, plot)
    tally = stage.client.look() if stage.client else Tally()
    stage.tell(
        "v3 is taken back by itself and quarantined: it will not ship again.", view.exposure(tally, f"{plot.name}-v3") + "."
    )


def return_to_first(stage: Stage, plot: Plot) -> State:
    """A person brings v1 back with plain kubectl."""
    stage.tell("A person can go back too, with nothing but kubectl:")
    stage.typed(f"kubectl -n {stage.kubectl.namespace} annotate mdep {plot.name} perennial.dev/rollback-to=1")
    asked = time.monotonic()
    stage.kubectl.annotate("mdep", plot.name, "perennial.dev/rollback-to", "1")
    stage.until(
        "v1 to serve everything again",
        lambda seen: seen.weight(1) == 100 and seen.status.get("stable") == 1 and seen.state(1) == "Serving",
        seconds=plot.rollout_seconds,
        every=0.5,
    )
    stage.tell(f"v1 has all the traffic again, {time.monotonic() - asked:.0f} s after the command.")
    pause(stage, plot)
    return stage.until("v2 to be retired", lambda seen: seen.state(2) == "Retired", seconds=plot.rollout_seconds)


def finish(stage: Stage, plot: Plot, state: State) -> State:
    """Ends the client and holds the story to its promise: nobody but v3 failed a request."""
    if stage.client is None:
        raise StoryError("there was no client")
    tally = stage.client.stop()
    bad = f"{plot.name}-v3"
    for number in (1, 2, 3):
        seen = tally.versions.get(f"{plot.name}-v{number}")
        if seen is None:
            raise StoryError(f"the client never got an answer from v{number}; it saw {sorted(tally.versions)}")
    if tally.versions[bad].failures == 0:
        raise StoryError("v3 was rolled back, but the client saw no bad answer of it")
    if others := tally.failures_but(bad):
        raise StoryError(f"requests failed that were not v3's own: {others} of {tally.requests:,}")
    return State(state.deployment, state.versions, tally)


def pause(stage: Stage, plot: Plot) -> None:
    """Lets the traffic run on, so that the client has seen the change."""
    over = time.monotonic() + plot.quiet_seconds
    stage.until("the traffic to settle", lambda seen: time.monotonic() >= over, seconds=plot.quiet_seconds + 30)


def ended(number: int, states: Sequence[str]) -> Callable[[State], str]:
    """A reason to stop waiting: the version ended in one of these states."""

    def reason(seen: State) -> str:
        if seen.state(number) in states:
            return f"v{number} is {seen.state(number)}: {seen.version(number).get('message', '')}"
        return ""

    return reason


def judged(stage: Stage, state: State, number: int) -> None:
    """Tells the verdicts of a version's gates."""
    for version in state.versions:
        if view.number(version) == number:
            stage.tell(*(f"  v{number} {text}" for text in view.gate_lines(version)))


def evidence(stage: Stage, state: State, number: int) -> None:
    """Tells what the rollout's test counted."""
    for version in state.versions:
        if view.number(version) == number:
            stage.tell(*(f"  v{number} {text}" for text in view.evidence_lines(version)))
