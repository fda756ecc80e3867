"""Fixtures that every suite on the cluster has: the running cluster, its images, the operator by Helm once a session, and a
namespace for each test or file.

Nothing is skipped where there is no cluster: the error says how to start one.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.progress import Progress
from cluster_support.place import Place
from demo.ground import Ground, Images

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def ground() -> Ground:
    """The cluster that is up."""
    return Ground.found(Progress())


@pytest.fixture(scope="session")
def images(ground: Ground) -> Images:
    """The project's images, built from this checkout and pushed."""
    return ground.images()


@pytest.fixture(scope="session")
def operator(ground: Ground, images: Images) -> Ground:
    """The operator of this checkout, installed by Helm."""
    ground.install(images)
    return ground


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
