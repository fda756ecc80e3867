"""The operator's chart, rendered: settings arrive, rights are the least, pods are restricted, bad values are refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from chart_support import CHARTS, SYSTEM, VALUES, HelmError, granted, helm, is_for_people, one, rendered, template
from perennial.adapters.kinds import CONFIG_MAPS, EVENTS, GATEWAY_CLASSES, GATEWAYS, RESOURCES
from perennial.settings import PREFIX, VARIABLES, from_environment

Manifest = dict[str, Any]


def container(documents: list[Manifest]) -> Manifest:
    found: Manifest = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def environment(documents: list[Manifest]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(documents)["env"]}


def cluster_role(documents: list[Manifest]) -> Manifest:
    """The operator's own."""
    return one([document for document in documents if not is_for_people(document)], "ClusterRole")


def rights(documents: list[Manifest]) -> set[tuple[str, str, str]]:
    """Those of the operator."""
    return granted([document for document in documents if not is_for_people(document)])


def test_lint_finds_nothing() -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm(
        "lint", str(CHARTS / "perennial"), "--kube-version=v1.35.4", values=VALUES
    )


def test_the_operator_can_read_every_setting_that_the_chart_gives() -> None:
    found = environment(
        rendered(watchNamespaces=["a", "b"], workers=7, operatorName="second", logLevel="debug", logFormat="text")
    )
    assert found.keys() == {PREFIX + name for name, _ in VARIABLES}
    settings = from_environment(found)
    assert settings.serving_image == VALUES["images"]["serving"]
    assert settings.training_image == VALUES["images"]["training"]
    assert settings.store_uri == "s3://models/perennial"
    assert (settings.namespaces, settings.workers, settings.operator) == (("a", "b"), 7, "second")
    assert settings.metric_sources == ()
    assert settings.attestation is False
    assert settings.recordings is True
    assert (settings.log_level, settings.log_format, settings.metrics_port) == ("debug", "text", 8081)


def test_sources_of_metrics_arrive_with_their_tokens_as_files() -> None:
    secret = {"name": "prometheus-token", "key": "bearer"}
    sources = [
        {"name": "shop", "url": "http://prometheus.monitoring:9090", "tokenSecret": secret},
        {"name": "other", "url": "https://metrics.example/prom"},
    ]
    documents = rendered(metricSources=sources)
    shop, other = from_environment(environment(documents)).metric_sources
    assert (shop.url, other.url, other.token_file) == ("http://prometheus.monitoring:9090", "https://metrics.example/prom", "")
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    (item,) = volume["secret"]["items"]
    assert shop.token_file == f"{mount['mountPath']}/{item['path']}"
    assert (volume["secret"]["secretName"], item["key"], mount["readOnly"]) == ("prometheus-token", "bearer", True)
    assert volume["secret"]["optional"] is True


def test_without_namespaces_the_operator_works_in_all_of_them() -> None:
    assert from_environment(environment(rendered())).namespaces == ()


def test_only_one_operator_runs_at_a_time() -> None:
    spec = one(rendered(), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_pod_meets_the_restricted_profile_with_a_read_only_root() -> None:
    pod = one(rendered(), "Deployment")["spec"]["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_probes_ask_the_port_that_the_operator_listens_on() -> None:
    found = container(rendered(metrics={"port": 9000}))
    assert found["ports"][0]["containerPort"] == 9000
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert {"name": "PERENNIAL_METRICS_PORT", "value": "9000"} in found["env"]


@pytest.mark.parametrize("namespaces", [[], ["a", "b"]], ids=["cluster-wide", "named namespaces"])
def test_rights_have_no_wildcard_and_no_secret(namespaces: list[str]) -> None:
    for group, name, verb in rights(rendered(watchNamespaces=namespaces)):
        assert "*" not in {group, name, verb}
        assert name not in {"secrets", "pods/exec", "roles", "rolebindings", "serviceaccounts/token"}
        assert verb not in {"escalate", "bind", "impersonate", "deletecollection"}


def test_rights_cover_every_kind_that_the_operator_reads() -> None:
    found = rights(rendered())
    for kind, resource in RESOURCES.items():
        verb = {CONFIG_MAPS: "get", GATEWAYS: "get", GATEWAY_CLASSES: "get", EVENTS: "list"}.get(kind, "watch")
        assert (resource.group, resource.plural, verb) in found, kind


ROUTERS = {"services", "httproutes"}
"""A model that gets or loses its spec.serving.route lives on, and what carried its requests before has to go."""
EXPIRING = "modeldeployments"
"""A smoke run whose maker was killed has no owner that would take it along."""


@pytest.mark.parametrize("namespaces", [[], ["a"]], ids=["cluster-wide", "named namespaces"])
def test_gateways_and_their_classes_can_be_read_and_no_more(namespaces: list[str]) -> None:
    found = granted([cluster_role(rendered(watchNamespaces=namespaces))])
    assert {(name, verb) for _, name, verb in found if name.startswith("gateway")} == {
        ("gateways", "get"),
        ("gatewayclasses", "get"),
    }


def test_no_right_to_delete_what_owner_references_remove() -> None:
    deletable = {name for _, name, verb in rights(rendered()) if verb == "delete"}
    assert deletable == {"modelversions", "jobs", EXPIRING, *ROUTERS}


def test_the_only_configmap_that_can_be_read_is_the_stores() -> None:
    rules = [rule for rule in cluster_role(rendered())["rules"] if rule["resources"] == ["configmaps"]]
    assert [(rule.get("resourceNames"), rule["verbs"]) for rule in rules] == [(["perennial-store"], ["get"]), (None, ["create"])]


def test_without_recordings_no_configmap_can_be_made() -> None:
    documents = rendered(recordings={"enabled": False})
    assert "create" not in {verb for _, name, verb in rights(documents) if name == "configmaps"}
    assert from_environment(environment(documents)).recordings is False


def test_named_namespaces_get_roles_of_their_own_and_the_cluster_none_over_models() -> None:
    documents = rendered(watchNamespaces=["a", "b"])
    roles = {document["metadata"]["namespace"] for document in documents if document["kind"] == "Role"}
    bindings = {document["metadata"]["namespace"] for document in documents if document["kind"] == "RoleBinding"}
    cluster = {(name, verb) for _, name, verb in granted([cluster_role(documents)])}
    assert roles == bindings == {"a", "b"}
    assert {name for name, _ in cluster} == {"customresourcedefinitions", "gateways", "gatewayclasses", "namespaces"}
    assert {verb for _, verb in cluster} == {"get", "list", "watch"}


def test_an_operator_of_the_whole_cluster_does_not_list_namespaces() -> None:
    assert "namespaces" not in {name for _, name, _ in rights(rendered())}


def test_every_binding_is_for_the_operators_own_account() -> None:
    documents = rendered(watchNamespaces=["a"])
    account = one(documents, "ServiceAccount")["metadata"]
    for document in documents:
        if document["kind"].endswith("Binding"):
            subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
            assert document["subjects"] == [subject]


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"image": ""}, "image is empty: set the operator's image"),
    ({"images": {"serving": "", "training": "t"}}, "images.serving is empty"),
    ({"images": {"serving": "s", "training": ""}}, "images.training is empty"),
    ({"store": {"uri": ""}}, "store.uri is empty"),
    ({"store": {"uri": "gs://models"}}, "/store/uri"),
    ({"store": {"uri": "s3://m", "embedded": {"enabled": True}}}, "additional properties 'embedded'"),
    ({"images": {"serving": "s", "training": "t", "operator": "o"}}, "additional properties 'operator'"),
    ({"replicas": 2}, "additional properties 'replicas'"),
    ({"workers": 0}, "/workers"),
    ({"workers": "many"}, "/workers"),
    ({"watchNamespaces": "team-a"}, "/watchNamespaces"),
    ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
    ({"logLevel": "loud"}, "/logLevel"),
    ({"operatorName": "my operator"}, "/operatorName"),
    ({"metrics": {"port": 80}}, "/metrics/port"),
    ({"metricSources": [{"name": "shop"}]}, "missing property 'url'"),
    ({"metricSources": [{"name": "My Shop", "url": "http://p"}]}, "/metricSources/0/name"),
    ({"metricSources": [{"name": "shop", "url": "prometheus:9090"}]}, "/metricSources/0/url"),
    ({"metricSources": [{"name": "shop", "url": "http://user:password@p"}]}, "/metricSources/0/url"),
    ({"metricSources": [{"name": "shop", "url": "http://p", "token": "x"}]}, "additional properties 'token'"),
    ({"metricSources": [{"name": "a", "url": "http://p"}, {"name": "a", "url": "http://q"}]}, "metricSources has a name twice"),
    ({"alerts": {"enabled": "yes"}}, "/alerts/enabled"),
    ({"dashboard": {"enabled": "yes"}}, "/dashboard/enabled"),
    ({"attestation": {"enabled": "yes"}}, "/attestation/enabled"),
    ({"recordings": {"enabled": 1}}, "/recordings/enabled"),
    ({"attestation": {"enabled": True, "verbs": []}}, "additional properties 'verbs'"),
    ({"roles": {"aggregate": "admin"}}, "/roles/aggregate"),
)


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words for _, words in BAD])
def test_a_bad_value_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as caught:
        rendered(**changes)
    assert words in str(caught.value)


def test_a_cluster_that_is_too_old_is_refused_in_words() -> None:
    with pytest.raises(HelmError, match=r"Perennial needs 1\.31 or newer"):
        helm("template", "perennial", str(CHARTS / "perennial"), "--kube-version=v1.30.2", values=VALUES)


def test_alerts_come_only_when_asked_for() -> None:
    assert "PrometheusRule" not in {document["kind"] for document in rendered()}


def test_alerts_have_the_labels_that_a_prometheus_looks_for() -> None:
    rule = one(rendered(alerts={"enabled": True, "labels": {"release": "prom"}}), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prom"


def test_alerts_are_about_the_operator_of_this_release() -> None:
    rules = one(rendered(alerts={"enabled": True}), "PrometheusRule")["spec"]["groups"][0]["rules"]
    for rule in rules:
        assert rule["expr"].count("{") == rule["expr"].count(f'{{namespace="{SYSTEM}"'), rule["alert"]


def test_the_dashboard_comes_only_when_asked_for() -> None:
    assert "ConfigMap" not in {document["kind"] for document in rendered()}


def test_the_dashboard_is_found_by_grafana_and_is_what_was_generated() -> None:
    found = one(rendered(dashboard={"enabled": True, "labels": {"team": "ml"}}), "ConfigMap")
    assert found["metadata"]["labels"].items() >= {"grafana_dashboard": "1", "team": "ml"}.items()
    assert found["data"] == {"perennial.json": (CHARTS / "perennial" / "files" / "dashboard.json").read_text()}


def test_two_releases_share_nothing_that_belongs_to_no_namespace() -> None:
    values = {**VALUES, "attestation": {"enabled": True}}
    words = ("template", "perennial", str(CHARTS / "perennial"), "--namespace=elsewhere", "--kube-version=v1.35.4")
    other = [document for document in yaml.safe_load_all(helm(*words, values=values)) if document]
    found, others = (
        {(one["kind"], one["metadata"]["name"]) for one in documents if "namespace" not in one["metadata"]}
        for documents in (rendered(**values), other)
    )
    assert len(found) == len(others) == 7
    assert not found & others


def test_an_upgrade_with_the_same_values_renders_the_same() -> None:
    assert template() == template()
