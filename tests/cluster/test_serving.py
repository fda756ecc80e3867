"""A serving pod on the real cluster, by the operator's own manifests: a rolling update loses no request."""

from __future__ import annotations

import json
from pathlib import Path

from cluster_support.served import served
from demo.ground import Ground
from runtime.serving.bentos import ROWS

RATE = 100.0


def test_a_rolling_update_at_100_requests_a_second_loses_none(ground: Ground, tmp_path: Path) -> None:
    bodies = tmp_path / "rows.jsonl"
    bodies.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    with served(ground, ground.cluster.push("perennial/runtime"), tmp_path / "work", replicas=2) as version:
        first = {pod["metadata"]["uid"] for pod in version.pods()}
        with ground.client(version.url, bodies, tmp_path, rate=RATE, seconds=300) as client:
            version.restart()
            tally = client.stop()
        assert not client.problem.startswith("the load generator ended with 2")
        assert first.isdisjoint(pod["metadata"]["uid"] for pod in version.pods())
    assert tally.requests > 5 * RATE
    assert {name: seen.failures for name, seen in tally.versions.items()} == {"delays-v2": 0}, _lost(tmp_path)


def _lost(folder: Path) -> list[str]:
    records = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    start = records[0]["scheduled"]
    return [f"{one['scheduled'] - start:.2f} s: {one['status']} {one['error']}" for one in records if not one["ok"]][:20]
