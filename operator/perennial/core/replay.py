"""A recorded rollout happens again, under the policy that it had or another one: the same passes through the same decisions.

    tape (what each pass saw) -> an `Observed` with one pod for each arm that tells the same -> shadow.step, rollout.step,
    rollout.watch -> what it comes to, and when

Nothing of the analysis stands here. A pass is made up so that the core finds in it what it found then: the counters' differences,
which pods were ready, whether the router carried the weights. As long as the rollout that is replayed stands where the recorded
one stood, that is exact. From the first pass at which it would have had another weight (`Departure`), its requests are taken as
they were recorded: what is found is then an estimate, for at another weight other requests would have come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal

from perennial.api.metrics import RolloutMetric
from perennial.api.recording import Outcome, Place, Terms
from perennial.api.rollout import Rollout
from perennial.api.rollout_status import MetricState, PodReading, RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, RouteWeight
from perennial.core import analysis, measuring, recording, replicas, rollout, routers, runs, shadow
from perennial.core.observed import (
    ContainerState,
    Defaults,
    Meta,
    MetricProblem,
    MetricReading,
    Mirror,
    MirrorCounters,
    Observed,
    PodCounters,
    RouteState,
    ServingPod,
    StoreSettings,
    Workload,
)
from perennial.core.tape import Pass, Seen, Tape, bounds, from_microseconds
from perennial_runtime.contract import LATENCY_BOUNDS_MS, Container

CANDIDATE_UID, STABLE_UID = "candidate", "stable"
_ROUTE = {"parentRefs": [{"name": "recorded"}], "path": "/"}
_WISH = {
    "data": {
        "source": {"uri": "s3://recorded/"},
        "columns": [{"name": "x", "role": "feature"}, {"name": "y", "role": "label"}],
    },
    "training": {"recipe": {}},
}

What = Literal["promote", "breach", "abort", "watched"]


CUT = "the recording was cut when it had become too long, before the rollout had ended"
"""Why what is left of a recording cannot be compared to its end: no difference was found."""


class NotRecorded(Exception):
    """The policy asks for what the recording does not hold; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """What a rollout came to, and when."""

    what: What
    index: int
    """Of the pass."""
    at: datetime
    reason: str
    message: str
    requests: int
    """Of the candidate that had been counted by then."""
    log_e: dict[str, float]


@dataclass(frozen=True, slots=True)
class Departure:
    """The first pass at which the rollout that is replayed stands elsewhere than the recorded one did."""

    index: int
    at: datetime
    recorded: Place
    replayed: Place


@dataclass(frozen=True, slots=True)
class Replayed:
    """A rollout under a policy."""

    milestones: tuple[Milestone, ...]
    state: RolloutStatus
    """As the last pass left it."""
    terms: Terms
    """That were in force in the last pass."""
    left_to_person: str = ""
    """A breach that onBreach: pause leaves to a person."""
    left_at: datetime | None = None
    departure: Departure | None = None
    stopped: str = ""
    """Why it was not followed to the end of the recording."""
    largest_log_e: tuple[tuple[str, float], ...] = ()
    """By metric, the largest of any pass; begun afresh after a shadow."""
    promoted_at: datetime | None = None
    """When a person promoted it, as in the recording, into a watch."""
    answered: tuple[int, ...] = ()
    """The candidate's requests in each step (and in the shadow) when that was passed."""

    @property
    def outcome(self) -> Literal["rolled back", "promoted", "promoted and watched", "aborted", "undecided"]:
        """In a word; undecided at the end of the recording."""
        found = [one.what for one in self.milestones]
        if "breach" in found:
            return "rolled back"
        if "abort" in found:
            return "aborted"
        if "watched" in found:
            return "promoted and watched"
        return "promoted" if "promote" in found else "undecided"

    @property
    def is_exact(self) -> bool:
        """Whether it stood where the recorded rollout stood in every pass, and every pass was recorded."""
        return self.departure is None and not self.stopped


def replay(tape: Tape, policy: Rollout | None = None) -> Replayed:
    """The rollout once more, under the policy that it had at each time or under another one for all of it.

    Raises NotRecorded where the policy needs what was not recorded, ValueError where the recording contradicts itself.
    """
    if policy is not None:
        check(tape, policy)
    try:
        return _Stage(tape, policy).played()
    except (ArithmeticError, TypeError, LookupError) as error:
        raise ValueError(f"the recording contradicts itself: {type(error).__name__}: {error}") from error


def reproduced(tape: Tape, replayed: Replayed) -> str:
    """Why a replay under the recorded policy is not what was recorded; empty when it is, to the last bit."""
    recorded = [(index, one) for index, one in tape.outcomes if one.what != "ended"]
    if departure := replayed.departure:
        there, here = said(departure.recorded), said(departure.replayed)
        return f"in pass {departure.index + 1} the recorded rollout stood at {there}, the replayed one at {here}"
    here_to, there_to = [one.what for one in replayed.milestones], [one.what for _, one in recorded]
    if tape.truncated and len(here_to) < len(there_to) and here_to == there_to[: len(here_to)]:
        return CUT
    if here_to != there_to:
        come_to = [", then ".join(whats) or "nothing" for whats in (here_to, there_to)]
        return f"it came to {come_to[0]}, and the recorded one to {come_to[1]}"
    pairs = zip(replayed.milestones, recorded, strict=True)
    return next((words for one, (index, end) in pairs if (words := _differs(one, index, end))), "")


def _differs(one: Milestone, index: int, end: Outcome) -> str:
    if (one.index, one.reason) != (index, end.reason):
        return f"{one.what} ({one.reason}) came in pass {one.index + 1}, and {end.what} ({end.reason}) in pass {index + 1}"
    return "" if one.log_e == end.log_e else f"{one.what}: E is another than the recorded one"


def said(place: Place) -> str:
    """A place in words."""
    match place.phase:
        case "Shadow":
            return "its shadow"
        case "Watch":
            return f"{place.weight} % in its watch"
        case "Steps":
            return f"{place.weight} % in step {place.step + 1}"


def check(tape: Tape, policy: Rollout) -> None:
    """Raises NotRecorded where the recording cannot tell how the policy would have fared."""
    recorded, known = tape.header.terms.rollout, set(bounds(tape.header.terms.rollout))
    for one in tape.passes:
        known &= set(bounds(one.terms.rollout))
    if words := _not_mirrored(tape, policy):
        raise NotRecorded(f"rollout.shadow{words}")
    for terms in (recorded, *{id(one.terms): one.terms.rollout for one in tape.passes}.values()):
        for index, metric in enumerate(policy.metrics):
            if words := _not_counted(metric, terms, known):
                raise NotRecorded(f"rollout.metrics[{index}] {metric.name}: {words}")
    if not tape.header.complete:
        _check_rest(tape, policy)


def _not_mirrored(tape: Tape, policy: Rollout) -> str:
    """What of the shadow was not recorded; empty: it can be replayed."""
    wish, recorded = policy.shadow, tape.header.terms.rollout.shadow
    if wish is None:
        return ": the recording has a shadow and this policy has none: give one with a shadow" if recorded else ""
    if recorded is None:
        return ": no mirrored request was recorded: give a policy without a shadow"
    in_shadow = (one.terms.rollout.shadow for one in tape.passes if one.place.phase == "Shadow")
    percents = {wished.percent for wished in in_shadow if wished is not None}
    if percents <= {wish.percent}:
        return ""
    there = " and ".join(f"{percent} %" for percent in sorted(percents))
    return f".percent: {there} of the requests were mirrored when it was recorded, at {wish.percent} % others would have come"


def _not_counted(metric: RolloutMetric, recorded: Rollout, known: set[str]) -> str:
    """What of a metric was not recorded; empty: it can be replayed."""
    other = next((one for one in recorded.metrics if one.name == metric.name), None)
    if metric.latency and metric.latency.slower_than not in known:
        there = ", ".join(bound for bound in bounds(recorded) if bound in known) or "none"
        return f"answers slower than {metric.latency.slower_than} were not counted (recorded: {there})"
    if metric.prometheus and (other is None or other.prometheus != metric.prometheus):
        return "these counters of a source were not recorded: take the source and expressions that the recorded policy has"
    if metric.job and (other is None or other.job is None or runs.digest(other.job) != runs.digest(metric.job)):
        return "no run of this Job was recorded: take the job that the recorded policy has"
    limited = metric.prediction_shift is not None and metric.prediction_shift.max_distance is not None
    if limited and not any(one.prediction_shift and one.prediction_shift.max_distance for one in recorded.metrics):
        return "scores are recorded only where maxDistance is set"
    return ""


def _check_rest(tape: Tape, policy: Rollout) -> None:
    """Without the beginning, a test can be taken up only as it was begun: with its tolerance, in the same planned time."""
    states = {state.name: state for state in tape.header.start.metrics}
    for index, metric in enumerate(policy.metrics):
        state = states.get(metric.name)
        if metric.is_compared and (state is None or state.tolerance != measuring.tolerance_of(metric)):
            words = "the beginning was not recorded, so this metric can be followed only with the tolerance that it had"
            raise NotRecorded(f"rollout.metrics[{index}] {metric.name}: {words}")


class _Stage:
    """One replay: the synthetic cluster, and the rollout on it."""

    def __init__(self, tape: Tape, policy: Rollout | None) -> None:
        self._tape, self._policy = tape, policy
        self._specs: dict[int, ModelDeploymentSpec] = {}
        self._arms = _Arms(tape)
        self._milestones: list[Milestone] = []
        self._largest: dict[str, float] = {}
        self._requests = 0
        self._answered: list[int] = []
        self._promoted_at: datetime | None = None

    def played(self) -> Replayed:
        """Pass after pass, until it has ended or there is none left."""
        state, departure, left_at, stopped = self._first(), None, None, ""
        terms = self._tape.header.terms
        for index, one in enumerate(self._tape.passes):
            state = self._promoted(index, one, state)
            place, terms = recording.place_of(state), one.terms
            if departure is None and place != one.place:
                departure = Departure(index, one.at, one.place, place)
            if stopped := _unknowable(place, one.place):
                break
            before, (state, ended) = state, self._passed(index, one, state)
            if state.breach and not before.breach:
                left_at = one.at
            if ended:
                break
        left = state.breach if left_at else ""
        return Replayed(
            tuple(self._milestones),
            state,
            self._terms(terms),
            left,
            left_at,
            departure=departure,
            stopped=stopped,
            largest_log_e=tuple(self._largest.items()),
            promoted_at=self._promoted_at,
            answered=tuple(self._answered),
        )

    def _first(self) -> RolloutStatus:
        header = self._tape.header
        if header.complete:
            return shadow.begin(self._observed_first(), header.candidate, header.stable)
        return _taken_up(header.start, self._arms.first, self._policy)

    def _observed_first(self) -> Observed:
        return self._observed(self._tape.began, Seen(0), self._tape.header.terms, self._tape.header.start)

    def _promoted(self, index: int, one: Pass, state: RolloutStatus) -> RolloutStatus:
        """What a person did is done again, where the policy has a watch; else the rest of the recording is not its own."""
        if not one.promoted or state.phase == "Watch" or state.breach:  # promoted after a breach: without a watch
            return state
        observed = self._observed(one.at, one.seen, one.terms, state, index=index)  # crashes that were known are not news again
        watch = observed.spec.rollout.watch
        if watch is None:
            return state
        self._promoted_at = one.at
        in_steps = shadow.steps_after(observed, state) if state.phase == "Shadow" else state
        return rollout.watched(observed, in_steps, watch.hold_back)

    def _passed(self, index: int, one: Pass, state: RolloutStatus) -> tuple[RolloutStatus, bool]:
        """One pass; whether it ended the rollout."""
        if one.runs is not None and state.runs:
            told = {entry.name: entry for entry in one.runs}
            state = state.model_copy(update={"runs": [told.get(entry.name, entry) for entry in state.runs]})
        observed = self._observed(one.at, one.seen, one.terms, state, index=index, readings=one.readings)
        course = _course(observed, state, waits=Seen.WAITS in one.seen)
        after = course.rollout
        self._count(one, state, course)
        log_e = self._followed(after)
        if course.outcome == "continue":
            return after, False
        milestone = Milestone(course.outcome, index, one.at, course.reason, course.message, self._requests, log_e)
        self._milestones.append(milestone)
        wish = observed.spec.rollout.watch
        if course.outcome == "promote" and wish is not None:
            return rollout.watched(observed, after, wish.hold_back), False
        return after, True

    def _count(self, one: Pass, state: RolloutStatus, course: rollout.Course) -> None:
        """The candidate's requests, in all and in the step that it has passed."""
        came = one.counts.candidate_total if one.counts else 0
        self._requests += came
        if course.outcome == "promote" or (state.phase, state.step) != (course.rollout.phase, course.rollout.step):
            self._answered.append(state.step_candidate_requests + came)
        if state.phase != course.rollout.phase:
            self._largest = {}

    def _followed(self, state: RolloutStatus) -> dict[str, float]:
        """log E of each metric, kept where it is the largest so far."""
        found = {one.name: analysis.log_e(measuring.resumed(state, one)) for one in state.metrics}
        for name, value in found.items():
            self._largest[name] = max(value, self._largest.get(name, value))
        return found

    def _terms(self, terms: Terms) -> Terms:
        return terms if self._policy is None else terms.model_copy(update={"rollout": self._policy})

    def _spec(self, terms: Terms, *, paused: bool) -> ModelDeploymentSpec:
        key = 2 * id(terms) + paused  # the tape keeps its terms
        if key not in self._specs:
            wish = self._terms(terms)
            serving = {"replicas": wish.replicas, "progressDeadline": wish.progress_deadline}
            route = {"route": _ROUTE} if wish.by == "requests" else {}
            spec = ModelDeploymentSpec.model_validate({**_WISH, "serving": serving | route, "paused": paused})
            self._specs[key] = spec.model_copy(update={"rollout": wish.rollout})
        return self._specs[key]

    def _observed(
        self,
        at: datetime,
        seen: Seen,
        terms: Terms,
        state: RolloutStatus,
        *,
        index: int | None = None,
        readings: dict[str, list[int] | str] | None = None,
    ) -> Observed:
        """What the core finds in it is what it found then."""
        header, spec = self._tape.header, self._spec(terms, paused=Seen.PAUSED in seen)
        counters = self._arms.counters(index, state) if index is not None and Seen.READ in seen else None
        crashes = self._arms.crashes[index] if index is not None else (0, 0)
        workloads = tuple(_workloads(spec, state, seen, at, crashes))
        observed = Observed(
            now=at,
            meta=Meta(header.namespace, header.model, "recorded", 1, "1"),
            spec=spec,
            status=ModelDeploymentStatus(),
            defaults=_DEFAULTS,
            workloads=workloads,
            counters=counters,
            mirror_problem="the Gateways could not mirror" if Seen.NO_MIRROR in seen else "",
            readings={name: _reading(one) for name, one in (readings or {}).items()},
        )
        if terms.by == "connections":
            return _by_pods(observed, state, seen)
        if Seen.ROUTER not in seen:
            return observed
        return replace(observed, route=_route(observed, state, seen))


def _course(observed: Observed, state: RolloutStatus, *, waits: bool) -> rollout.Course:
    """A pass, as `perennial.core.candidate` has it."""
    match state.phase:
        case "Watch":
            return rollout.watch(observed, state)
        case "Shadow":
            return shadow.step(observed, state, waits=waits)
        case "Steps":
            return rollout.step(observed, state, waits=waits)


class _Arms:
    """Both arms as a pod each, whose counters grow by what was counted.

    What a crash broke off is told as the operator learnt it: it was under way when the pod was last read, and then a new process
    counted from zero.
    """

    def __init__(self, tape: Tape) -> None:
        self._passes = tape.passes
        self._lost = _lost_next(tape.passes)
        self._moves = tuple(accumulate(int(Seen.MOVED in one.seen) for one in tape.passes))
        self._totals = tuple(_totals(tape.passes))
        self.crashes = tuple(accumulate((one.crashes for one in tape.passes), lambda a, b: (a[0] + b[0], a[1] + b[1])))
        self.first = self._lost[0] if self._lost else 0
        """What the candidate had under way when the recording began."""

    def counters(self, index: int, state: RolloutStatus) -> tuple[PodCounters, ...]:
        """As they were read in a pass."""
        candidate, stable, restarts = self._totals[index]
        return (
            _counters(CANDIDATE_UID, state.candidate, candidate, in_flight=self._lost[index + 1], restarts=restarts),
            _counters(STABLE_UID, state.stable, stable, in_flight=self._moves[index]),
        )


@dataclass(frozen=True, slots=True)
class _Arm:
    """Cumulative counts of one arm."""

    total: int = 0
    bad: int = 0
    timed: int = 0
    slow: tuple[int, ...] = (0,) * len(LATENCY_BOUNDS_MS)
    scores: tuple[int, ...] = ()

    def plus(self, more: _Arm) -> _Arm:
        """With what was counted since."""
        length = max(len(self.scores), len(more.scores))
        padded = [(*scores, *(0,) * (length - len(scores))) for scores in (self.scores, more.scores)]
        return _Arm(
            self.total + more.total,
            self.bad + more.bad,
            self.timed + more.timed,
            tuple(map(sum, zip(self.slow, more.slow, strict=True))),
            tuple(map(sum, zip(*padded, strict=True))),
        )


def _totals(passes: tuple[Pass, ...]) -> Iterator[tuple[_Arm, _Arm, int]]:
    """The candidate's and stable's counts after each pass, and how often the candidate's began anew."""
    candidate, stable, restarts = _Arm(), _Arm(), 0
    for one in passes:
        counts = one.counts
        if counts is not None:
            places = [measuring.bound_index(bound) for bound in bounds(one.terms.rollout)]
            slow = [_by_bound(places, [pair[arm] for pair in counts.slow]) for arm in (0, 1)]
            lost = counts.candidate_lost
            more = _Arm(
                counts.candidate_total - lost, counts.candidate_bad - lost, counts.candidate_timed, slow[0], one.scores[0]
            )
            candidate = more if lost else candidate.plus(more)
            restarts += bool(lost)
            stable = stable.plus(_Arm(counts.stable_total, counts.stable_bad, counts.stable_timed, slow[1], one.scores[1]))
        yield candidate, stable, restarts


def _by_bound(places: list[int], slow: list[int]) -> tuple[int, ...]:
    found = dict(zip(places, slow, strict=True))
    return tuple(found.get(place, 0) for place in range(len(LATENCY_BOUNDS_MS)))


def _lost_next(passes: tuple[Pass, ...]) -> tuple[int, ...]:
    """For each pass, and after the last, what the next one that moved the readings, this one included, lists as lost."""
    found = [0]
    for one in reversed(passes):
        moved = Seen.MOVED in one.seen and one.counts is not None
        found.append(one.counts.candidate_lost if moved and one.counts is not None else found[-1])
    return tuple(reversed(found))


def _counters(uid: str, version: int, arm: _Arm, *, in_flight: int, restarts: int = 0) -> PodCounters:
    buckets = tuple(arm.timed - slow for slow in arm.slow)
    mirror = MirrorCounters(arm.total, arm.bad, arm.timed, buckets, in_flight)
    return PodCounters(
        uid, version, arm.total, arm.bad, arm.timed, buckets, in_flight, restarts, mirror=mirror, scores=arm.scores
    )


def _workloads(
    spec: ModelDeploymentSpec, state: RolloutStatus, seen: Seen, at: datetime, crashes: tuple[int, int]
) -> Iterator[Workload]:
    """As many pods as the router wants, a ready one where there was one."""
    by_pods = routers.by_replicas(spec)
    wanted = replicas.of_arms(state, spec.serving.replicas) if by_pods else {state.candidate: 1, state.stable: 1}
    others = int(by_pods and Seen.REACHED not in seen)
    for uid, version, ready, of_age, restarts, more in (
        (CANDIDATE_UID, state.candidate, Seen.CANDIDATE_READY, Seen.CANDIDATE_OF_AGE, crashes[0], others),
        (STABLE_UID, state.stable, Seen.STABLE_READY, Seen.STABLE_OF_AGE, crashes[1], 0),
    ):
        number = max(1, wanted[version] + more) if ready in seen else 1
        since = None if of_age in seen else at
        pods = tuple(_pod(uid, index, ready=ready in seen, since=since, restarts=restarts) for index in range(number))
        yield Workload(version, number, updated=True, pods=pods)


def _pod(uid: str, index: int, *, ready: bool, since: datetime | None, restarts: int) -> ServingPod:
    server = ContainerState(Container.SERVER, "running", restarts=0 if index else restarts)
    name = f"{uid}-{index}" if index else uid
    return ServingPod(name, name, "", _LONG_AGO, ready=ready, ready_since=since, deleting=False, containers=(server,))


def _by_pods(observed: Observed, state: RolloutStatus, seen: Seen) -> Observed:
    """With the Service, and shares that have moved or not since the pass before."""
    shares = replicas.shares(replicas.ready(observed))
    told = shares if Seen.STEADY in seen else {state.candidate: 0.05}
    weights = [RouteWeight(version=version, weight=0, achieved=share) for version, share in told.items()]
    return replace(
        observed,
        service=Seen.ROUTER in seen,
        status=ModelDeploymentStatus.model_validate({}).model_copy(update={"weights": weights}),
    )


def _route(observed: Observed, state: RolloutStatus, seen: Seen) -> RouteState:
    """One that carries what is wanted, where the recorded one did."""
    accepted, unseen = Seen.ACCEPTED in seen, Seen.UNSEEN in seen
    mirror = routers.mirror(observed, state)
    if Seen.STEADY in seen:
        seconds = routers.UNCONFIRMED_SECONDS if unseen else 0.0
        return RouteState(tuple(measuring.weights(state)), accepted, "", unseen, mirror, seconds)
    other = (mirror or Mirror(state.candidate, 1)) if Seen.MIRRORED in seen else None
    return RouteState(((state.stable, 1),), accepted, "as recorded", unseen, other)


def _reading(one: list[int] | str) -> MetricReading | MetricProblem:
    if isinstance(one, str):
        return MetricProblem(one, "as recorded")
    at, *counters = one
    return MetricReading(from_microseconds(at), *counters)


def _taken_up(start: RolloutStatus, in_flight: int, policy: Rollout | None) -> RolloutStatus:
    """What was known when the recording began, on the pods of a replay; each metric with its share by the policy."""
    pods = [
        PodReading(
            uid=uid,
            version=version,
            buckets=[0] * len(LATENCY_BOUNDS_MS),
            in_flight=lost,
        )
        for uid, version, lost in ((CANDIDATE_UID, start.candidate, in_flight), (STABLE_UID, start.stable, 0))
    ]
    state = start.model_copy(update={"pods": pods if start.measured else [], "restarts": {}})
    if policy is None:
        return state
    return state.model_copy(update={"metrics": list(_shared_out(state, policy))})


def _shared_out(state: RolloutStatus, policy: Rollout) -> Iterator[MetricState]:
    """The tests with their shares of another falseRollbackRate."""
    wishes = {metric.name: metric for metric in policy.metrics if metric.is_compared}
    weights = {name: float(wishes[name].weight) for name in (one.name for one in state.metrics) if name in wishes}
    if not weights:
        return
    rate = policy.false_rollback_rate
    in_shadow = state.phase == "Shadow"
    alphas = analysis.shadow_alpha(rate, weights) if in_shadow else analysis.split_alpha(rate, weights, shadow=state.shadowed)
    for one in state.metrics:
        if one.name in alphas:
            objective = one.objective.model_copy(update={"alpha": rate}) if one.objective else None
            yield one.model_copy(update={"alpha": alphas[one.name], "objective": objective})


def _unknowable(here: Place, there: Place) -> str:
    """Why no pass more can be followed; empty: it can."""
    if here.phase == "Shadow" and there.phase != "Shadow":
        return "its shadow would have gone on, and no mirrored request was recorded from there on"
    if here.phase != "Shadow" and there.phase == "Shadow":
        return "its steps would have begun earlier, and no request to the candidate was recorded at that time"
    return ""


_LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)
_DEFAULTS = Defaults("", "", 1, StoreSettings("", "", ""), metric_sources=())
