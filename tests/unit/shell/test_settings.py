"""Settings: every wrong one is named, with what to do."""

from __future__ import annotations

import pytest

from perennial.bootstrap import is_for
from perennial.manifests.common import OPERATOR_LABEL
from perennial.settings import MetricSource, SettingsError, from_environment
from perennial_runtime.contract import API_VERSION

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


def test_a_model_given_to_another_operator_is_left_to_it() -> None:
    labelled = {"apiVersion": API_VERSION, "kind": "ModelDeployment", "metadata": {"labels": {OPERATOR_LABEL: "trial"}}}
    plain = {**labelled, "metadata": {}}
    assert from_environment(GOOD).operator == ""
    assert from_environment({**GOOD, "PERENNIAL_OPERATOR": "trial"}).operator == "trial"
    assert (is_for(labelled, ""), is_for(labelled, "trial"), is_for(plain, ""), is_for(plain, "trial")) == (
        False,
        True,
        True,
        False,
    )
    assert is_for({**plain, "apiVersion": "batch/v1", "kind": "Job"}, "trial")


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
        ("ATTESTATION", "yes", "'yes': give one of true, false"),
        ("RECORDINGS", "1", "'1': give one of true, false"),
        ("METRIC_SOURCES", "shop", "is no JSON"),
        ("METRIC_SOURCES", '{"name": "shop"}', "is no list"),
        ("METRIC_SOURCES", '[{"name": "shop"}]', "an entry has name and url"),
        ("METRIC_SOURCES", '[{"name": "shop", "url": 7}]', "all of them texts"),
        ("METRIC_SOURCES", '[{"name": "shop", "url": "http://p", "token": "x"}]', "an entry has name and url"),
        ("METRIC_SOURCES", '[{"name": "My Shop", "url": "http://p"}]', "name is 'My Shop'"),
        ("METRIC_SOURCES", '[{"name": "shop", "url": "ftp://p"}]', "the url of shop must be"),
        ("METRIC_SOURCES", '[{"name": "shop", "url": "http://p:x"}]', "the url of shop must be"),
        ("METRIC_SOURCES", '[{"name": "shop", "url": "http://p?query=up"}]', "without user, password, query"),
        ("METRIC_SOURCES", '[{"name": "a", "url": "http://p"}, {"name": "a", "url": "http://q"}]', "has a twice"),
    ],
)
def test_a_wrong_one_is_refused_with_what_to_give(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        from_environment({**GOOD, f"PERENNIAL_{name}": value})
    assert f"PERENNIAL_{name}" in str(caught.value)


def test_sources_of_metrics_are_given_as_json() -> None:
    text = '[{"name": "shop", "url": "http://prometheus:9090/path/"}, {"name": "b", "url": "https://b", "tokenFile": "/t"}]'
    settings = from_environment({**GOOD, "PERENNIAL_METRIC_SOURCES": text})
    assert settings.metric_sources == (
        MetricSource("shop", "http://prometheus:9090/path"),
        MetricSource("b", "https://b", "/t"),
    )
    assert from_environment(GOOD).metric_sources == ()


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    text = '[{"name": "shop", "url": "http://user:hunter2@prometheus:9090"}]'
    with pytest.raises(SettingsError, match="without user, password") as caught:
        from_environment({**GOOD, "PERENNIAL_METRIC_SOURCES": text})
    assert "hunter2" not in str(caught.value)
