"""Memory limits are compared as Kubernetes reads them."""

from __future__ import annotations

import pytest

from perennial.manifests.quantities import in_bytes, larger


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512Mi", 512 * 2**20),
        ("1.5G", 1.5e9),
        ("2e9", 2e9),
        ("1000", 1000.0),
        ("", 0.0),
        ("much", 0.0),
        ("1Xi", 0.0),
        ("1..2Gi", 0.0),
    ],
)
def test_a_quantity_in_bytes(text: str, expected: float) -> None:
    assert in_bytes(text) == expected


def test_the_larger_one_is_given_back_as_it_was_written() -> None:
    assert larger("2Gi", "8G") == "8G"
    assert larger("2Gi", "256Mi") == "2Gi"
    assert larger("2Gi", "") == "2Gi"
