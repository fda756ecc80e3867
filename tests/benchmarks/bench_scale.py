"""A thousand ModelDeployments on one operator: the time to the first child and a status of each, the cost of a restart, memory.

Their namespace has a quota of no pods: the Jobs exist, their pods are refused by the API server, so that what is measured is the
control plane and not a thousand trainings on two nodes. Everything is measured from outside: by watches, by the API server's
audit log, and by the process's own resident memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence, Set
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes import client, config

from benchmarks.report import Report, histogram, quantile
from benchmarks.stand import Stand, without_pods
from cluster.errors import ClusterError
from cluster_support import audit
from cluster_support.localoperator import LocalOperator
from cluster_support.place import Place
from cluster_support.watching import Watch
from perennial.adapters.credentials import Credentials

MODELS = 1000
"""Created at once, beside the one that was there alone."""
ALL = 1 + MODELS
FIRST = "model-0"
QUOTA = "exceeded quota"
AT_ONCE = 16
ALL_SECONDS = 40.0
RESTART_SECONDS = 15.0
ONE_MB, ALL_MB = 130.0, 180.0
QUIET_SECONDS = 8.0
SETTLED_SECONDS = 35.0
"""The words of a thousand refused pods are read every half minute."""
PATIENCE = 240.0
LATE = 20
"""So many of the thousand may be told of their refused pod later: events that Kubernetes drops in a burst come with its next try,
which is up to ten minutes away."""
SETTLING_SECONDS = 900.0
"""Kubernetes' own Job controller takes minutes to be refused a thousand pods and to say so; each refusal is told by a status."""
PASSES = 'perennial_reconcile_total{outcome="'

Manifest = dict[str, Any]


def run(stand: Stand) -> Report:
    """One model, then a thousand more at once, then a restart over all of them."""
    report = Report("scale", "A thousand ModelDeployments", " ".join((__doc__ or "").split("\n\n")[1].split()))
    with stand.place("scale") as place:
        without_pods(place)
        with stand.operator(place) as operator:
            _one(place, operator, report)
            _all(place, operator, report)
            _restart(place, operator, report)
    return report


def _one(place: Place, operator: LocalOperator, report: Report) -> None:
    create(place, [operator.given(place.manifest(FIRST))])
    settled(place)
    report.add("memory of the operator with one", operator.memory_mb(), "MB", ONE_MB)


def _all(place: Place, operator: LocalOperator, report: Report) -> None:
    manifests = [operator.given(place.manifest(f"model-{number}")) for number in range(1, ALL)]
    with Watch(place.ground.cluster.kubeconfig, place.namespace, ("ModelDeployment", "ModelVersion")) as watch:
        wait("the watches to be open", lambda: len(watch.of("ModelDeployment")) == 1)
        cpu, began = operator.cpu_seconds(), time.monotonic()
        create(place, manifests)
        created = time.monotonic() - began
        wait("every model to have a child and a status", lambda: len(reached(watch, began)) == MODELS)
        seconds = list(reached(watch, began).values())
        spent = operator.cpu_seconds() - cpu
    report.add(f"{MODELS:,} created after", created, "s")
    report.add("every one has its first child and its status after", max(seconds), "s", ALL_SECONDS)
    report.add("CPU of the operator meanwhile", spent, "s")
    settled(place, SETTLED_SECONDS, LATE)
    report.add(f"memory of the operator with {ALL:,}", operator.memory_mb(), "MB", ALL_MB)
    report.pictures.append(histogram("seconds from the first creation to child and status", seconds, 2.5, "s"))


def _restart(place: Place, operator: LocalOperator, report: Report) -> None:
    operator.stop()
    waiting = untold(place)
    since, began = audit.now(), time.monotonic()
    operator.start()
    wait("the operator to look at all", lambda: looked(operator) >= ALL, every=0.25)
    report.add("restarted, it has looked at all after", time.monotonic() - began, "s", RESTART_SECONDS)
    report.add("CPU of the restart", operator.cpu_seconds(), "s")
    time.sleep(QUIET_SECONDS)
    written = written_of_others(place, since, waiting)
    report.add("models whose refused pod Kubernetes had not told of by then", len(waiting), "", LATE)
    report.add("writes of the restart, for all others", len(written), "", 0)
    report.add(f"memory with {ALL:,} after the restart", operator.memory_mb(), "MB", ALL_MB)
    if written:
        report.pictures.append("\n".join(["first writes of the restart", *written[:10]]))


def reached(watch: Watch, began: float) -> dict[str, float]:
    """Seconds until each model had both a child and a status, by name."""
    children: dict[str, float] = {}
    states: dict[str, float] = {}
    for seen in watch.recorded():
        if seen.at < began:
            continue
        if seen.kind == "ModelVersion":
            children.setdefault(str(seen.manifest["spec"]["modelDeployment"]), seen.at - began)
        elif seen.manifest.get("status", {}).get("summary"):
            states.setdefault(seen.name, seen.at - began)
    return {name: max(at, states[name]) for name, at in children.items() if name in states and name != FIRST}


def untold(place: Place) -> set[str]:
    """Models of which Kubernetes has not said yet that the quota refused a pod: when it does, that is news, and a write."""
    versions = place.kubectl.list("mver")
    return {one["spec"]["modelDeployment"] for one in versions if QUOTA not in str(one.get("status", {}).get("message", ""))}


def written_of_others(place: Place, since: datetime, models: Set[str]) -> list[str]:
    """Writes of the operator since then, without those of these models and their versions."""
    writes = audit.writes(place.ground.cluster, since, place.namespace)
    names = ((write, write.split()[2].rpartition("/")[2]) for write in writes)
    return [write for write, name in names if name not in models and name.rpartition("-v")[0] not in models]


def looked(operator: LocalOperator) -> float:
    """Passes that this process has ended; the models are woken once each before any is woken again."""
    try:
        lines = operator.scrape().splitlines()
    except ClusterError:  # not up yet
        return 0.0
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(PASSES))


def settled(place: Place, quiet: float = QUIET_SECONDS, late: int = 0) -> None:
    """Until Kubernetes has told of all but at most `late` refused pods, and the operator has written nothing for `quiet` seconds
    but of what it was told only then."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while time.monotonic() < deadline:
        since, waiting = audit.now(), untold(place)
        time.sleep(quiet)
        written = written_of_others(place, since, waiting)
        if len(waiting) <= late and not written:
            return
    words = f"{len(waiting)} models not told of their refused pod (at most {late}); the operator still writes {written[:10]}"
    raise AssertionError(f"after {SETTLING_SECONDS:.0f} s: {words}")


def wait(what: str, reached: Callable[[], bool], every: float = 0.5) -> None:
    """Polls; raises when it does not happen."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {PATIENCE:.0f} s")
        time.sleep(every)


def create(place: Place, manifests: Sequence[Manifest]) -> None:
    """Creates ModelDeployments as an administrator, many at a time."""
    asyncio.run(_create(place, manifests))


async def _create(place: Place, manifests: Sequence[Manifest]) -> None:
    settings = client.Configuration()
    config.load_kube_config(str(place.ground.cluster.kubeconfig), client_configuration=settings)
    credentials = Credentials(settings)
    connection = credentials.connection()
    url = f"{connection.server}/apis/perennial.dev/v1alpha1/namespaces/{place.namespace}/modeldeployments"
    headers = {"User-Agent": "perennial-bench"} | ({"Authorization": f"Bearer {connection.token}"} if connection.token else {})
    connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=credentials.tls())

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one(manifest: Manifest) -> None:
            async with session.post(url, json=manifest) as answer:
                if answer.status != 201:
                    raise AssertionError(f"{manifest['metadata']['name']}: {answer.status} {await answer.text()}")

        await asyncio.gather(*(one(manifest) for manifest in manifests))


def percentiles(report: Report, what: str, milliseconds: Sequence[float], p50: float, p99: float) -> None:
    """Two figures and their distribution."""
    report.add(f"{what}, p50", quantile(milliseconds, 0.5), "ms", p50)
    report.add(f"{what}, p99", quantile(milliseconds, 0.99), "ms", p99)
