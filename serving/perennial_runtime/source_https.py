"""One data file of a web server, over TLS.

- The server's certificate is checked, by the machine's authorities and by CA_CERT of the Secret. There is no plain http.
- Redirects are followed five times, over https. A public server may not send this pod to an address inside the cluster or the
  node, and nobody may send it to a link-local one, where clouds lend identities. The address that was checked is the one that is
  connected to, so a name that resolves otherwise the second time gains nothing.
- Credentials go to the host that data.source names and to no other; no message holds them, and of a redirect it holds the host.
- At most MOST_BYTES are taken.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urljoin, urlsplit

from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.source_files import DATA_SOURCE, SourceFile
from perennial_runtime.store import CHUNK, read_keys

KEYS = ("BEARER_TOKEN", "USERNAME", "PASSWORD", "CA_CERT")
MOST_BYTES = 64 * 1024**3
MOST_REDIRECTS = 5
TIMEOUT = 60.0
"""Seconds for a connection, and for each read."""
PORT = 443
_LENGTH = re.compile("[0-9]{1,18}")
_PLAIN_PATH = re.compile("[!-~]*")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebObject:
    """The object that a URL names."""

    def __init__(self, uri: str, secret_path: Path | None) -> None:
        self._uri = uri
        url = _read_url(uri)
        if url is None:
            fix = "correct the port, and write other signs than ASCII's as %C3%A4"
            raise Refused("UriNotSupported", f"{DATA_SOURCE} {uri!r} is no URL that a server can be asked for: {fix}")
        self._url = url
        keys = read_keys(secret_path, KEYS, (), DATA_SOURCE)
        self._context = ssl.create_default_context()
        if "CA_CERT" in keys:
            try:
                self._context.load_verify_locations(cadata=keys["CA_CERT"])
            except (ssl.SSLError, ValueError):
                fix = "put the authority's certificate there, as PEM"
                raise Refused("SecretKeyWrong", f"CA_CERT in the Secret of the {DATA_SOURCE} is no certificate: {fix}") from None
        self._authorization = _authorization(keys)

    def files(self) -> list[SourceFile]:
        """The object, as its headers say."""
        with self._answer("HEAD") as answer:
            return [self._described(answer)]

    @contextmanager
    def opened(self, file: SourceFile, room: Path) -> Iterator[Path]:
        """The object, fetched in chunks."""
        target = room / "source"
        with self._answer("GET") as answer:
            expected, size = answer.length, 0
            with target.open("wb") as local:
                while chunk := _read(answer, self._uri):
                    size += local.write(chunk)
                    self._check_size(size)
        if expected is not None and size != expected:
            raise Unavailable("StoreUnavailable", f"{DATA_SOURCE} {self._uri}: {size} of {expected} bytes came before the end")
        yield target

    def _described(self, answer: http.client.HTTPResponse) -> SourceFile:
        name = self._url.path.rpartition("/")[2]
        length = answer.headers.get("Content-Length", "")
        size = int(length) if _LENGTH.fullmatch(length) else 0
        self._check_size(size)
        tag, time = (answer.headers.get(header, "") for header in ("ETag", "Last-Modified"))
        return SourceFile(name, name, size, f"{length}-{tag}-{time}", tag or time)

    def _check_size(self, size: int) -> None:
        if size > MOST_BYTES:
            raise Refused(
                "FileTooLarge", f"{DATA_SOURCE} {self._uri} has more than {MOST_BYTES} bytes: split it, and put it into a bucket"
            )

    @contextmanager
    def _answer(self, method: str) -> Iterator[http.client.HTTPResponse]:
        """The answer of the server that has the object, with a good status."""
        first = url = self._url
        inside = True
        for _ in range(MOST_REDIRECTS + 1):
            address = _reached(url, self._uri, may_be_inside=inside)
            inside = inside and not address.is_global
            known = (url.hostname, url.port) == (first.hostname, first.port)
            with closing(_Connection(url, address, self._context)) as way, self._asked(way, method, url, known=known) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    url = self._next(url, answer.headers.get("Location", ""))
                    continue
                self._check_status(answer.status)
                yield answer
                return
        raise Refused("RedirectRefused", f"{DATA_SOURCE} {self._uri} leads on more than {MOST_REDIRECTS} times: name the object")

    def _asked(self, connection: _Connection, method: str, url: SplitResult, *, known: bool) -> http.client.HTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "perennial"}
        if known and self._authorization:
            headers["Authorization"] = self._authorization
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        try:
            connection.request(method, path, headers=headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                "CertificateNotTrusted",
                f"{DATA_SOURCE} {self._uri}: the certificate of {url.hostname} is not trusted ({error.verify_message}): put its "
                "authority into the key CA_CERT of the Secret",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                "StoreUnavailable", f"{DATA_SOURCE} {self._uri}: {url.hostname} did not answer ({type(error).__name__})"
            ) from None

    def _next(self, url: SplitResult, location: str) -> SplitResult:
        found = _read_url(location, beside=url)
        if found is None or found.scheme != "https" or not found.hostname:
            fix = "name an object that is there over https"
            raise Refused("RedirectRefused", f"{DATA_SOURCE} {self._uri} leads to no https address: {fix}")
        return found

    def _check_status(self, status: int) -> None:
        if status in (401, 403):
            fix = "correct BEARER_TOKEN, or USERNAME and PASSWORD, of its Secret, or grant access"
            raise Refused("PermissionDenied", f"{DATA_SOURCE} {self._uri} answers {status}: {fix}")
        if status in (404, 410):
            raise Refused("ObjectNotFound", f"{DATA_SOURCE} {self._uri}: there is no such object: upload it or correct the URI")
        if status in (405, 501):
            fix = "use a server that answers HEAD as it does GET"
            raise Refused("ServerTooPlain", f"{DATA_SOURCE} {self._uri} answers {status} to HEAD: {fix}")
        if status != 200:
            raise Unavailable("StoreUnavailable", f"{DATA_SOURCE} {self._uri} answers {status}")


class _Connection(http.client.HTTPSConnection):
    """To the address that was checked, whatever the name resolves to by now."""

    def __init__(self, url: SplitResult, address: Address, context: ssl.SSLContext) -> None:
        super().__init__(url.hostname or "", url.port or PORT, timeout=TIMEOUT, context=context)
        self._address = str(address)
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), TIMEOUT)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def _read_url(text: str, beside: SplitResult | None = None) -> SplitResult | None:
    """A URL, or a place beside one; None where it is none that can be asked for: odd brackets, ports or signs."""
    try:
        url = urlsplit(urljoin(beside.geturl(), text) if beside else text)
        return url if url.port != 0 and _PLAIN_PATH.fullmatch(f"{url.path}{url.query}") else None
    except ValueError:
        return None


def _reached(url: SplitResult, uri: str, *, may_be_inside: bool) -> Address:
    """The address to connect to."""
    try:
        found = socket.getaddrinfo(url.hostname, url.port or PORT, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable("StoreUnavailable", f"{DATA_SOURCE} {uri}: the name {url.hostname} has no address") from None
    addresses = sorted({_address(str(entry[4][0])) for entry in found}, key=lambda address: (address.version, address.packed))
    for address in addresses:
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            _refused(uri, url, "a link-local address")
        if not (may_be_inside or address.is_global):
            _refused(uri, url, "an address inside, and the server that sends there is outside")
    return addresses[0]


def _address(text: str) -> Address:
    """Without a zone; an IPv4 address in the clothes of an IPv6 one is what it is."""
    found = ipaddress.ip_address(text.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _refused(uri: str, url: SplitResult, what: str) -> NoReturn:
    raise Refused("AddressRefused", f"{DATA_SOURCE} {uri}: {url.hostname} is {what}: name the server that has the object")


def _authorization(keys: dict[str, str]) -> str:
    for name in KEYS[:3]:
        if not keys.get(name, "").isprintable():
            raise Refused("SecretKeyWrong", f"{name} in the Secret of the {DATA_SOURCE} has more than one line: correct it")
    if "BEARER_TOKEN" in keys:
        return f"Bearer {keys['BEARER_TOKEN']}"
    if "USERNAME" in keys:
        pair = f"{keys['USERNAME']}:{keys.get('PASSWORD', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    return ""


def _read(answer: http.client.HTTPResponse, uri: str) -> bytes:
    try:
        return answer.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable("StoreUnavailable", f"{DATA_SOURCE} {uri} broke off ({type(error).__name__})") from None
