"""Versions as numbers: is the Go on PATH new enough."""

import pytest

from cluster.versions import GO_MINIMUM, at_least, parse


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("1.27", (1, 27)),
        ("v1.35.4", (1, 35, 4)),
        ("go1.27rc1", (1, 27)),
        ("1.26.8-custom", (1, 26, 8)),
        ("devel", ()),
        ("", ()),
    ],
)
def test_a_version_is_read_up_to_its_suffix(text: str, numbers: tuple[int, ...]) -> None:
    assert parse(text) == numbers


@pytest.mark.parametrize("found", ["go1.26.7", "go1.26.10", "go1.27", "go2.0"])
def test_the_same_or_a_newer_go_is_used(found: str) -> None:
    assert at_least(found, GO_MINIMUM)


@pytest.mark.parametrize("found", ["go1.26.6", "go1.9.9", "go1.19.8", "devel"])
def test_an_older_or_unreadable_go_is_not(found: str) -> None:
    assert not at_least(found, GO_MINIMUM)
