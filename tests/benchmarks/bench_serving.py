"""What a serving pod costs in the cluster: seconds until it is Ready, and its memory after 30,000 requests.

The image is on the node already. Ready is timed from outside, from the pod's creation to its condition, both as a watch tells
them; memory is the resident set of the server process on its node. Latency beside a bare ASGI application is measured apart, by
tests/benchmarks/serving_latency.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_scale import wait
from benchmarks.report import Report
from benchmarks.stand import Stand
from cluster_support import synthetic
from cluster_support.place import Place
from cluster_support.watching import Watch

REQUESTS = 30_000
RATE = 300.0
RSS_MB = 180.0
READY_SECONDS = 5.0
STARTS = 5
ROLE = "perennial.dev/role=serve"


def run(stand: Stand) -> Report:
    """One version served; its pod started anew a few times, then loaded."""
    report = Report("serving", "A serving pod", " ".join((__doc__ or "").split("\n\n")[1].split()))
    with stand.place("serving") as place, stand.operator(place) as operator:
        place.upload(synthetic.table(2000))
        place.apply(operator.given(place.manifest("shop")))
        place.serving(1)
        with Watch(place.ground.cluster.kubeconfig, place.namespace, ("Pod",)) as watch:
            wait("the watch to be open", lambda: any(is_ready(pod) for pod in watch.of("Pod")))
            starts = [start(place, watch) for _ in range(STARTS)]
        report.add(f"created to Ready, longest of {STARTS}", max(starts), "s", READY_SECONDS)
        before = rss_mb(place)
        bodies = synthetic.bodies(synthetic.table(2000, first=2000))
        address = str(place.state().status["address"])
        with place.client(address, bodies, rate=RATE, seconds=REQUESTS / RATE) as client:
            while client.look().requests < REQUESTS and not client.problem:
                time.sleep(1.0)
            tally = client.stop()
        report.add("memory before", before, "MB")
        report.add(f"memory after {tally.requests:,} requests at {RATE:g} a second", rss_mb(place), "MB", RSS_MB)
        report.add("failed requests", sum(tally.failures_but().values()), "", 0)
    return report


def start(place: Place, watch: Watch) -> float:
    """Deletes the serving pod; seconds from the next one's creation to its readiness."""
    old = {seen.uid for seen in watch.recorded()}
    place.kubectl.run("delete", "pod", f"--selector={ROLE}", "--wait=false")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        events = [seen for seen in watch.recorded() if seen.uid not in old and "perennial.dev/step" not in seen.labels]
        ready = next((seen.at for seen in events if is_ready(seen.manifest)), None)
        if ready is not None:
            return ready - min(seen.at for seen in events if seen.type == "ADDED")
        time.sleep(0.1)
    raise AssertionError("the new serving pod was not ready within 120 s")


def is_ready(pod: dict[str, object]) -> bool:
    """Whether the condition Ready is True."""
    status = dict(pod.get("status") or {})  # type: ignore[call-overload]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))


def rss_mb(place: Place) -> float:
    """Resident memory of the server process of the namespace's serving pod, in MB (10^6 bytes), read on its node."""
    pods = [pod for pod in place.kubectl.list("pods", ROLE) if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
    uids = [str(pod["metadata"]["uid"]) for pod in pods]
    found = [_rss(process) for process in Path("/proc").iterdir() if process.name.isdigit() and _belongs(process, uids)]
    if not found:
        raise AssertionError(f"no server process of the pods {uids} runs on this machine")
    return max(found)


def _belongs(process: Path, uids: Sequence[str]) -> bool:
    try:
        groups = (process / "cgroup").read_text()
        ours = any(uid in groups or uid.replace("-", "_") in groups for uid in uids)
        return ours and b"perennial_runtime" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _rss(process: Path) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text())
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0
