"""Writes are counted in the API server's audit log: none may get lost where the log is rotated, and none be counted twice."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.api import Cluster
from cluster.settings import Settings
from cluster_support import audit
from perennial.adapters.cluster import FIELD_MANAGER

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FILES = {
    "current": "audit.log",
    "rotated": "audit-2026-01-01T11-59-00.000.log",
    "older": "audit-2026-01-01T11-30-00.000.log",
    "other": "audit-policy.json",
}


def cluster(folder: Path, **files: list[str]) -> Cluster:
    """An embedded cluster whose state directory holds these files with these lines."""
    for name, lines in {"other": ["{}"], **files}.items():
        (folder / FILES[name]).write_text("".join(lines))
    return Cluster.embedded(Settings(folder, folder, folder))


def line(
    seconds: float, name: str = "m", *, agent: str = f"{FIELD_MANAGER}/1", namespace: str = "shop", took: float = 0.01
) -> str:
    """A patch of a ModelDeployment that arrived `seconds` after noon."""
    arrived = NOON + timedelta(seconds=seconds)
    event = {
        "verb": "patch",
        "userAgent": agent,
        "objectRef": {"resource": "modeldeployments", "subresource": "status", "namespace": namespace, "name": name},
        "responseStatus": {"code": 200},
        "requestReceivedTimestamp": stamp(arrived),
        "stageTimestamp": stamp(arrived + timedelta(seconds=took)),
    }
    return json.dumps(event) + "\n"


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def names(found: list[str]) -> list[str]:
    return [text.split()[2] for text in found]


def test_only_writes_of_an_operator_in_the_namespace_since_then_count(tmp_path: Path) -> None:
    lines = [
        line(-60),
        line(-0.001, "just before"),
        line(1, "kubectl's", agent="kubectl/v1"),
        line(2, "elsewhere", namespace="other"),
        line(3, "ours"),
        line(4, "the door's", agent="kopf/1.45"),
    ]
    found = audit.writes(cluster(tmp_path, current=lines), NOON, "shop")
    assert found == [
        "patch modeldeployments/status shop/ours 200",
        "patch modeldeployments/status shop/the door's 200",
    ]


def test_what_was_rotated_out_of_the_log_is_read_too(tmp_path: Path) -> None:
    rotated, current = [line(-60), line(1, "a"), line(2, "b")], [line(3, "c"), line(4, "d")]
    assert names(audit.writes(cluster(tmp_path, current=current, rotated=rotated), NOON)) == [
        "shop/a",
        "shop/b",
        "shop/c",
        "shop/d",
    ]


def test_several_rotated_files_are_read_from_the_newest_back(tmp_path: Path) -> None:
    one = cluster(tmp_path, current=[], rotated=[line(2, "b")], older=[line(-1), line(1, "a")])
    assert names(audit.writes(one, NOON)) == ["shop/a", "shop/b"]


@pytest.mark.parametrize("lines", [[], [line(1, "a"), line(2, "b")]], ids=["an empty log", "a log that begins later"])
def test_a_log_that_does_not_reach_back_is_no_proof(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(AssertionError, match="is not older than 2026-01-01 12:00"):
        audit.writes(cluster(tmp_path, current=lines), NOON)


def test_a_request_that_began_before_and_ended_after_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="writes may be lost"):
        audit.writes(cluster(tmp_path, current=[line(-60, took=90), line(31, "b")]), NOON)


def test_lines_of_long_ago_are_not_parsed(tmp_path: Path) -> None:
    lines = ["not JSON\n", line(-60), line(1, "a")]
    assert names(audit.writes(cluster(tmp_path, current=lines, rotated=["nor this\n"]), NOON)) == ["shop/a"]


def test_a_line_that_is_a_little_out_of_order_is_found(tmp_path: Path) -> None:
    lines = [line(-60), line(0.1, "late", took=0.2), line(-0.05), line(0.2, "b")]
    assert names(audit.writes(cluster(tmp_path, current=lines), NOON)) == ["shop/late", "shop/b"]


def test_a_log_that_is_rotated_while_it_is_read_counts_once(tmp_path: Path) -> None:
    one = cluster(tmp_path, current=[line(1, "a")], older=[line(-60)])
    (tmp_path / FILES["rotated"]).hardlink_to(tmp_path / FILES["current"])
    assert names(audit.writes(one, NOON)) == ["shop/a"]


def test_a_cluster_of_the_users_has_no_audit_log_here(tmp_path: Path) -> None:
    theirs = Cluster(Settings(tmp_path, tmp_path, tmp_path), tmp_path / "config", "registry", None)
    with pytest.raises(AssertionError, match="unset PERENNIAL_KUBECONFIG"):
        audit.events(theirs, NOON)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"unfinished", []),
        (b"one\n", [b"one"]),
        (b"one\ntwo\nunfini", [b"two", b"one"]),
        (b"one\n\nthree\n", [b"three", b"", b"one"]),
    ],
)
def test_lines_come_from_the_end_whatever_the_size_of_a_block(content: bytes, expected: list[bytes], block: int) -> None:
    assert list(audit.from_the_end(io.BytesIO(content), block)) == expected
