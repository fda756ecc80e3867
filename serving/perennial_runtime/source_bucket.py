"""Data files as objects of a bucket: S3 (as the store, by `store.open_bucket`), Google Cloud Storage, Azure Blob Storage.

Keys come from the mounted Secret alone, or there are none and the bucket is public: what the node or the cloud would lend to
any pod here (metadata servers, files of a home directory) is not asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.store import AzureStore, GCSStore

from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import ENDPOINT
from perennial_runtime.source_files import DATA_SOURCE, SourceFile, partition, single
from perennial_runtime.store import CHUNK, Bucket, mapped, open_bucket, read_keys

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

GOOGLE_KEYS = ("GOOGLE_SERVICE_ACCOUNT_KEY",)
AZURE_KEYS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_ENDPOINT",
)
_CLIENT = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID")
AZURE_HOST = ".dfs.core.windows.net"
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
AnyBucket = Bucket | GCSStore | AzureStore


class Bucketful:
    """The objects under a prefix, or one object."""

    def __init__(self, uri: str, secret_path: Path | None) -> None:
        self._uri = uri
        head, self._single = single(uri)
        self._bucket = _opened(head, secret_path)

    def files(self) -> Iterator[SourceFile]:
        """All of them, as the bucket lists them."""
        with mapped(self._uri, DATA_SOURCE):
            if self._single:
                yield _described(obstore.head(self._bucket, self._single), self._single)
                return
            for page in obstore.list(self._bucket):
                yield from (_described(item, str(item["path"])) for item in page)

    @contextmanager
    def opened(self, file: SourceFile, room: Path) -> Iterator[Path]:
        """The object, fetched in chunks."""
        target, size = room / "source", 0
        with mapped(f"{self._uri} ({file.name})", DATA_SOURCE), target.open("wb") as local:
            for chunk in obstore.get(self._bucket, file.key).stream(min_chunk_size=CHUNK):
                size += local.write(chunk)
        if size != file.size:
            raise Unavailable(
                "SourceChanged", f"{DATA_SOURCE} {self._uri}: {file.name} was listed with {file.size} bytes and has {size} now"
            )
        yield target


def _described(item: Mapping[str, Any], key: str) -> SourceFile:
    tag = str(item.get("e_tag") or item.get("version") or item["last_modified"])
    return SourceFile(key, key, int(item["size"]), f"{item['size']}-{item['last_modified']}-{tag}", tag, partition(key))


def _opened(uri: str, secret_path: Path | None) -> AnyBucket:
    scheme = urlsplit(uri).scheme
    if scheme == "s3":
        return open_bucket(uri, secret_path, DATA_SOURCE)
    return _google(uri, secret_path) if scheme == "gs" else _azure(uri, secret_path)


def _google(uri: str, secret_path: Path | None) -> GCSStore:
    parts = urlsplit(uri)
    keys = read_keys(secret_path, GOOGLE_KEYS, GOOGLE_KEYS, DATA_SOURCE)
    config: dict[str, Any] = {"skip_signature": True}
    address = ""
    if keys:
        account = _account(keys["GOOGLE_SERVICE_ACCOUNT_KEY"])
        address = str(account.get("gcs_base_url", ""))
        _check_endpoint(uri, "gcs_base_url in GOOGLE_SERVICE_ACCOUNT_KEY", address)
        config = {"service_account_key": keys["GOOGLE_SERVICE_ACCOUNT_KEY"]}
    with mapped(uri, DATA_SOURCE):
        return GCSStore(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options=_client(address),
            retry_config=_retry(),
            **config,
        )


def _account(text: str) -> dict[str, Any]:
    """The service account. Its text is never told: it is a private key."""
    try:
        account = json.loads(text)
    except ValueError:
        account = None
    if not isinstance(account, dict) or not {"client_email", "private_key"} <= account.keys():
        raise Refused(
            "SecretKeyWrong",
            f"GOOGLE_SERVICE_ACCOUNT_KEY in the Secret of the {DATA_SOURCE} is not the JSON of a service account's key "
            "(client_email, private_key): put the file there as Google gave it",
        )
    return account


def _azure(uri: str, secret_path: Path | None) -> AzureStore:
    parts = urlsplit(uri)
    container, _, host = parts.netloc.partition("@")
    keys = read_keys(secret_path, AZURE_KEYS, (), DATA_SOURCE)
    address = keys.get("AZURE_ENDPOINT", "")
    _check_endpoint(uri, "AZURE_ENDPOINT", address)
    known = {**_azure_login(uri, keys), **({"endpoint": address} if address else {})}
    with mapped(uri, DATA_SOURCE):
        return AzureStore(
            container,
            prefix=parts.path.strip("/") or None,
            account_name=host.removesuffix(AZURE_HOST),
            client_options=_client(address),
            retry_config=_retry(),
            **known,
        )


def _azure_login(uri: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """How the account is entered: by its key, by a shared access signature, as an application, or by nobody in particular."""
    if "AZURE_STORAGE_ACCOUNT_KEY" in keys:
        if not _BASE64.fullmatch(keys["AZURE_STORAGE_ACCOUNT_KEY"]):
            fix = "copy it from the account's access keys"
            raise Refused("SecretKeyWrong", f"{DATA_SOURCE} {uri}: AZURE_STORAGE_ACCOUNT_KEY of its Secret is no base64: {fix}")
        return {"account_key": keys["AZURE_STORAGE_ACCOUNT_KEY"]}
    if "AZURE_STORAGE_SAS_TOKEN" in keys:
        return {"sas_key": keys["AZURE_STORAGE_SAS_TOKEN"].removeprefix("?")}
    if any(name in keys for name in _CLIENT):
        missing = [name for name in _CLIENT if name not in keys]
        if missing:
            raise Refused(
                "SecretKeyMissing", f"the Secret of the {DATA_SOURCE} has no key {' and no key '.join(missing)}: add it"
            )
        return {"client_id": keys[_CLIENT[0]], "client_secret": keys[_CLIENT[1]], "tenant_id": keys[_CLIENT[2]]}
    return {"skip_signature": True}


def _check_endpoint(uri: str, name: str, address: str) -> None:
    if address and not ENDPOINT.fullmatch(address):
        fix = "write it like https://storage.example.com:9000"
        raise Refused("EndpointWrong", f"{DATA_SOURCE} {uri}: {name} of its Secret is no URL: {fix}")


def _client(address: str) -> ClientConfig:
    return {"connect_timeout": "5s", "timeout": "120s", "allow_http": address.startswith("http://")}


def _retry() -> RetryConfig:
    return {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
