"""What a serving pod costs on the real cluster: seconds to Ready with the image present, and memory after 30,000 requests."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.progress import Progress
from cluster_support.served import seconds_to_ready, served
from demo.ground import Ground
from runtime.serving.bentos import ROWS

REQUESTS = 30_000
RATE = 300.0
RSS_MB = 180.0
READY_SECONDS = 5.0


def test_a_serving_pod_is_ready_soon_and_stays_small(tmp_path: Path) -> None:
    ground = Ground.found(Progress())
    bodies = tmp_path / "rows.jsonl"
    bodies.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with served(ground, ground.cluster.push("perennial/runtime"), tmp_path / "work") as version:
        version.restart()  # the first pod may have waited for its image
        pod = next(pod for pod in version.pods() if pod["status"]["phase"] == "Running")
        ready, before = seconds_to_ready(pod), version.rss_mb(pod)
        seconds = REQUESTS / RATE
        client = ground.client(version.url, bodies, tmp_path, rate=RATE, seconds=seconds)
        with client:
            assert client._process is not None
            client._process.wait(timeout=seconds + 60)
            tally = client.look()
        after = version.rss_mb(pod)
    print(f"ready after {ready:.0f} s; memory {before:.0f} MB -> {after:.0f} MB over {tally.requests} requests")
    print((tmp_path / "loadgen.log").read_text())
    assert tally.requests == REQUESTS
    assert ready <= READY_SECONDS
    assert after <= RSS_MB
