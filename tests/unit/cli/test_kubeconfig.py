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

from perennial.adapters.kubeconfig import Forbidden, KubeconfigCluster, NoAnswer, NotStarted, Refused

REVIEW = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "SelfSubjectReview",
    "metadata": {},
    "status": {"userInfo": {"username": "jane@example.com", "groups": ["system:authenticated"]}},
}
FORBIDDEN = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}


@contextmanager
def api_server(code: int, answer: dict[str, Any] | bytes, asked: list[tuple[str, Any]]) -> Iterator[str]:
    """Answers every POST and GET so; what it was asked is put into `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PATCH = do_POST  # noqa: N815 - http.server's

        def do_GET(self) -> None:
            asked.append((self.path, None))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
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


def test_a_log_comes_line_by_line_also_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    asked: list[tuple[str, Any]] = []
    with api_server(200, "müde\r\n\nend".encode() + b"\xff", asked) as server:
        found = cluster(server, tmp_path).log("d-x", "train", previous=True, follow=False, lines=7)
        assert list(found) == ["müde\r", "", "end\ufffd"]
    ((path, _),) = asked
    assert path.startswith("/api/v1/namespaces/default/pods/d-x/log?")
    assert set(path.partition("?")[2].split("&")) == {"container=train", "previous=true", "follow=false", "tailLines=7"}


def test_a_log_is_followed_without_an_end_of_time_that_a_person_would_meet(tmp_path: Path) -> None:
    with api_server(200, b"one\ntwo\n", asked := []) as server:
        found = cluster(server, tmp_path).log("d-x", "server", previous=False, follow=True, lines=None)
        assert list(found) == ["one", "two"]
    assert "follow=true" in asked[0][0]


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        (400, 'container "train" in pod "d-x" is waiting to start: PodInitializing', NotStarted, "is waiting to start"),
        (400, 'previous terminated container "train" in pod "d-x" not found', Refused, "not found"),
        (403, 'pods "d-x" is forbidden', Forbidden, "is forbidden"),
        (404, 'pods "d-x" not found', Refused, "the pod d-x in namespace default is gone"),
    ],
)
def test_a_log_that_cannot_be_read_is_told(tmp_path: Path, code: int, message: str, kind: type[Refused], words: str) -> None:
    with api_server(code, {**FORBIDDEN, "message": message, "code": code}, []) as server, pytest.raises(Refused) as caught:
        list(cluster(server, tmp_path).log("d-x", "train", previous=False, follow=False, lines=None))
    assert type(caught.value) is kind
    assert words in str(caught.value)


def test_pods_are_listed_the_oldest_first_as_plain_manifests(tmp_path: Path) -> None:
    def pod(name: str, created: str) -> dict[str, Any]:
        metadata = {"name": name, "creationTimestamp": created, "labels": {"a": "b"}}
        return {"metadata": metadata, "spec": {"containers": [{"name": "train"}]}, "status": {"phase": "Failed"}}

    answer = {"kind": "PodList", "items": [pod("new", "2026-01-02T00:00:00Z"), pod("old", "2026-01-01T00:00:00Z")]}
    with api_server(200, answer, asked := []) as server:
        found = cluster(server, tmp_path).pods("a=b")
    assert [one["metadata"]["name"] for one in found] == ["old", "new"]
    assert (found[0]["spec"]["containers"], found[0]["status"]["phase"]) == ([{"name": "train"}], "Failed")
    assert asked == [("/api/v1/namespaces/default/pods?labelSelector=a%3Db", None)]


POLICY = "\"delays\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: jane may not"


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (403, POLICY, Forbidden),
        (422, POLICY.replace("forbidden", "invalid"), Forbidden),
        (400, 'admission webhook "w" denied the request: no', Forbidden),
        (403, 'User "jane" cannot patch resource "modeldeployments"', Forbidden),
        (409, "the object has been modified", Refused),
        (404, 'modeldeployments "delays" not found', Refused),
    ],
)
def test_a_request_that_a_person_may_not_make_is_told_apart(tmp_path: Path, code: int, message: str, kind: type[Refused]) -> None:
    with api_server(code, {**FORBIDDEN, "message": message, "code": code}, []) as server, pytest.raises(Refused) as caught:
        cluster(server, tmp_path).annotate("delays", {"perennial.dev/promote": "2"})
    assert type(caught.value) is kind
