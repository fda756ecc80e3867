"""`status.rollout` of a ModelDeployment: a rollout under way, enough to go on with after a restart to the last bit.

Numbers of the tests are for `perennial.core.analysis`; what people read of them is `perennial.api.evidence`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.api.base import Digest, StatusModel, Timestamp


class MarginState(StatusModel):
    """The test of a margin: the comparison with its arms swapped."""

    margin: float
    log_s: Annotated[list[float], Field(max_length=64)] = []


class RateState(StatusModel):
    """The test of one version's own bad rate."""

    since: Timestamp
    """When it began: its clock."""
    log_s: Annotated[list[float], Field(max_length=64)] = []
    epochs: int = 0
    spent_epochs: int = 0
    total: int = 0
    bad: int = 0


class ObjectiveState(StatusModel):
    """Where the objective of a metric stands."""

    max_rate: float
    alpha: float
    candidate: RateState
    stable: RateState
    confirming: Annotated[list[float], Field(max_length=64)] = []
    """log S of the comparison that began when the candidate's objective came into suspicion; empty while it is not."""
    missed_at: Timestamp | None = None
    """When the candidate missed it; stable is being asked since."""
    outage_since: Timestamp | None = None
    """Both missed it: somebody else's outage."""
    loud_at: Timestamp | None = None
    """In an outage: when stable's test was last in suspicion."""


class MetricState(StatusModel):
    """The e-process of one metric, enough to go on after a restart."""

    name: Annotated[str, Field(max_length=64)]
    alpha: float
    tolerance: float
    log_s: Annotated[list[float], Field(max_length=64)] = []
    spent_epochs: int = 0
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    strata: Annotated[list[float], Field(max_length=5)] = []
    """Mantel-Haenszel sums, for the odds ratio that is shown."""
    margin: MarginState | None = None
    objective: ObjectiveState | None = None
    dispersion: Annotated[list[float], Field(max_length=8)] = []
    """Sums of the dispersion guard over stable's batches; empty without the guard."""


class ShiftState(StatusModel):
    """Scores that both versions answered while they were compared, by bin."""

    name: Annotated[str, Field(max_length=64)]
    candidate: Annotated[list[int], Field(max_length=64)] = []
    stable: Annotated[list[int], Field(max_length=64)] = []


class PodReading(StatusModel):
    """Cumulative counters of one pod at the last block that counted."""

    uid: Annotated[str, Field(max_length=64)]
    version: int
    total: int = 0
    bad: int = 0
    timed: int = 0
    buckets: Annotated[list[int], Field(max_length=64)] = []
    scores: Annotated[list[int], Field(max_length=64)] = []
    in_flight: int = 0
    restarts: int = 0


class ProvidedCounts(StatusModel):
    """Counters of both arms as a provider last told them, and what became of its last answer; one for each such metric."""

    name: Annotated[str, Field(max_length=64)]
    query: Digest = ""
    """Of what was asked: counters of another question are not compared with these."""
    at: Timestamp | None = None
    """The time that they are of; null: nothing to compare with yet."""
    candidate_good: int = 0
    candidate_total: int = 0
    stable_good: int = 0
    stable_total: int = 0
    since: Timestamp | None = None
    """When counting began at this weight."""
    latest: Annotated[list[int], Field(max_length=4)] = []
    """The four counters as last seen; those above are from when a block last closed."""
    candidate_requests: int = 0
    """Requests of the candidate that were counted since then."""
    fell_at: Timestamp | None = None
    """When the counters last fell, or did not fit together."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why the last answer could not be used; empty: it could."""
    problem: Annotated[str, Field(max_length=1024)] = ""
    """The same in words."""


class MetricRuns(StatusModel):
    """Runs of a metric that a Job measures."""

    name: Annotated[str, Field(max_length=64)]
    run: int = 0
    """Of the Job under way, or else of the last one: <name>-v<N>-metric-<run>."""
    running: bool = False
    began_at: Timestamp | None = None
    """When the run under way, or else the last one, began."""
    ended_at: Timestamp | None = None
    """When the last one ended."""
    measured_at: Timestamp | None = None
    """When the last run began that was a measurement."""
    passed: int = 0
    """Good measurements in this rollout."""
    failed: int = 0
    """Bad ones."""
    errors: int = 0
    """Runs since the last measurement that were none."""
    job: Digest = ""
    """Of the job in the spec that the run under way, or else the last one, was made by."""
    said: Annotated[str, Field(max_length=1024)] = ""
    """What the last measurement said."""
    bad: Annotated[str, Field(max_length=1024)] = ""
    """What the last bad one said."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why the last run was no measurement; empty: it was one."""
    problem: Annotated[str, Field(max_length=1024)] = ""
    """The same in words."""
    waits_for: Annotated[str, Field(max_length=128)] = ""
    """Why the run under way does not start; empty: it does."""
    waits: Annotated[str, Field(max_length=1024)] = ""
    """The same in words."""


MOST_PODS = 512
"""Pods that are followed in a rollout: two arms of 100 replicas, and what an update or an eviction brings beside them."""


class RolloutStatus(StatusModel):
    """A rollout under way; one status write holds the e-state and the counters together."""

    candidate: int
    stable: int
    step: int = 0
    weight: int = 0
    started_at: Timestamp
    """When the first step was entered: the clock of the e-process."""
    saved_at: Timestamp
    """When this was last written to the API server."""
    unsaved: bool = False
    """Measurements moved since then; never true in what is written."""
    phase: Literal["Shadow", "Steps", "Watch"] = "Steps"
    """Shadow: the candidate gets copies of live requests and no others; Steps: it is on its way;
    Watch: it serves, and the version before it keeps a share to be compared with."""
    breach: Annotated[str, Field(max_length=1024)] = ""
    """A breach that was found, and left to a person by onBreach: pause."""
    watch_started_at: Timestamp | None = None
    stable_away: bool = False
    """In the watch: the version before has no ready pod and gets no requests until it has one."""
    settled: bool = False
    """The route has this weight and one reading was taken since: from here on blocks count."""
    settled_at: Timestamp | None = None
    """When that was seen."""
    withheld: bool = False
    """The candidate's weight is 0 until it has a ready pod and every pod of both arms was read: so it begins."""
    not_ready_since: Timestamp | None = None
    flaps: int = 0
    """Times that the candidate lost all its ready pods."""
    step_started_at: Timestamp | None = None
    """Null until the route is accepted for this weight and requests were seen."""
    step_entered_at: Timestamp | None = None
    step_candidate_requests: int = 0
    shadowed: bool = False
    """It had a shadow, which spent its share of falseRollbackRate; the rest is for steps and watch."""
    mirror_refused: Annotated[str, Field(max_length=1024)] = ""
    """In the shadow: the gateway's words when it refused the route because of the mirror, which is left out since."""
    planned_seconds: float = 0.0
    metrics: Annotated[list[MetricState], Field(max_length=8)] = []
    shifts: Annotated[list[ShiftState], Field(max_length=8)] = []
    """Of each predictionShift."""
    pods: Annotated[list[PodReading], Field(max_length=MOST_PODS)] = []
    measured: bool = False
    """Whether `pods` holds a first reading of this rollout."""
    provided: Annotated[list[ProvidedCounts], Field(max_length=8)] = []
    """Of metrics whose requests are counted elsewhere than in the pods."""
    runs: Annotated[list[MetricRuns], Field(max_length=8)] = []
    """Of metrics that a Job measures."""
    restarts: Annotated[dict[str, int], Field(max_length=MOST_PODS)] = {}
    """Restarts of the arms' servers as last seen, by UID of the pod."""
    crashes_candidate: int = 0
    crashes_stable: int = 0
