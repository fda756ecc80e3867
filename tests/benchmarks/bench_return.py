"""How long a return to an earlier version takes, once a person or a breach asks for it.

Two versions, both promoted once, and the annotation `perennial.dev/rollback-to` from one to the other and back under 100 requests
a second, open loop. A return is timed from the start of the kubectl that annotates, so that kubectl's own start is in it, to the
last answer of the version that is left. Warm: the target's pods are still there. From zero: they are made first; their start is
from the pod's creation to its condition Ready, as a watch tells them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from benchmarks.lane import BAD_FOR_ALL, Lane, Manifest, road, trainer
from benchmarks.report import Report, histogram, median
from benchmarks.stand import Stand

RUNS = 8
"""Of each kind."""
WARM_SECONDS, BEYOND_START_SECONDS = 2.0, 3.0
QUICK = {"steps": [{"weight": 50, "hold": "5s"}], "minimumRequests": 100}
READY_SECONDS = 3.0
"""A pod that became ready a moment ago is no warm one: it may not have requests yet."""
AFTER_SECONDS = 2.5
"""After the route's change, until no client can still be answered the old way."""


@dataclass(frozen=True, slots=True)
class Return:
    """One return."""

    seconds: float
    start: float
    """Seconds of its pod's start; 0 where it was there."""

    @property
    def beyond(self) -> float:
        """What it took beyond the pod's start."""
        return self.seconds - self.start


def run(stand: Stand, runs: int = RUNS) -> Report:
    """Warm ones first, then those from zero."""
    report = Report("return", "Return to an earlier version", " ".join((__doc__ or "").split("\n\n")[1].split()))
    image = trainer(stand)
    with road(stand, "return") as (place, operator, watch):
        lane = Returning(place, operator, watch, "model", image)
        warm, cold = lane.runs(runs)
    report.add("to a warm version: runs", len(warm), "")
    report.add("to a warm version: request to last answer of the other, median", median([one.seconds for one in warm]), "s")
    report.add("to a warm version: longest", max(one.seconds for one in warm), "s", WARM_SECONDS)
    report.add("to one at zero: runs", len(cold), "")
    report.add("to one at zero: request to last answer of the other, median", median([one.seconds for one in cold]), "s")
    report.add("to one at zero: longest", max(one.seconds for one in cold), "s")
    report.add("to one at zero: start of its pod, median", median([one.start for one in cold]), "s")
    report.add("to one at zero: beyond the pod's start, median", median([one.beyond for one in cold]), "s")
    report.add("to one at zero: beyond the pod's start, longest", max(one.beyond for one in cold), "s", BEYOND_START_SECONDS)
    report.pictures.append(histogram("to a warm version: seconds", [one.seconds for one in warm], 0.25, "s"))
    report.pictures.append(histogram("to one at zero: seconds beyond the pod's start", [one.beyond for one in cold], 0.25, "s"))
    return report


class Returning(Lane):
    """Two versions, and the way from one to the other."""

    def runs(self, count: int) -> tuple[list[Return], list[Return]]:
        """Serves v1, promotes v2, then returns between them."""
        self.ship(QUICK, BAD_FOR_ALL)
        self.until("v1 to serve", lambda: self.state() == "Serving")
        self.ship(QUICK, BAD_FOR_ALL)
        with self.client() as records:
            self.until("v2 to serve all", lambda: self.state() == "Serving" and self.routed() == {2: 100})
            self.until("v2 to answer all", lambda: {one["version"] for one in records()[-100:]} == {self.version}, every=0.5)
            warm = [self.one(1 + turn % 2, records, warm=True) for turn in range(count)]
            cold = [self.one(1 + (count + turn) % 2, records, warm=False) for turn in range(count)]
        failed = [one for one in records() if not one["ok"]]
        if failed:
            raise AssertionError(f"{len(failed)} requests failed on the way, the first with {failed[0]}")
        return warm, cold

    def one(self, target: int, records: Callable[[], list[Manifest]], *, warm: bool) -> Return:
        """One return to a version, when its pods have been ready for a while, or are gone."""
        name = f"{self.name}-v{target}"
        if warm:
            self.until(f"{name} to be warm", lambda: any(ready_for(pod) > READY_SECONDS for pod in self.pods(target)))
        else:
            self.until(f"the pods of {name} to go", lambda: not self.pods(target))
        asked = time.time()
        self.place.kubectl.annotate("mdep", self.name, "perennial.dev/rollback-to", str(target))
        self.until(f"all to go to {name}", lambda: self.routed() == {target: 100}, every=0.02)
        time.sleep(AFTER_SECONDS)
        left = [one["done"] for one in records() if one["version"] != name and one["done"] > asked]
        found = Return(max(left, default=asked) - asked, 0.0 if warm else self.start_of(self.pods(target)[0]))
        how = "warm" if warm else f"from zero, of them its pod's start {found.start:.2f} s"
        print(f"  to {name}: {found.seconds:.2f} s, {how}")
        return found

    def pods(self, number: int) -> list[Manifest]:
        """Serving pods of a version that exist, those that are ending among them."""
        wanted = {"perennial.dev/model": self.name, "perennial.dev/version": str(number), "perennial.dev/role": "serve"}
        return [pod for pod in self.watch.of("Pod") if wanted.items() <= pod["metadata"]["labels"].items()]

    def start_of(self, pod: Manifest) -> float:
        """Seconds from a pod's creation to Ready, by the watch's clock."""
        events = [seen for seen in self.watch.recorded() if seen.uid == pod["metadata"]["uid"]]
        return next(seen.at for seen in events if ready_since(seen.manifest)) - events[0].at


def ready_since(pod: Manifest) -> str:
    """When a pod became ready; empty while it is not."""
    conditions = (pod.get("status") or {}).get("conditions", [])
    return next((str(one["lastTransitionTime"]) for one in conditions if one["type"] == "Ready" and one["status"] == "True"), "")


def ready_for(pod: Manifest) -> float:
    """Seconds since a pod became ready, to the second; 0 while it is not, or is ending."""
    since = ready_since(pod)
    if not since or "deletionTimestamp" in pod["metadata"]:
        return 0.0
    return time.time() - datetime.fromisoformat(since).timestamp()
