"""A small cluster in memory for tests of the plan: applies plans, runs Jobs as told, counts requests. Time moves when told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionStatus
from perennial.core import actions
from perennial.core.inputs import job_name, ledger_job_name, poll_job_name, version_name
from perennial.core.jobs import LEDGER_STEP, METRIC_CONTAINER, METRIC_STEP, POLL_STEP, REPRODUCE_STEP
from perennial.core.observed import (
    ContainerState,
    Defaults,
    Job,
    JobPod,
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
    TrainReading,
    Version,
    Workload,
)
from perennial.core.plan import plan, wanted_counters
from perennial.core.tape import Recording
from perennial_runtime import chain
from perennial_runtime.contract import (
    EXIT_REFUSED,
    EXIT_TRANSIENT,
    LATENCY_BOUNDS_MS,
    Answer,
    Container,
    EvaluateResult,
    EvaluateSpec,
    GateMeasurement,
    LedgerResult,
    PollResult,
    PrepareResult,
    Refusal,
    TrainResult,
    encode_answer,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEAKER = {"prepare": "prepare", "train": "reporter", "evaluate": "evaluate"}

SPEC: dict[str, Any] = {
    "data": {
        "source": {"uri": "s3://flights/2013/"},
        "columns": [
            {"name": "hour", "role": "feature"},
            {"name": "time_hour", "role": "time"},
            {"name": "late", "role": "label"},
        ],
    },
    "training": {"recipe": {"algorithm": "gradient-boosting"}, "retries": 1},
    "evaluation": {"gates": [{"metric": "roc_auc", "minimum": 0.7}]},
    "serving": {"replicas": 2, "route": {"parentRefs": [{"name": "gw"}], "path": "/delays"}},
    "rollout": {"steps": [{"weight": 10, "hold": "10s"}, {"weight": 50, "hold": "10s"}], "minimumRequests": 20},
}


def spec(**changes: Any) -> ModelDeploymentSpec:
    """The usual wish, with parts of it replaced."""
    return ModelDeploymentSpec.model_validate(SPEC | changes)


def prepared(number: int) -> PrepareResult:
    """What prepare says of version `number`."""
    return PrepareResult(f"d{number}", "t", "h", "s", "sp", 10_000, 8_000, 2_000, 3, "2013-03-01T00:00:00Z", 0.2)


def evaluated(number: int, champion: str | None, lower: float = 0.72) -> EvaluateResult:
    """What evaluate says: roc_auc with this lower bound."""
    gate = GateMeasurement("roc_auc", "minimum", 0.7, lower + 0.01, lower, lower + 0.02, 0)
    return EvaluateResult(f"identity-{number}", f"bento-{number}", 1000, 1e-7, 2_000, 0, (gate,), champion)


@dataclass
class World:
    """The cluster and the operator's memory."""

    wish: ModelDeploymentSpec = field(default_factory=spec)
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    annotations: dict[str, str] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()
    now: datetime = START
    versions: dict[int, Version] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    ledger_jobs: dict[str, Job] = field(default_factory=dict)
    poll_jobs: dict[str, Job] = field(default_factory=dict)
    listing: str = "l1"
    """What lies behind the data source, as its listing's digest."""
    poll_says: Answer | None = None
    """What a Job that looks at the data source answers instead."""
    polling: bool = False
    """Such a Job goes on and on."""
    rows: str | None = None
    """Digest of the rows that prepare finds; None: other ones for each version."""
    stored: list[str] = field(default_factory=list)
    """Lines of the ledger that Jobs stored."""
    store_says: Answer | None = None
    """What a Job that stores the ledger answers instead."""
    errors: tuple[tuple[str, str], ...] = ()
    """Writes that were refused in the last pass."""
    workloads: dict[int, Workload] = field(default_factory=dict)
    route: RouteState | None = None
    totals: dict[str, PodCounters] = field(default_factory=dict)
    is_gone: bool = False
    """The ModelDeployment itself was deleted."""
    created: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    events: list[actions.Event] = field(default_factory=list)
    route_writes: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    mirrors: list[Mirror | None] = field(default_factory=list)
    """Every change of the route's mirror."""
    mirror_problem: str = ""
    refuses_mirrors: bool = False
    """The gateway does not accept a route with a mirror."""
    dropped: tuple[str, ...] = ()
    """Fields that the CRDs in the cluster do not have."""
    status_writes: int = 0
    generation: int = 1
    unreachable: bool = False
    readings: dict[str, MetricReading | MetricProblem] = field(default_factory=dict)
    """What providers last answered."""
    trained: dict[str, TrainReading] = field(default_factory=dict)
    """What reporters last answered, by UID of the train pod."""
    sources: tuple[str, ...] = ("shop",)
    """Of metrics, that the operator was installed with."""
    attested: bool = False
    """The API server checks who asks."""
    recorded: bool = True
    """Rollouts are recorded."""
    recordings: tuple[Recording, ...] = ()
    """In the operator's memory."""
    kept: dict[int, bytes] = field(default_factory=dict)
    """Recordings in the cluster, by version."""
    no_config_maps: bool = False
    """No recording may be kept."""
    frozen_route: bool = False
    """Writes of the route are refused."""
    no_versions: bool = False
    """No ModelVersion may be made."""
    invalid: str = ""
    """Why the spec cannot be read any more; what it was is remembered."""
    never_ready: set[int] = field(default_factory=set)
    scores: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By version, the scores by bin that each second brings."""
    answer: Callable[[str, int, actions.CreateJob], Answer | Job | None] | None = None
    """What a Job answers; None: the usual. Returning a Job puts that Job instead."""
    measure: Callable[[actions.CreateMetricJob, datetime], Job] | None = None
    """What a Job of a metric comes to as soon as it is made; None: it is under way for ever."""
    reproduce: Callable[[actions.CreateReproduceJob, datetime], Job] | None = None
    """What a Job that trains a version again comes to as soon as it is made; None: it is under way for ever."""
    reproductions: list[actions.CreateReproduceJob] = field(default_factory=list)
    """Such Jobs, as they were asked for."""

    def observed(self) -> Observed:
        """What a pass sees."""
        base = Observed(
            now=self.now,
            meta=Meta(
                "ns",
                "delays",
                "uid-m",
                self.generation,
                str(self.status_writes),
                dict(self.annotations),
                created_at=START,
                declared=self.declared,
            ),
            spec=self.wish,
            status=self.status,
            defaults=Defaults(
                "serving@1",
                "training@1",
                1,
                StoreSettings("s3://store/p", "perennial-store", "perennial-store-read"),
                self.sources,
                self.attested,
                self.recorded,
                self.dropped,
            ),
            versions=tuple(self.versions[number] for number in sorted(self.versions)),
            jobs=tuple(self.jobs.values()),
            ledger_jobs=tuple(self.ledger_jobs.values()),
            poll_jobs=tuple(self.poll_jobs.values()),
            errors=self.errors,
            workloads=tuple(self._aged(w) for w in self.workloads.values()),
            route=self.route,
            gateway_address="198.18.0.9",
            mirror_problem=self.mirror_problem if self.wish.rollout.shadow else "",
            readings=dict(self.readings),
            trained=dict(self.trained),
            invalid=self.invalid,
            remembered=bool(self.invalid),
            recordings=self.recordings,
        )
        wanted = wanted_counters(base)
        if self.unreachable and wanted:
            return replace(base, unreachable="pod x: timed out")
        return replace(base, counters=tuple(self._counters(version, pod) for version, pod in wanted) if wanted else None)

    def run(self) -> actions.Plan:
        """One pass, carried out whole."""
        decided = plan(self.observed())
        self.recordings = decided.recordings
        for action in decided.before:
            self.apply(action)
        self.write(decided)
        for action in decided.after:
            self.apply(action)
        self.events.extend(decided.events)
        return decided

    def write(self, decided: actions.Plan) -> None:
        """The status write, if there is one."""
        self.status_writes += decided.persist and decided.status != self.status
        self.status = decided.status

    def live(self, seconds: float, rate: float = 0.0, bad: dict[int, float] | None = None) -> None:
        """Seconds of passes with `rate` requests a second split by the route's weights, and a share of bad answers by version."""
        for _ in range(int(seconds)):
            self.traffic(rate, bad or {})
            self.now += timedelta(seconds=1)
            self.run()

    def sleep(self, seconds: float, most: float = 5.0) -> None:
        """Seconds without requests, with a pass whenever the plan asks for one, and every `most` seconds: what the cluster does
        by itself wakes the operator, too."""
        end, pause = self.now + timedelta(seconds=seconds), 1.0
        while self.now < end:
            self.now = min(end, self.now + timedelta(seconds=pause))
            pause = min(most, max(1.0, self.run().wake_after or most))

    def until(self, done: Callable[[World], bool], limit: int = 200, **traffic: Any) -> World:
        """Live on until `done`, at most `limit` seconds."""
        for _ in range(limit):
            if done(self):
                return self
            self.live(1, **traffic)
        raise AssertionError(
            f"did not come about in {limit} s: {self.status.summary} {[v.status.state for v in self.versions.values()]}"
        )

    def unready(self, version: int) -> None:
        """The version's pods are made anew and do not get ready any more."""
        self.never_ready.add(version)
        old = self.workloads[version]
        pods = tuple(replace(pod, ready=False, ready_since=None, created_at=self.now) for pod in old.pods)
        self.workloads[version] = replace(old, pods=pods)

    def restart(self, uid: str, times: int) -> None:
        """The server in this pod has been restarted so often."""
        server = ContainerState("server", "running", restarts=times)
        for number, workload in self.workloads.items():
            pods = tuple(replace(pod, containers=(server,)) if pod.uid == uid else pod for pod in workload.pods)
            self.workloads[number] = replace(workload, pods=pods)

    def traffic(self, rate: float, bad: dict[int, float]) -> None:
        """Requests of one second."""
        for version, weight in self.route.weights if self.route else ():
            pods = [pod for pod in self.workloads[version].pods if pod.ready] if version in self.workloads else []
            for pod in pods:
                count = round(rate * weight / 100 / len(pods))
                wrong = round(count * bad.get(version, 0.0))
                old = self._counters(version, pod)
                buckets = tuple(bucket + count for bucket in old.buckets)
                more = self.scores.get(version, ())
                scores = tuple(a + b for a, b in zip(old.scores or (0,) * len(more), more, strict=False)) if more else old.scores
                self.totals[pod.uid] = replace(
                    old, total=old.total + count, bad=old.bad + wrong, timed=old.timed + count, buckets=buckets, scores=scores
                )

        if rate and self.route is not None and self.route.mirror is not None and self.route.accepted:
            self._mirrored(self.route.mirror, rate, bad)

    def _mirrored(self, mirror: Mirror, rate: float, bad: dict[int, float]) -> None:
        """Copies of one second's requests."""
        pods = [pod for pod in self.workloads[mirror.version].pods if pod.ready]
        for pod in pods:
            count = round(rate * mirror.percent / 100 / len(pods))
            wrong = round(count * bad.get(mirror.version, 0.0))
            old = self._counters(mirror.version, pod)
            before = old.mirror
            buckets = tuple(bucket + count for bucket in before.buckets or (0,) * len(LATENCY_BOUNDS_MS))
            seen = MirrorCounters(before.total + count, before.bad + wrong, before.timed + count, buckets)
            self.totals[pod.uid] = replace(old, mirror=seen)

    def apply(self, action: actions.Action) -> None:  # noqa: C901, PLR0912 - one case for each action
        """One write, idempotent as the real ones are."""
        match action:
            case actions.CreateVersion() if self.no_versions:
                pass
            case actions.ApplyRoute() if self.frozen_route:
                pass
            case actions.CreateVersion():
                self._create_version(action)
            case actions.CreateJob():
                self._create_job(action)
            case actions.CreateMetricJob():
                self._create_metric_job(action)
            case actions.CreateReproduceJob():
                self._create_reproduce_job(action)
            case actions.CreateLedgerJob():
                self._create_ledger_job(action)
            case actions.CreatePollJob():
                self._create_poll_job(action)
            case actions.DeleteJob(name=name):
                self.poll_jobs.pop(name, None)
                self.jobs.pop(name, None)
                self.ledger_jobs.pop(name, None)
                self.deleted.append(name)
            case actions.ApplyServing(version=version, replicas=replicas):
                self._scale(version, replicas)
            case actions.ApplyRoute():
                self._apply_route(action)
            case actions.DeleteVersion(name=name):
                self.versions = {n: v for n, v in self.versions.items() if v.meta.name != name}
                self.deleted.append(name)
            case actions.DeleteModel():
                self.is_gone = True
            case actions.RemoveAnnotation(key=key, value=value):
                if self.annotations.get(key) == value:
                    del self.annotations[key]
            case actions.KeepRecording() if self.no_config_maps:
                pass
            case actions.KeepRecording(version=version, data=data):
                self.kept.setdefault(version, data)
                self.recordings = tuple(one for one in self.recordings if not (one.over and one.version == version))
            case actions.WriteVersionStatus(version=version, status=status):
                self.versions[version] = replace(self.versions[version], status=status)

    def _apply_route(self, action: actions.ApplyRoute) -> None:
        if self.route is None or self.route.weights != action.weights:
            self.route_writes.append(action.weights)
        if action.mirror != (self.route.mirror if self.route else None):
            self.mirrors.append(action.mirror)
        refused = action.mirror is not None and self.refuses_mirrors
        self.route = RouteState(
            action.weights, not refused, "Accepted: UnsupportedValue" if refused else "", mirror=action.mirror
        )

    def _create_version(self, action: actions.CreateVersion) -> None:
        number = action.spec.number
        if number not in self.versions:
            name = version_name("delays", number)
            self.versions[number] = Version(Meta("ns", name, f"uid-{number}", 1, "1"), action.spec, ModelVersionStatus())
            self.created.append(name)

    def _create_job(self, action: actions.CreateJob) -> None:
        name = job_name("delays", action.version, action.step, action.attempt)
        if name in self.jobs:
            return
        self.created.append(name)
        said = self.answer(action.step, action.version, action) if self.answer else None
        job = said if isinstance(said, Job) else finished(action, said or self._usual(action), self.now)
        self.jobs[name] = replace(job, name=name, version=action.version, step=action.step, attempt=action.attempt)

    def _usual(self, action: actions.CreateJob) -> Answer:
        answer = usual(action)
        if isinstance(answer, PrepareResult):
            return replace(answer, listing=self.listing, data=self.rows or answer.data)
        return answer

    def _create_poll_job(self, action: actions.CreatePollJob) -> None:
        name = poll_job_name("delays", action.number)
        if name in self.poll_jobs:
            return
        self.created.append(name)
        answer = self.poll_says or PollResult(action.input.digest, self.listing, 3, 4096)
        code = {PollResult: 0, Refusal: EXIT_REFUSED}.get(type(answer), EXIT_TRANSIENT)
        container = ContainerState(Container.POLL, "terminated", "Completed", encode_answer(answer), code)
        pod = JobPod("p", "u", "Failed" if code else "Succeeded", self.now, containers=(container,))
        uid = f"uid-{name}-{self.created.count(name)}"
        job = Job(name, uid, 0, POLL_STEP, action.number, self.now, complete=not code, failed=bool(code), pods=(pod,))
        self.poll_jobs[name] = Job(name, uid, 0, POLL_STEP, action.number, self.now) if self.polling else job

    def _create_metric_job(self, action: actions.CreateMetricJob) -> None:
        name = job_name("delays", action.version, METRIC_STEP, action.run)
        if name not in self.jobs:
            self.created.append(name)
            job = self.measure(action, self.now) if self.measure else Job("", "", 0, "", 0, self.now)
            named = {"name": name, "uid": f"uid-{name}", "version": action.version, "step": METRIC_STEP, "attempt": action.run}
            self.jobs[name] = replace(job, **named)  # type: ignore[arg-type]

    def _create_reproduce_job(self, action: actions.CreateReproduceJob) -> None:
        name = job_name("delays", action.version, REPRODUCE_STEP, action.attempt)
        if name not in self.jobs:
            self.created.append(name)
            self.reproductions.append(action)
            job = self.reproduce(action, self.now) if self.reproduce else Job("", "", 0, "", 0, self.now)
            named = {"name": name, "uid": f"uid-{name}", "version": action.version, "attempt": action.attempt}
            self.jobs[name] = replace(job, step=REPRODUCE_STEP, **named)  # type: ignore[arg-type]

    def _create_ledger_job(self, action: actions.CreateLedgerJob) -> None:
        """It ends at once. `perennial_runtime.ledger` is what really stores; tests/shell runs that."""
        name = ledger_job_name("delays", action.last)
        if name in self.ledger_jobs:
            return
        self.created.append(name)
        links = [chain.link(line) for line in action.input.entries]
        last = links[-1]
        answer = self.store_says or LedgerResult(last.number, last.digest, links[0].number, action.input.store)
        if isinstance(answer, LedgerResult):
            self.stored += [one.line for one in links]
        code = {LedgerResult: 0, Refusal: EXIT_REFUSED}.get(type(answer), EXIT_TRANSIENT)
        container = ContainerState(Container.LEDGER, "terminated", "Completed", encode_answer(answer), code)
        pod = JobPod("p", "u", "Failed" if code else "Succeeded", self.now, containers=(container,))
        uid = f"uid-{name}-{self.created.count(name)}"
        self.ledger_jobs[name] = Job(
            name, uid, 0, LEDGER_STEP, action.last, self.now, complete=not code, failed=bool(code), pods=(pod,)
        )

    def _scale(self, version: int, replicas: int) -> None:
        old = self.workloads.get(version)
        if old and old.replicas == replicas:
            return
        self.created.extend([version_name("delays", version)] if old is None else [])
        pods = tuple(
            ServingPod(f"v{version}-{i}", f"pod-{version}-{i}", f"10.0.{version}.{i}", self.now, False, None, False)
            for i in range(replicas)
        )
        self.workloads[version] = Workload(version, replicas, True, pods)

    def _aged(self, workload: Workload) -> Workload:
        """Pods turn ready 3 s after their creation."""
        pods = tuple(
            replace(pod, ready=True, ready_since=pod.created_at + timedelta(seconds=3))
            if (self.now - pod.created_at).total_seconds() >= 3 and workload.version not in self.never_ready
            else pod
            for pod in workload.pods
        )
        aged = replace(workload, pods=pods)
        self.workloads[workload.version] = aged
        return aged

    def _counters(self, version: int, pod: ServingPod) -> PodCounters:
        empty = PodCounters(pod.uid, version, 0, 0, 0, (0,) * len(LATENCY_BOUNDS_MS))
        return self.totals.get(pod.uid, empty)


def usual(action: actions.CreateJob) -> Answer:
    """The answer of a Job that goes well."""
    if isinstance(action.input, EvaluateSpec):
        champion = action.input.champion
        return evaluated(action.version, champion.identity if champion else None)
    if action.step == "prepare":
        return prepared(action.version)
    return TrainResult(f"model-{action.version}", "parity", 1000)


def finished(action: actions.CreateJob, answer: Answer, now: datetime) -> Job:
    """A Job that completed with this answer."""
    said = ContainerState(SPEAKER[action.step], "terminated", "Completed", encode_answer(answer), 0)
    trained = ContainerState("train", "terminated", "Completed", "", 0, image_id="registry/training@sha256:2")
    containers = (trained, said) if action.step == "train" else (said,)
    pod = JobPod("p", "u", "Succeeded", now, containers=containers)
    return Job("", "job-uid", action.version, action.step, action.attempt, now, complete=True, pods=(pod,))


def failed(now: datetime, *containers: ContainerState, **pod: Any) -> Job:
    """A Job that failed with these container states."""
    body = {"phase": "Failed", "containers": containers} | pod
    return Job("", "job-uid", 0, "train", 1, now, failed=True, pods=(JobPod("p", "u", created_at=now, **body),))


def came_to(code: int, said: str = "", **pod: Any) -> Job:
    """A Job of a metric whose container ended like this."""
    container = ContainerState(METRIC_CONTAINER, "terminated", "Completed" if code == 0 else "Error", said, code)
    body = {"phase": "Failed" if code else "Succeeded", "containers": (container,)} | pod
    pods = (JobPod("pod-x", "pu", created_at=START, **body),)
    return Job("", "", 0, METRIC_STEP, 1, START, complete=code == 0, failed=code != 0, pods=pods)


def served(world: World | None = None) -> World:
    """A world in which v1 serves."""
    return (world or World()).until(lambda w: w.status.stable == 1 and w.status.summary == "Serving")
