"""A web server over TLS on loopback, with an authority of its own, that answers as a test says and remembers."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Page:
    """What lies under a path. `claimed`: the length that is told, where it is not the body's."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    claimed: int | None = None


@dataclass
class Web:
    """The server: `pages` by path, and the requests so far as (method, path, credentials)."""

    port: int
    authority: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"


def make_certificate(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> Path:
    """A certificate and its key, in one file and in certificate.pem and key.pem; it is its own authority."""
    both = folder / "server.pem"
    words = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", *words, "-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both


@contextmanager
def served(folder: Path) -> Iterator[Web]:
    """The server, as long as the block lasts."""
    both = make_certificate(folder)
    web = Web(0, (folder / "certificate.pem").read_text())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            page = web.pages.get(self.path, Page(status=404))
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body) if page.claimed is None else page.claimed))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(page.body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that does not trust the certificate hangs up; that is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
