"""What lies in the store, read as a person may read it: ledger, ends of logs, model cards. And the ledger in a folder, for one
who has downloaded it.

The keys are the person's own (AWS_* in the environment), or those of the Secret that serving pods read the store with, where the
person may read that; AWS_ENDPOINT_URL alone says where that store is reached from here. `history` asks;
`perennial_runtime.chain` verifies.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from perennial.cli.asking import Model
from perennial_runtime.chain import FOLDER, SUFFIX
from perennial_runtime.contract import ENDPOINT, REQUIRED_KEYS

if TYPE_CHECKING:
    from obstore.store import ClientConfig, LocalStore, RetryConfig, S3Config, S3Store

    from perennial.adapters.kubeconfig import KubeconfigCluster

MOST_BYTES = 1024 * 1024
"""Of an object: entries of one Job, which has room for a tenth of it."""
BLOB_BYTES = 4 * 1024 * 1024
"""Of a blob that is for people: a model card, a list of packages."""
LOG_TAIL_BYTES = 1024 * 1024
"""Of the end of a log, of which the steps leave a sixteenth of it."""
PRIVILEGED = 1023
"""Ports up to this one are root's on a person's machine."""
_SETTINGS = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "endpoint": "AWS_ENDPOINT_URL",
    "region": "AWS_REGION",
}


class Unreadable(Exception):
    """The store, or the folder, cannot be read; the message says what to do."""


def objects(place: KubeconfigCluster, model: Model) -> dict[str, bytes]:
    """Every object of a model's ledger in the store, by its path there: what the status says of it, or where it would lie. Of one
    that is larger than any is made, only its beginning. Raises Unreadable."""
    stored, newest = model.status.ledger.stored, next(iter(model.versions), None)
    if stored is None and newest is None:
        return {}
    uri = stored.uri if stored else newest.spec.store.uri if newest else ""
    found = {}
    with _reading(place, model, uri) as (obstore, store):
        items = [item for page in obstore.list(store, FOLDER.rstrip("/")) for item in page]
        for name, size in ((str(item["path"]), int(item["size"])) for item in items):
            if not name.endswith(SUFFIX) or "/" in name.removeprefix(FOLDER):
                continue
            is_huge = size > MOST_BYTES
            body = obstore.get_range(store, name, start=0, length=MOST_BYTES + 1) if is_huge else obstore.get(store, name).bytes()
            found[name] = bytes(body)
    return found


def log_tail(place: KubeconfigCluster, model: Model, uri: str, path: str) -> list[str] | None:
    """The lines of a step's log that the store at `uri` keeps; None where it keeps none. Raises Unreadable."""
    with _reading(place, model, uri) as (obstore, store):
        try:
            found = obstore.get_range(store, path, start=0, length=LOG_TAIL_BYTES)
        except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise
            return None
        return bytes(found).decode(errors="replace").splitlines()


def blob(place: KubeconfigCluster, model: Model, uri: str, digest: str) -> bytes:
    """What lies in the store at `uri` under this digest, which it must have. Raises Unreadable."""
    with _reading(place, model, uri) as (obstore, store):
        try:
            body = bytes(obstore.get_range(store, f"blobs/sha256/{digest}", start=0, length=BLOB_BYTES + 1))
        except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise
            raise Unreadable(f"the store {uri} has no blob sha256:{digest}: it was removed") from None
    if len(body) > BLOB_BYTES or hashlib.sha256(body).hexdigest() != digest:
        raise Unreadable(f"blob sha256:{digest} of the store {uri} is not what was stored: it was altered")
    return body


@contextmanager
def _reading(place: KubeconfigCluster, model: Model, uri: str) -> Iterator[tuple[Any, S3Store | LocalStore]]:
    """The module obstore, and the store at this URI. Raises Unreadable, also for what goes wrong in the block."""
    keys: Mapping[str, str] = {}
    try:
        import obstore  # noqa: PLC0415 - of the extra `store`, which most people need not have
    except ImportError:
        raise Unreadable("the package obstore is missing: pip install '.[cli,store]' in a clone of Perennial") from None
    try:
        keys = _keys(place, model, uri) if uri.startswith("s3:") else {}
        yield obstore, _opened(uri, keys)
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        at = keys.get("AWS_ENDPOINT_URL", "")
        raise Unreadable(f"the store {uri}{f' at {at}' if at else ''} {_why(str(error), at)}") from None


def _why(said: str, at: str) -> str:
    """What is wrong, and what to do, from obstore's words: their first line has the answer, and the request before it."""
    first = (said.strip().splitlines() or ["no details"])[0].rpartition(" - ")[2]
    if "error sending request" in first:
        return f"cannot be reached from here. A name inside the cluster leads nowhere outside: {unreached(at)}"
    if any(word in first for word in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "401 Unauthorized")):
        return f"does not take the access key or the secret key: set {' and '.join(REQUIRED_KEYS)} to others"
    if "403 Forbidden" in first:
        return "refuses these keys: they need the right to list and get there"
    if "NoSuchBucket" in first:
        return "cannot be read: there is no such bucket there"
    return f"cannot be read: {first.partition('<')[0].rstrip(': ')[:200]}"


def unreached(at: str) -> str:
    """How a store at this endpoint is reached from outside the cluster: whole commands where it is a Service's name."""
    try:
        parts = urlsplit(at)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    match (parts.hostname or "").split("."):
        case [service, namespace, "svc", *_]:
            local = port if port > PRIVILEGED else 9000
            return (
                f"run `kubectl -n {namespace} port-forward service/{service} {local}:{port}` beside this, and set "
                f"AWS_ENDPOINT_URL={parts.scheme}://localhost:{local}; the keys stay the Secret's"
            )
        case _:
            return "reach it by kubectl port-forward, and set AWS_ENDPOINT_URL to that, like http://localhost:9000"


def downloaded(folder: Path) -> dict[str, bytes]:
    """The objects in a folder, as `aws s3 cp --recursive` brings them. Raises Unreadable."""
    found = {}
    try:
        for path in folder.iterdir():
            if path.name.endswith(SUFFIX):
                with path.open("rb") as file:
                    found[path.name] = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Unreadable(f"{folder} cannot be read: {error.strerror}") from None
    if not found:
        raise Unreadable(f"{folder} has no file named *{SUFFIX}: download what is under {FOLDER} in the store into it")
    return found


def _keys(place: KubeconfigCluster, model: Model, uri: str) -> Mapping[str, str]:
    """The person's own, or those of the Secret with which serving pods read: of the newest version that lies in this store."""
    if all(os.environ.get(name) for name in REQUIRED_KEYS):
        return dict(os.environ)
    elsewhere = {name: os.environ[name] for name in ("AWS_ENDPOINT_URL",) if os.environ.get(name)}
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415 - kubernetes

    own = f"set {' and '.join(REQUIRED_KEYS)} (and AWS_ENDPOINT_URL, AWS_REGION) to keys of your own that may read it"
    there = [one for one in model.versions if one.spec.store.uri.rstrip("/") == uri.rstrip("/")]
    newest = next(iter(there or model.versions), None)
    if newest is None:
        raise Unreadable(f"no version is left that names a Secret of the store: {own}")
    name = newest.spec.store.serving_secret_name
    try:
        keys = place.secret(name)
    except NoAnswer as error:
        raise Unreadable(f"{error}: {own}") from None
    if missing := [key for key in REQUIRED_KEYS if not keys.get(key)]:
        raise Unreadable(f"Secret {name} has no key {missing[0]}: {own}")
    return {**keys, **elsewhere}


def _opened(uri: str, keys: Mapping[str, str]) -> S3Store | LocalStore:
    from obstore.store import LocalStore, S3Store  # noqa: PLC0415

    parts = urlsplit(uri)
    if parts.scheme == "file":
        return LocalStore(parts.path)
    if parts.scheme != "s3" or not parts.netloc:
        raise Unreadable(f"the store's URI is {uri!r}, and no s3://<bucket>/<prefix>")
    endpoint = keys.get("AWS_ENDPOINT_URL", "")
    if endpoint and not ENDPOINT.fullmatch(endpoint):
        raise Unreadable("AWS_ENDPOINT_URL is no URL: write it like https://s3.example.com:9000")
    config = {name: keys[key] for name, key in _SETTINGS.items() if keys.get(key)}
    plain = endpoint.startswith("http://") or keys.get("AWS_ALLOW_HTTP", "").lower() == "true"
    client: ClientConfig = {"connect_timeout": "5s", "timeout": "30s", "allow_http": plain}
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        client_options=client,
        retry_config=retry,
        config=cast("S3Config", {"region": "us-east-1", **config}),
    )
