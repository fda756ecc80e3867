"""Fixtures that every suite on the cluster has: the running cluster, its images, the operator by Helm once a session.

Nothing is skipped where there is no cluster: the error says how to start one.
"""

from __future__ import annotations

import pytest

from cluster.progress import Progress
from demo.ground import Ground, Images


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
