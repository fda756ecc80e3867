"""What the loop adds to the life of a version, and how soon new data is answered by a first Job.

Small models, each a ModelDeployment of its own from apply to Serving. A watch takes the time of every object's events, so nothing
is rounded to Kubernetes' whole seconds. Each moment of a version's life belongs to one of four: a pod starts (from its Job or
Deployment to the first line of its container, or to Ready); the user's code runs (the container train); a step of ours works
(prepare, evaluate, and what stands around the trainer in its pod); or none of these, and it is the loop's turn: the operator's,
and the Job controller's and kubelet's words that it waits for. New data: a model that looks for files every 10 s gets one more
when nothing is under way; it counts from the end of the pod that saw the file to the first Job of its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.report import Report, histogram, median
from benchmarks.stand import Stand
from cluster_support import synthetic
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Manifest, Place
from cluster_support.watching import Seen, Watch

RUNS = 8
ROWS = 2000
MORE_ROWS = 200
KINDS = ("ModelDeployment", "ModelVersion", "Job", "Pod", "Deployment")
STEPS = ("prepare", "train", "evaluate")
ENDED = frozenset({"Rejected", "Failed", "Superseded", "Serving"})
LOOP_SECONDS, FIRST_JOB_SECONDS = 5.0, 1.0
POLLED = {"newData": {"interval": "10s"}}


@dataclass(frozen=True, slots=True)
class Life:
    """Seconds of a version from apply to Serving."""

    total: float
    starts: float
    """Of pods."""
    users: float
    """Of the container train."""
    steps: float
    """Of our own work in pods."""

    @property
    def loop(self) -> float:
        """What is left."""
        return self.total - self.starts - self.users - self.steps


def run(stand: Stand, runs: int = RUNS) -> Report:
    """Lives one after the other, then files one after the other."""
    report = Report("overhead", "What the loop adds", " ".join((__doc__ or "").split("\n\n")[1].split()))
    with stand.place("overhead") as place, stand.operator(place) as operator:
        place.upload(synthetic.table(ROWS))
        with Watch(place.ground.cluster.kubeconfig, place.namespace, KINDS) as watch:
            lives = [_life(place, operator, watch, f"life-{number}") for number in range(runs)]
            answers = list(_answers(place, operator, watch, runs))
    report.add("versions", len(lives), "")
    report.add("from apply to Serving, median", median([one.total for one in lives]), "s")
    report.add("of it starts of pods, median", median([one.starts for one in lives]), "s")
    report.add("of it the trainer's own code, median", median([one.users for one in lives]), "s")
    report.add("of it work of our steps in their pods, median", median([one.steps for one in lives]), "s")
    report.add("of it the loop, median", median([one.loop for one in lives]), "s", LOOP_SECONDS)
    report.add("of it the loop, longest", max(one.loop for one in lives), "s")
    report.add("files that came", len(answers), "")
    report.add("new data seen to the first Job, median", median(answers), "s", FIRST_JOB_SECONDS)
    report.add("new data seen to the first Job, longest", max(answers), "s")
    report.pictures.append(histogram("the loop's seconds of a version", [one.loop for one in lives], 0.5, "s"))
    report.pictures.append(histogram("seconds from new data to the first Job", answers, 0.1, "s"))
    return report


def _life(place: Place, operator: LocalOperator, watch: Watch, name: str) -> Life:
    """One model from apply to Serving."""
    place.apply(operator.given(place.manifest(name)))
    place.serving(1, name=name)
    events = [seen for seen in watch.recorded() if seen.name.startswith(name)]
    began = _first(events, lambda seen: seen.kind == "ModelDeployment")
    ended = _first(events, lambda seen: seen.kind == "ModelVersion" and _status(seen).get("state") == "Serving")
    starts = users = steps = 0.0
    for step in STEPS:
        mine = [seen for seen in events if _step(seen) == step]
        running, over = _first(mine, _works), _first(mine, _succeeded)
        code = _first(mine, _trained) - _first(mine, _trains) if step == "train" else 0.0
        starts += running - _first(mine, lambda seen: seen.kind == "Job")
        users, steps = users + code, steps + over - running - code
    ready = _first(events, lambda seen: seen.kind == "Pod" and not _step(seen) and _is(seen, "Ready"))
    starts += ready - _first(events, lambda seen: seen.kind == "Deployment")
    found = Life(ended - began, starts, users, steps)
    print(f"  {name}: {found.total:.1f} s, of it the loop {found.loop:.2f} s, our steps {found.steps:.2f} s")
    return found


def _answers(place: Place, operator: LocalOperator, watch: Watch, runs: int) -> Iterator[float]:
    """File after file; each version ends by its gate, before it takes any traffic."""
    name = "polled"
    refused = {"gates": [{"metric": "roc_auc", "minimum": 0.999}]}
    wish = place.manifest(name, evaluation=refused, triggers=POLLED, limits={"stopAfterFailures": runs + 2})
    place.apply(operator.given(wish))
    place.until("v1 to end", lambda state: state.state(1) in ENDED, name=name)
    for number in range(2, runs + 2):
        place.upload(synthetic.table(MORE_ROWS, first=ROWS + number * MORE_ROWS), f"{name}-{number}.parquet")
        place.until(f"v{number} to end", lambda state, number=number: state.state(number) in ENDED, name=name)
        events = [seen for seen in watch.recorded() if seen.name.startswith(name)]
        first = _first(events, lambda seen, number=number: seen.kind == "Job" and _version(seen) == number)
        polls = [seen for seen in events if _step(seen) == "poll" and seen.at < first]
        found = first - _last(polls, _succeeded)
        print(f"  {name}-v{number}: first Job {found:.2f} s after the look that saw the file")
        yield found


def _first(events: Sequence[Seen], wanted: Callable[[Seen], bool]) -> float:
    """When it was first so. Raises AssertionError when it never was."""
    at = next((seen.at for seen in events if wanted(seen)), None)
    if at is None:
        raise AssertionError(f"no event that is wanted among {len(events)} of {sorted({seen.name for seen in events})}")
    return at


def _last(events: Sequence[Seen], wanted: Callable[[Seen], bool]) -> float:
    """When it last became so: of the newest object, its first event that is wanted."""
    uid = next((seen.uid for seen in reversed(events) if wanted(seen)), "")
    return _first([seen for seen in events if seen.uid == uid], wanted)


def _step(seen: Seen) -> str:
    return seen.labels.get("perennial.dev/step", "")


def _version(seen: Seen) -> int:
    return int(seen.labels.get("perennial.dev/version", 0))


def _status(seen: Seen) -> Manifest:
    return dict(seen.manifest.get("status") or {})


def _is(seen: Seen, kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in _status(seen).get("conditions", []))


def _succeeded(seen: Seen) -> bool:
    return seen.kind == "Pod" and _status(seen).get("phase") == "Succeeded"


def _containers(seen: Seen, name: str = "") -> Iterator[Manifest]:
    """States of a pod's containers that have begun, those that initialise it among them."""
    if seen.kind == "Pod":
        for group in ("initContainerStatuses", "containerStatuses"):
            yield from (one["state"] for one in _status(seen).get(group, []) if name in ("", one["name"]))


def _works(seen: Seen) -> bool:
    return any("waiting" not in state for state in _containers(seen))


def _trains(seen: Seen) -> bool:
    return any("waiting" not in state for state in _containers(seen, "train"))


def _trained(seen: Seen) -> bool:
    return any("terminated" in state for state in _containers(seen, "train"))
