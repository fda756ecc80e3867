"""The embedded cluster as its users meet it: a second `up` is a check, a push knows what it has, `run` is on the network.

Taking it down and killing it is proven apart, in cycle_provisioner.py.
"""

import io
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import lifecycle
from cluster.api import Cluster, current
from cluster.errors import ClusterError
from cluster.progress import Progress, Quiet

NAMESPACE = "t-provisioner"
pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    it = current()
    it.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield it
    it.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(
        'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY word /word\nUSER 65532\nENTRYPOINT ["cat", "/word"]\n'
    )
    (tmp_path / "word").write_text("first")
    return tmp_path


def test_up_on_a_healthy_cluster_does_nothing_and_is_quick(cluster: Cluster) -> None:
    before = {one.identity for one in lifecycle.processes.marked(cluster.settings.state)}
    began = time.monotonic()
    assert lifecycle.up(cluster.settings, Quiet()) is False
    assert time.monotonic() - began < 3
    assert {one.identity for one in lifecycle.processes.marked(cluster.settings.state)} >= before


def test_push_of_the_same_content_builds_nothing(cluster: Cluster, context: Path) -> None:
    first = cluster.push("perennial-test/word", context)
    said = io.StringIO()
    again = replace(cluster, progress=Progress(said)).push("perennial-test/word", context)
    assert again == first
    assert first.startswith(f"{cluster.registry}/perennial-test/word@sha256:")
    assert said.getvalue() == ""


def test_push_of_other_content_gives_another_reference_and_the_pod_runs_it(cluster: Cluster, context: Path) -> None:
    first = cluster.push("perennial-test/word", context)
    (context / "word").write_text("second")
    second = cluster.push("perennial-test/word", context)
    assert second != first
    for name, image in (("first", first), ("second", second)):
        cluster.kubectl("run", name, "-n", NAMESPACE, f"--image={image}", "--restart=Never")
    for name in ("first", "second"):
        cluster.kubectl("wait", f"pod/{name}", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        assert cluster.kubectl("logs", name, "-n", NAMESPACE) == name


def test_a_dockerfile_that_fails_shows_its_last_words(cluster: Cluster, context: Path) -> None:
    (context / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo the horse is gone && false\n")
    with pytest.raises(ClusterError, match="the horse is gone"):
        cluster.push("perennial-test/broken", context)


def test_a_command_on_the_network_resolves_services_and_reaches_them(cluster: Cluster) -> None:
    health = cluster.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://store.perennial-store.svc:8333/healthz")
    assert health == "200"


def test_a_command_on_the_network_leaves_the_machines_resolver_alone(cluster: Cluster) -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    assert "nameserver 198.18.8.2" in cluster.run("cat", "/etc/resolv.conf")
    assert Path("/etc/resolv.conf").read_bytes() == before


def test_the_gateway_answers_404_where_no_route_is(cluster: Cluster) -> None:
    url = f"http://{cluster.gateway_address}/no-such-route"
    assert cluster.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url) == "404"


def test_only_the_second_node_has_accelerators_and_it_keeps_others_away(cluster: Cluster) -> None:
    nodes = {item["metadata"]["name"]: item for item in json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]}
    assert nodes["node2"]["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in nodes["node1"]["status"]["allocatable"]
    assert [taint["key"] for taint in nodes["node2"]["spec"]["taints"]] == ["nvidia.com/gpu"]


def test_the_stores_keys_are_copied_to_a_namespace(cluster: Cluster) -> None:
    cluster.copy_store_secrets(NAMESPACE)
    found = cluster.kubectl("get", "secrets", "-n", NAMESPACE, "-o", "name").split()
    assert {"secret/perennial-store", "secret/perennial-store-read"} <= set(found)
    assert cluster.store_data()["AWS_ACCESS_KEY_ID"] != cluster.store_data(read_only=True)["AWS_ACCESS_KEY_ID"]


def test_the_read_only_key_reads_and_may_not_write(cluster: Cluster) -> None:
    cluster.make_bucket(NAMESPACE)
    code = """
import json, sys, obstore
from obstore.exceptions import PermissionDeniedError
from obstore.store import S3Store
def store(data):
    data.pop("AWS_ALLOW_HTTP")
    return S3Store("t-provisioner", config=data, client_options={"allow_http": True})
writer, reader = map(store, json.load(sys.stdin))
obstore.put(writer, "word", b"hello")
try:
    obstore.put(reader, "word", b"forged")
except PermissionDeniedError:
    print("refused")
print(bytes(obstore.get(reader, "word").bytes()).decode())
"""
    keys = json.dumps([cluster.store_data(), cluster.store_data(read_only=True)])
    assert cluster.run(sys.executable, "-c", code, stdin=keys).split() == ["refused", "hello"]


def test_the_store_keeps_its_data_when_its_pod_goes(cluster: Cluster) -> None:
    volume = json.loads(cluster.kubectl("get", "pv", "perennial-store", "-o", "json"))
    assert volume["status"]["phase"] == "Bound"
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
