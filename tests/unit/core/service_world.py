"""The small cluster of `world` without a route: one Service, pods that come and go one by one, requests to whichever is ready."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from perennial.core import actions
from perennial.core.inputs import version_name
from perennial.core.observed import Observed, RouteState, ServingPod, Workload
from unit.core.world import World, spec

ROUTE = {"parentRefs": [{"name": "gw"}], "path": "/delays"}


def unrouted(replicas: int = 3, **changes: Any) -> Any:
    """The usual wish without a route; steps of 25 and 50 per cent."""
    steps = [{"weight": 25, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
    wish = {"serving": {"replicas": replicas}, "rollout": {"steps": steps, "minimumRequests": 20}}
    return spec(**(wish | changes))


@dataclass
class ServiceWorld(World):
    """`scaled` has every write of replicas: (version, pods)."""

    wish: Any = field(default_factory=unrouted)
    service: bool = False
    frozen_service: bool = False
    """Writes of the Service are refused."""
    stuck: set[str] = field(default_factory=set)
    """Pods that do not get ready."""
    room: int = 1000
    """Pods that the cluster has place for; others stay unready."""
    scaled: list[tuple[int, int]] = field(default_factory=list)
    lost: float = 0.0
    """Requests that met no ready pod."""
    fewest: int = 1000
    """Smallest number of ready pods in any second with traffic."""
    numbers: Iterator[int] = field(default_factory=count)

    def observed(self) -> Observed:
        """What a pass sees."""
        return replace(super().observed(), service=self.service)

    def apply(self, action: actions.Action) -> None:
        """One write."""
        match action:
            case actions.ApplyService() if self.frozen_service:
                pass
            case actions.ApplyService():
                self.service = True
            case actions.DeleteService():
                self.service = False
            case actions.DeleteRoute():
                self.route = None
            case _:
                super().apply(action)

    def ready(self) -> dict[int, int]:
        """Ready pods by version, without versions that have none."""
        found = {number: sum(pod.ready for pod in workload.pods) for number, workload in self.workloads.items()}
        return {number: pods for number, pods in found.items() if pods}

    def replicas(self) -> dict[int, int]:
        """Pods asked for, by version, without zeros."""
        return {number: workload.replicas for number, workload in self.workloads.items() if workload.replicas}

    def traffic(self, rate: float, bad: dict[int, float]) -> None:
        """Requests of one second, spread evenly over the ready pods."""
        if not self.service or not rate:
            super().traffic(rate, bad)
            return
        self.observed()
        ready = self.ready()
        total = sum(ready.values())
        self.fewest = min(self.fewest, total)
        if not total:
            self.lost += rate
            return
        # the base class splits by weights of a route: the same shares
        real, self.route = self.route, RouteState(tuple((v, 100 * pods / total) for v, pods in ready.items()), True)  # type: ignore[misc]
        super().traffic(rate, bad)
        self.route = real

    def _scale(self, version: int, replicas: int) -> None:
        """Pods that are kept stay as they are; the newest go first."""
        old = self.workloads.get(version)
        if old and old.replicas == replicas:
            return
        self.scaled.append((version, replicas))
        self.created.extend([version_name("delays", version)] if old is None else [])
        kept = old.pods[:replicas] if old else ()
        new = tuple(self._pod(version) for _ in range(replicas - len(kept)))
        self.workloads[version] = Workload(version, replicas, True, kept + new)

    def _pod(self, version: int) -> ServingPod:
        number = next(self.numbers)
        return ServingPod(f"v{version}-{number}", f"pod-{number}", f"10.0.0.{number}", self.now, False, None, False)

    def _aged(self, workload: Workload) -> Workload:
        ready_before = {pod.uid for each in self.workloads.values() for pod in each.pods if pod.ready}
        aged = super()._aged(workload)
        place = self.room - len(ready_before - {pod.uid for pod in aged.pods})
        pods = []
        for pod in aged.pods:
            fits = pod.uid not in self.stuck and place > 0
            pods.append(pod if not pod.ready or fits else replace(pod, ready=False, ready_since=None))
            place -= pod.ready and fits
        self.workloads[workload.version] = replace(aged, pods=tuple(pods))
        return self.workloads[workload.version]
