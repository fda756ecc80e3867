"""Data of a claim in folders by kind, and of a web server with an authority of its own, on the real cluster: the same rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cluster_support import sources, synthetic
from cluster_support.place import Manifest, Place
from demo.stage import State
from perennial_runtime.contract import PrepareResult, decode_answer
from runtime.web_world import make_certificate

CLAIM = "flights"
ROWS = synthetic.table(1200)


@pytest.fixture(scope="module")
def there(shared_place: Place) -> Iterator[Place]:
    """A claim with a folder for each kind, a web server, and models on the claim, on the server, and without its authority."""
    parts = {f"{kind}.parquet": synthetic.parquet(rows.drop("kind")) for (kind,), rows in ROWS.group_by("kind")}
    sources.upload(shared_place, {**parts, "all.parquet": synthetic.parquet(ROWS)})
    name = sources.host(shared_place.namespace)
    make_certificate(shared_place.folder, f"DNS:{name}")
    certificate, key = ((shared_place.folder / file).read_text() for file in ("certificate.pem", "key.pem"))
    secrets: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": title}, "stringData": data}
        for title, data in (("authority", {"CA_CERT": certificate}), ("no-authority", {"BEARER_TOKEN": "x"}))
    ]
    shared_place.kubectl.apply(*secrets)
    folders = {f"flights/kind={name.removesuffix('.parquet')}/part-0.parquet": name for name in parts}
    with sources.claim(shared_place, CLAIM, folders), sources.web_server(shared_place, certificate, key) as url:
        claimed = {"uri": None, "secretRef": None, "pvc": {"claimName": CLAIM, "path": "flights/"}}
        apply(shared_place, "claimed", claimed)
        apply(shared_place, "fetched", {"uri": f"{url}all.parquet", "secretRef": {"name": "authority"}})
        apply(shared_place, "distrusted", {"uri": f"{url}all.parquet", "secretRef": {"name": "no-authority"}})
        yield shared_place


def apply(place: Place, name: str, source: dict[str, Any]) -> None:
    place.apply(place.manifest(name, data={"source": source}, training=place.light()))


def prepared(state: State) -> PrepareResult:
    """What the first version's prepare answered."""
    answers = [step["result"] for step in state.version(1)["steps"] if step["step"] == "prepare" and step["state"] == "Succeeded"]
    found = decode_answer(answers[-1])
    assert isinstance(found, PrepareResult)
    return found


def test_models_on_a_claim_and_on_a_web_server_are_of_the_same_rows_and_serve(there: Place) -> None:
    claimed, fetched = (prepared(there.serving(1, name=name)) for name in ("claimed", "fetched"))
    assert replace(claimed, listing="") == replace(fetched, listing=""), "but for names and times of the files"
    assert claimed.rows == ROWS.height


def test_a_web_server_that_is_not_trusted_is_refused_with_the_fix(there: Place) -> None:
    there.until("distrusted to be refused", lambda state: state.state(1) == "Failed", name="distrusted")
    message = there.state("distrusted").version(1)["message"]
    assert "CertificateNotTrusted" in message
    assert "CA_CERT" in message


def test_only_the_pod_of_prepare_has_the_claim_or_the_keys_of_the_source(there: Place) -> None:
    for name in ("claimed", "fetched"):
        there.serving(1, name=name)
    with_claim, with_keys = [], []
    for job in there.kubectl.list("jobs"):
        text = json.dumps(job["spec"]["template"]["spec"]["volumes"])
        with_claim += [job["metadata"]["name"]] if "persistentVolumeClaim" in text else []
        with_keys += [job["metadata"]["name"]] if '"authority"' in text else []
    assert with_claim == ["claimed-v1-prepare-1"]
    assert with_keys == ["fetched-v1-prepare-1"]


def test_a_claim_that_does_not_exist_is_told_in_the_schedulers_words(there: Place) -> None:
    apply(there, "waiting", {"uri": None, "secretRef": None, "pvc": {"claimName": "not-there"}})
    there.until(
        "waiting to say why", lambda state: "not-there" in state.version(1).get("message", ""), name="waiting", seconds=60
    )
    assert "Unschedulable" in there.state("waiting").version(1)["message"]
