"""`kubectl perennial lint` and a real API server are of one mind about every manifest of the corpus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client, config

import chart_support
from demo.ground import Ground
from manifest_corpus import Manifest, corpus
from perennial.api.crd import GROUP, VERSION
from perennial.cli import validation

NAMESPACE = "t-lint"
REFUSED = (400, 422)


@pytest.fixture(scope="module")
def objects(ground: Ground) -> Iterator[client.CustomObjectsApi]:
    """The API server, by a connection that is kept; everything is a dry run."""
    chart_support.install_crds(ground.cluster.kubeconfig)
    ground.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with config.new_client_from_config(str(ground.cluster.kubeconfig)) as api:
        yield client.CustomObjectsApi(api)
    ground.delete_namespaces(NAMESPACE)


def refusal(objects: client.CustomObjectsApi, manifest: Manifest) -> str:
    """The API server's words; empty when it accepts the object."""
    plural = f"{str(manifest['kind']).lower()}s"
    try:
        objects.create_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, plural, manifest, dry_run="All", field_validation="Strict"
        )
    except client.ApiException as error:
        if error.status not in REFUSED:
            raise
        return str(error.body)
    return ""


def test_lint_and_the_api_server_agree_on_every_manifest_of_the_corpus(objects: client.CustomObjectsApi) -> None:
    found = corpus()
    assert len(found) >= 150
    apart, refused = {}, 0
    for name, manifest in found.items():
        words, problems = refusal(objects, manifest), validation.problems(manifest)
        refused += bool(words)
        if bool(words) != bool(problems):
            apart[name] = f"API server: {words or 'accepted'}; lint: {'; '.join(map(str, problems)) or 'nothing is wrong'}"
    assert apart == {}
    assert len(found) / 4 < refused < len(found) * 3 / 4 or refused > 100, "both kinds are in it"
