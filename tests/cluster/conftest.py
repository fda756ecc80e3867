"""Fixtures of the cluster suites: the running cluster, the operator by Helm once a session, and a namespace for each test.

Run them with `make test`, or on a cluster that is up: `pytest tests/cluster`. Nothing is skipped where there is no cluster:
the error says how to start one.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_support.fixtures import ground, images, operator
from cluster_support.place import Place
from demo.ground import Ground, Images

__all__ = ["ground", "images", "operator"]
_numbers = itertools.count(1)


@pytest.fixture
def place(operator: Ground, images: Images, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A namespace of the test's own, with the store's keys; removed afterwards."""
    yield from _place(operator, images, tmp_path, request.node.name)


@pytest.fixture(scope="module")
def shared_place(
    operator: Ground, images: Images, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """One namespace for all tests of a file."""
    yield from _place(operator, images, tmp_path_factory.mktemp("place"), request.node.path.stem)


def _place(ground: Ground, images: Images, folder: Path, title: str) -> Iterator[Place]:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower().removeprefix("test_")).strip("-")[:24].strip("-")
    name = f"t-{words}-{os.getpid()}-{next(_numbers)}"
    kubectl = ground.namespace(name)
    try:
        yield Place(ground, images, kubectl, folder)
    finally:
        ground.delete_namespaces(name)
