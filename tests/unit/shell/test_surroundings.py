"""What surrounds a model is told in words that stay the same as long as nothing has changed."""

from __future__ import annotations

from collections.abc import Sequence

from fakes.cluster import FakeCluster
from perennial.adapters.surroundings import Surroundings
from perennial.core.observed import Defaults, StoreSettings
from perennial.ports import Keep, Manifest, Unavailable

REFUSED = 'Error creating: pods "shop-v1-train-1-{}" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0'


def refusal(number: int, drawn: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "shops", "name": f"event-{number}"},
        "involvedObject": {"uid": "job"},
        "reason": "FailedCreate",
        "message": ("(combined from similar events): " if number > 1 else "") + REFUSED.format(drawn),
        "lastTimestamp": f"2026-01-01T00:00:0{number}Z",
    }


class Busy(FakeCluster):
    """An API server that answers no list while it is busy."""

    busy = False

    async def list(
        self, kind: str, namespace: str | None = None, labels: str = "", fields: str = "", keep: Keep = lambda item: item
    ) -> tuple[Sequence[Manifest], str]:
        if self.busy:
            raise Unavailable(429, "too many requests")
        return await super().list(kind, namespace, labels, fields, keep)


async def test_a_busy_api_server_does_not_make_the_words_disappear() -> None:
    cluster = Busy()
    now = 0.0
    surroundings = Surroundings(cluster, Defaults("serving", "training", 1, StoreSettings("s3://b/p", "w", "r")), lambda: now)
    cluster.add(refusal(0, "abcde"))
    told = dict(await surroundings.warnings("shops"))
    now, cluster.busy = 60.0, True
    assert dict(await surroundings.warnings("shops")) == told != {}


async def test_another_try_of_the_job_controller_is_told_in_the_same_words() -> None:
    cluster = FakeCluster()
    now = 0.0
    surroundings = Surroundings(cluster, Defaults("serving", "training", 1, StoreSettings("s3://b/p", "w", "r")), lambda: now)
    told = []
    for number, drawn in enumerate(("abcde", "x7k2p", "q99zz")):
        cluster.add(refusal(number, drawn))
        now += 60.0
        told.append(dict(await surroundings.warnings("shops")))
    assert told[0] == told[1] == told[2]
    assert "exceeded quota: small" in told[0]["job"]
    assert "shop-v1-train-1-*" in told[0]["job"]
