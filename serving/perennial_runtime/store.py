"""The store: blobs by digest and results by version, on S3 (or a folder, `file://`), through obstore alone.

    <store>/blobs/sha256/<hex>                         written once, verified on every read
    <store>/results/<version uid>/<step>[-<key>].json  the termination message of a step that has ended
    <store>/profiles/<version uid>.json                what its training data looked like, for the next version's card
    <store>/checkpoints/<version uid>.json             which blobs are the trainer's last checkpoint
    <store>/logs/<version uid>/<step>-<attempt>-<container>.log   the redacted end of what it wrote, see `log_tail`
    <store>/signatures/<digest of a Bento>.json        who signed it, see `signature`
    <store>/ledger/<number of its first entry>.jsonl   entries of the ledger, see `chain`; created, never written over

Every step writes its outputs as blobs and then its result; a step that finds its result there answers with it again.
Errors of the object store become `Refused` (a person must act: secret, bucket, permission) or `Unavailable` (try again).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, S3Store

from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.contract import (
    ENDPOINT,
    OPTIONAL_KEYS,
    REQUIRED_KEYS,
    STORE_SECRET_PATH,
    Answer,
    ContractError,
    Mounted,
    decode_answer,
    encode_answer,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

CHUNK = 8 * 1024 * 1024
CONDITIONAL_LIMIT = 64 * 1024 * 1024
"""Up to here a blob is written with `create`, in one request; larger ones in parts, which S3 cannot make conditional."""

_NAMED_BY = {
    "store": "secretName, of serving pods servingSecretName, in the ConfigMap perennial-store, else the chart's",
    "data source": "spec.data.source.secretRef",
    "model": "spec.model.secretRef",
}
"""Where the name of a Secret comes from; the pods know only its keys."""

_NOT_AMAZONS = " and, unless the store is Amazon's, AWS_ENDPOINT_URL"
_NO_BUCKET = ("NoSuchBucket", "InvalidBucketName", "ContainerNotFound")

Bucket = S3Store | LocalStore


class DigestMismatch(Refused):
    """Bytes came back that are not those that were written."""

    def __init__(self, digest: str, found: str) -> None:
        super().__init__(
            "DigestMismatch",
            f"blob sha256:{digest} reads as sha256:{found}: it was altered in the store; restore it or train again",
        )


def open_bucket(uri: str, secret_path: str | Path | None, what: str = "store") -> Bucket:
    """The bucket and prefix of `uri`, with the keys of the Secret mounted at `secret_path` (None: anonymous)."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        Path(parts.path).mkdir(parents=True, exist_ok=True)
        return LocalStore(parts.path)
    if parts.scheme != "s3" or not parts.netloc:
        raise Refused("UriNotSupported", f"{what} {uri!r}: use s3://<bucket>/<prefix>")
    mounted = None if secret_path is None else Path(secret_path)
    keys = read_keys(mounted, REQUIRED_KEYS + OPTIONAL_KEYS, REQUIRED_KEYS, what)
    endpoint = keys.get("AWS_ENDPOINT_URL", "")
    if endpoint and not ENDPOINT.fullmatch(endpoint):
        fix = "write it like https://s3.example.com:9000"
        raise Refused("EndpointWrong", f"{what} {uri}: AWS_ENDPOINT_URL of its Secret is no URL: {fix}")
    plain = endpoint.startswith("http://") or keys.get("AWS_ALLOW_HTTP", "").lower() == "true"
    client: ClientConfig = {"connect_timeout": "5s", "timeout": "120s", "allow_http": plain}
    retry: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}
    with mapped(uri, what):
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options=client,
            retry_config=retry,
            skip_signature=not keys,
            config=_s3_config(keys),
        )


def _s3_config(keys: dict[str, str]) -> S3Config:
    """What the Secret says, in obstore's words; it takes no None."""
    known = {
        "access_key_id": keys.get("AWS_ACCESS_KEY_ID"),
        "secret_access_key": keys.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": keys.get("AWS_SESSION_TOKEN"),
        "endpoint": keys.get("AWS_ENDPOINT_URL"),
        "region": keys.get("AWS_REGION", "us-east-1"),
    }
    return cast("S3Config", {name: value for name, value in known.items() if value})


def read_keys(path: Path | None, names: Sequence[str], required: Sequence[str], what: str) -> dict[str, str]:
    """The keys of a Secret that is mounted at `path`; none where there is no Secret."""
    if path is None:
        return {}
    found = [name for name in names if (path / name).is_file()]
    if not found:  # an optional Secret volume of a Secret that does not exist is an empty folder
        raise Refused(
            "SecretMissing",
            f"the Secret of the {what} ({_NAMED_BY[what]}) does not exist or is empty: create it with the keys "
            f"{', '.join(required or names)}{_NOT_AMAZONS if required == REQUIRED_KEYS else ''}, or correct its name",
            Mounted(what),
        )
    keys = {name: (path / name).read_text().strip() for name in found}
    missing = [name for name in required if not keys.get(name)]
    if missing:
        raise Refused(
            "SecretKeyMissing", f"the Secret of the {what} has no key {' and no key '.join(missing)}: add it", Mounted(what)
        )
    return {name: value for name, value in keys.items() if value}


@contextmanager
def mapped(subject: str, what: str = "store") -> Iterator[None]:
    """Turn obstore's errors about `subject` into `Refused` or `Unavailable`."""
    try:
        yield
    except (exceptions.UnauthenticatedError, exceptions.PermissionDeniedError) as error:
        raise _denied(subject, what, str(error)) from None
    except (exceptions.NotFoundError, FileNotFoundError) as error:
        raise _absent(subject, what, str(error)) from None
    except (exceptions.BaseError, OSError) as error:
        text = str(error)
        if any(word in text for word in _NO_BUCKET):
            raise _absent(subject, what, text) from None
        if (
            "403 Forbidden" in text or "401 Unauthorized" in text
        ):  # obstore tells a denied list, or one of no bucket, as a generic error
            raise _denied(subject, what, text) from None
        if "404 Not Found" in text:
            raise _absent(subject, what, text) from None
        raise Unavailable(
            "StoreUnavailable", f"{what} {subject} did not answer ({type(error).__name__}): {_brief(text)}"
        ) from None


def _denied(subject: str, what: str, text: str) -> Refused:
    if "InvalidAccessKeyId" in text or "SignatureDoesNotMatch" in text:
        return Refused("CredentialsWrong", f"{what} {subject}: its access key or secret key is wrong: correct the Secret")
    fix = "correct them or grant access"
    return Refused("PermissionDenied", f"{what} {subject}: the keys of its Secret are wrong or may not do this: {fix}")


def _absent(subject: str, what: str, text: str) -> Refused:
    if any(word in text for word in _NO_BUCKET):
        return Refused("BucketNotFound", f"{what} {subject}: there is no such bucket: create it or correct the URI")
    return Refused("ObjectNotFound", f"{what} {subject}: there is no such object: upload it or correct the URI")


def _brief(text: str) -> str:
    """The first line of an error, without the request's details that obstore appends."""
    return text.strip().splitlines()[0][:200] if text.strip() else "no details"


class Store:
    """Blobs and results under one URI (`s3://bucket/prefix/<namespace>/<ModelDeployment's UID>`)."""

    def __init__(self, uri: str, secret_path: str | Path = STORE_SECRET_PATH) -> None:
        self._uri = uri.rstrip("/")
        self._bucket = open_bucket(self._uri, secret_path)
        self._folder = Path(urlsplit(self._uri).path) if isinstance(self._bucket, LocalStore) else None

    def put_file(self, source: Path | BufferedReader, digest: str = "") -> str:
        """Store a file (a path, or a file open for reading in binary) and return its digest, which is reckoned if it is not
        given; stored already is fine."""
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self.put_file(stream, digest)
        source.seek(0)
        digest = digest or hashlib.file_digest(source, "sha256").hexdigest()
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
        with mapped(self._uri):
            if size > CONDITIONAL_LIMIT:
                obstore.put(self._bucket, blob_path(digest), source, chunk_size=CHUNK)
            else:
                self._create_blob(digest, source.read())
        return digest

    def take_file(self, source: Path, digest: str = "") -> str:
        """`put_file` of a file that nobody writes to or needs any more: it is gone then. Into a folder it is moved."""
        moved = None if self._folder is None else _moved(source, self._folder, digest)
        if moved is None:
            moved = self.put_file(source, digest)
            source.unlink()
        return moved

    def put_bytes(self, body: bytes) -> str:
        """Store `body` and return its digest."""
        digest = hashlib.sha256(body).hexdigest()
        with mapped(self._uri):
            self._create_blob(digest, body)
        return digest

    def get_file(self, digest: str, destination: Path, most: int | None = None) -> Path:
        """Write the blob to `destination`, verified. Raises DigestMismatch, or Refused where it is larger than `most` bytes, and
        leaves no file then."""
        partial = destination.with_name(destination.name + ".partial")
        found = hashlib.sha256()
        with mapped(f"{self._uri}/{blob_path(digest)}"):
            answer = obstore.get(self._bucket, blob_path(digest))
            if most is not None and answer.meta["size"] > most:
                raise Refused("BlobTooLarge", f"blob sha256:{digest} has {answer.meta['size']} bytes, at most {most} are taken")
            stream = answer.stream(min_chunk_size=CHUNK)
            with partial.open("wb") as target:
                for chunk in stream:
                    found.update(chunk)
                    target.write(chunk)
        if found.hexdigest() != digest:
            partial.unlink()
            raise DigestMismatch(digest, found.hexdigest())
        return partial.replace(destination)

    def lend_file(self, digest: str, destination: Path) -> Path:
        """`get_file` for one who only reads it: from a folder it is a link to the blob, verified too."""
        if self._folder is None:
            return self.get_file(digest, destination)
        try:
            destination.hardlink_to(self._folder / blob_path(digest))
        except OSError:  # another file system, or no blob, which has its own words there
            return self.get_file(digest, destination)
        with destination.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            destination.unlink()
            raise DigestMismatch(digest, found)
        return destination

    def get_bytes(self, digest: str) -> bytes:
        """A small blob, verified."""
        with mapped(f"{self._uri}/{blob_path(digest)}"):
            body = bytes(obstore.get(self._bucket, blob_path(digest)).bytes())
        found = hashlib.sha256(body).hexdigest()
        if found != digest:
            raise DigestMismatch(digest, found)
        return body

    def put_result(self, uid: str, step: str, answer: Answer, key: str = "", replace: bool = False) -> Answer:
        """Store the answer of a step, once; returns what is stored now (an earlier answer stays, unless `replace`)."""
        path = result_path(uid, step, key)
        with mapped(self._uri):
            if replace:
                obstore.put(self._bucket, path, encode_answer(answer).encode())
                return answer
            self._create(path, encode_answer(answer).encode())
        return self.get_result(uid, step, key) or answer

    def get_result(self, uid: str, step: str, key: str = "") -> Answer | None:
        """The stored answer of a step; None when it has not ended yet."""
        path = result_path(uid, step, key)
        body = self.get_document(path)
        if body is None:
            return None
        try:
            return decode_answer(body.decode(errors="replace"))
        except ContractError as error:
            raise Refused("ResultBroken", f"{self._uri}/{path} is not a result ({error}): delete that object") from None

    def put_document(self, path: str, body: bytes) -> None:
        """Write (over) a small object that is neither blob nor result: a checkpoint's list of files, a log."""
        with mapped(self._uri):
            obstore.put(self._bucket, path, body)

    def get_document(self, path: str) -> bytes | None:
        """Such an object; None when there is none."""
        with mapped(self._uri):
            try:
                return bytes(obstore.get(self._bucket, path).bytes())
            except (exceptions.NotFoundError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def create_document(self, path: str, body: bytes) -> bool:
        """Write a small object that is never written over; False: there is one already."""
        with mapped(self._uri):
            return self._create(path, body)

    def _create(self, path: str, body: bytes) -> bool:
        try:
            obstore.put(self._bucket, path, body, mode="create", use_multipart=False)
        except (exceptions.AlreadyExistsError, FileExistsError):
            return False
        return True

    def _create_blob(self, digest: str, body: bytes) -> None:
        """Write a blob; one that is there but was altered is written over, so that training again repairs it."""
        path = blob_path(digest)
        try:
            obstore.put(self._bucket, path, body, mode="create", use_multipart=False)
        except (exceptions.AlreadyExistsError, FileExistsError):
            if bytes(obstore.get(self._bucket, path).bytes()) != body:
                obstore.put(self._bucket, path, body, use_multipart=False)


def _moved(source: Path, folder: Path, digest: str) -> str | None:
    """The digest of a file that is a blob in the folder now; None where it lies in another file system."""
    if not digest:
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    target = folder / blob_path(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        return None
    return digest


def blob_path(digest: str) -> str:
    """Where a blob lies, relative to the store."""
    return f"blobs/sha256/{digest}"


def signature_path(bento: str) -> str:
    """Where the signature of a Bento lies, relative to the store."""
    return f"signatures/{bento}.json"


def profile_path(uid: str) -> str:
    """Where the profile of a version's training data lies, relative to the store."""
    return f"profiles/{uid}.json"


def result_path(uid: str, step: str, key: str = "") -> str:
    """Where a step's result lies, relative to the store."""
    return f"results/{uid}/{step}{'-' + key if key else ''}.json"
