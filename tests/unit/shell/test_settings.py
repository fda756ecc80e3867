"""Settings: every wrong one is named, with what to do."""

from __future__ import annotations

import pytest

from perennial.settings import SettingsError, from_environment

GOOD = {
    "PERENNIAL_SERVING_IMAGE": "registry/runtime@sha256:1",
    "PERENNIAL_TRAINING_IMAGE": "registry/training@sha256:2",
    "PERENNIAL_STORE_URI": "s3://bucket/prefix/",
}


def test_three_settings_are_enough() -> None:
    settings = from_environment(GOOD)
    assert settings.store_uri == "s3://bucket/prefix"
    assert (settings.workers, settings.namespaces, settings.metrics_port) == (4, (), 8081)


def test_namespaces_are_separated_by_commas() -> None:
    assert from_environment({**GOOD, "PERENNIAL_NAMESPACES": "a, b,"}).namespaces == ("a", "b")


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_one_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        from_environment({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKERS", "many", "'many': give a number from 1 to 64"),
        ("WORKERS", "0", "'0': give a number from 1 to 64"),
        ("METRICS_PORT", "99999", "give a number from 1 to 65535"),
        ("LOG_FORMAT", "xml", "'xml': give one of json, text"),
        ("LOG_LEVEL", "loud", "give one of debug, info, warning, error"),
        ("STORE_URI", "gs://bucket", "give s3://<bucket>/<prefix>"),
    ],
)
def test_a_wrong_one_is_refused_with_what_to_give(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        from_environment({**GOOD, f"PERENNIAL_{name}": value})
    assert f"PERENNIAL_{name}" in str(caught.value)
