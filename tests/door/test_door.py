"""The door against an API server that misbehaves: events come through, faults are survived, and nothing is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from random import Random
from types import SimpleNamespace

import pytest

from fakes.watch_api import WatchApi
from perennial.adapters.credentials import Credentials
from perennial.door import Door, _tell_fault
from perennial.ports import Manifest
from perennial.telemetry import Telemetry

SECONDS = 8.0


def job(version: int) -> Manifest:
    meta = {"name": "j", "namespace": "shop", "uid": "u", "resourceVersion": str(version), "labels": {"perennial.dev/model": "m"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}}


class Opened:
    """A door that is open, and what came through it."""

    def __init__(self, api: WatchApi, server: str) -> None:
        self.api = api
        self.events: list[tuple[str, str]] = []
        self.reopenings = 0
        self.telemetry = Telemetry(asyncio.get_running_loop().time)
        configuration = SimpleNamespace(
            host=server, ssl_ca_cert=None, cert_file=None, key_file=None, api_key={}, verify_ssl=True, refresh_api_key_hook=None
        )
        self.door = Door(
            credentials=Credentials(configuration),
            namespaces=(),
            sink=self._take,
            reopened=self._count,
            telemetry=self.telemetry,
            chance=Random(1),
            reopen_seconds=0.02,
            steady_seconds=0.3,
        )

    def _take(self, event: str, manifest: Manifest) -> None:
        self.events.append((event, manifest["metadata"]["resourceVersion"]))

    def _count(self) -> None:
        self.reopenings += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():  # noqa: ASYNC110 - what is awaited happens in other threads
                await asyncio.sleep(0.01)

    def watches(self) -> int:
        return len([path for _, path, _ in self.api.requests if path.endswith("/jobs?watch")])

    async def watching(self) -> None:
        await self.until(lambda: bool(self.api.streams.get("jobs")) and bool(self.api.streams.get("pods")))


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    api = WatchApi()
    opened = Opened(api, await api.start())
    keeping = asyncio.create_task(opened.door.keep_open())
    yield opened
    keeping.cancel()
    await asyncio.wait([keeping])
    for thread in [thread for thread in threading.enumerate() if thread.name == "door"]:
        await asyncio.to_thread(thread.join, SECONDS)
        assert not thread.is_alive(), "a door that was closed still watches"
    await api.stop()


async def test_events_come_through_and_nothing_is_written(opened: Opened) -> None:
    opened.api.items["jobs"] = [job(5)]
    await opened.watching()
    opened.api.put("jobs", "MODIFIED", job(11))
    opened.api.put("jobs", "DELETED", job(12))
    await opened.until(lambda: ("DELETED", "12") in opened.events)
    assert opened.events[-2:] == [("MODIFIED", "11"), ("DELETED", "12")]
    assert {method for method, _, _ in opened.api.requests} == {"GET"}


async def test_only_objects_with_our_label_are_asked_for_but_for_users_own(opened: Opened) -> None:
    await opened.watching()
    await opened.until(lambda: all(opened.api.streams.get(plural) for plural in ("modeldeployments", "httproutes")))
    selectors = {path.rpartition("/")[2]: selector for _, path, selector in opened.api.requests}
    assert selectors["pods"] == selectors["jobs"] == "perennial.dev/model"
    assert selectors["modeldeployments"] == selectors["httproutes"] == ""


@pytest.mark.parametrize(
    "fault",
    [b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n', b'{"type": "MODIFIED", "obj\n'],
    ids=["an error in the stream", "half a line"],
)
async def test_a_fault_that_ends_kopf_reopens_the_watches(opened: Opened, fault: bytes) -> None:
    await opened.watching()
    await opened.until(lambda: opened.reopenings == 1)
    before = opened.watches()
    opened.api.raw("jobs", fault)
    await opened.until(lambda: opened.watches() > before)
    opened.api.put("jobs", "MODIFIED", job(20))
    await opened.until(lambda: ("MODIFIED", "20") in opened.events)


async def test_watches_that_end_are_no_fault(opened: Opened) -> None:
    await opened.watching()
    before = opened.watches()
    opened.api.end_streams()
    await opened.until(lambda: opened.watches() > before)
    opened.api.put("jobs", "MODIFIED", job(30))
    await opened.until(lambda: ("MODIFIED", "30") in opened.events)


async def test_a_door_that_lasted_is_open_and_asks_for_a_relist(opened: Opened) -> None:
    assert opened.reopenings == 0
    await opened.until(lambda: opened.reopenings == 1)
    assert not opened.telemetry.unhealthy()


@pytest.mark.parametrize(
    ("said", "told"), [("in callback request_cancel_callback(<Future>)", False), ("in callback other()", True)]
)
async def test_only_the_fault_of_kopf_that_nothing_follows_from_is_left_out(
    said: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    _tell_fault(asyncio.get_running_loop(), {"message": f"Exception {said}", "exception": AssertionError()})
    assert ("Exception in callback" in caplog.text) is told
