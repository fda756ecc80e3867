"""`pytest tests/unit/manifests --update` writes the golden files anew; look at the difference before you commit it."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", default=False, help="write the golden manifests anew")
