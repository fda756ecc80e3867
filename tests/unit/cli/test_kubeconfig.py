"""How the API server is asked for the person's own name, and what it answers where it does not tell."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from perennial.adapters.kubeconfig import KubeconfigCluster, NoAnswer

REVIEW = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "SelfSubjectReview",
    "metadata": {},
    "status": {"userInfo": {"username": "jane@example.com", "groups": ["system:authenticated"]}},
}
FORBIDDEN = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}


@contextmanager
def api_server(code: int, answer: dict[str, Any], asked: list[tuple[str, Any]]) -> Iterator[str]:
    """Answers every POST so; what it was asked is put into `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cluster(server: str, folder: Path) -> KubeconfigCluster:
    file = folder / "config"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
    }
    file.write_text(yaml.safe_dump(document))
    return KubeconfigCluster(str(file))


def test_a_person_is_asked_for_by_a_review_of_the_own_account(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    with api_server(201, REVIEW, asked) as server:
        assert cluster(server, tmp_path).user() == "jane@example.com"
    ((path, body),) = asked
    assert path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert body == {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}


@pytest.mark.parametrize("code", [403, 404], ids=["refused", "unknown to an older server"])
def test_an_api_server_that_does_not_tell_leaves_the_name_out(tmp_path: Path, code: int) -> None:
    with api_server(code, FORBIDDEN, []) as server:
        assert cluster(server, tmp_path).user() == ""


def test_an_api_server_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match=r"no answer from the API server http://127\.0\.0\.1:9"):
        cluster("http://127.0.0.1:9", tmp_path).user()
