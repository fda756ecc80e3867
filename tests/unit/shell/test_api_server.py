"""The API client: errors as a tree, with the API server's own words; who we are on every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from aiohttp import web

from perennial.adapters.cluster import ApiServer, error_of
from perennial.adapters.credentials import Credentials
from perennial.adapters.kinds import CONFIG_MAPS, JOBS, PODS
from perennial.ports import ClusterError, Conflict, Invalid, NotFound, Unavailable


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unavailable),
        (403, Invalid),
        (404, NotFound),
        (409, Conflict),
        (418, Invalid),
        (422, Invalid),
        (429, Unavailable),
        (500, Unavailable),
        (504, Unavailable),
    ],
)
def test_every_http_status_is_an_error_of_the_tree(status: int, kind: type[ClusterError]) -> None:
    error = error_of(status, "words")
    assert type(error) is kind
    assert (error.status, str(error)) == (status, "words")


class Server:
    """Answers what the test puts, and keeps the requests."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[tuple[str, str, dict[str, str], str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name: request.headers.get(name, "") for name in ("Authorization", "User-Agent", "Content-Type")}
        self.requests.append((request.method, request.path_qs, headers, await request.text()))
        return self.answers.pop(0)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, ApiServer, list[tuple[str, int]]]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = SimpleNamespace(
        host=f"http://127.0.0.1:{runner.addresses[0][1]}",
        ssl_ca_cert=None,
        cert_file=None,
        key_file=None,
        api_key={"authorization": "Bearer one"},
        verify_ssl=True,
    )

    def renew(settings: SimpleNamespace) -> None:
        settings.api_key = {"authorization": f"Bearer {len(server.requests) + 1}"}

    configuration.refresh_api_key_hook = renew
    told: list[tuple[str, int]] = []
    async with ApiServer(Credentials(configuration), lambda verb, status: told.append((verb, status))) as api:
        yield server, api, told
    await runner.cleanup()


async def test_a_refusal_keeps_the_words_of_the_api_server(
    served: tuple[Server, ApiServer, list[tuple[str, int]]],
) -> None:
    server, api, told = served
    server.answers.append(web.json_response({"kind": "Status", "message": "exceeded quota: pods=0"}, status=403))
    with pytest.raises(Invalid, match="exceeded quota: pods=0"):
        await api.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "shop"}})
    assert told == [("create", 403)]


async def test_an_answer_that_is_no_json_is_worth_another_try(
    served: tuple[Server, ApiServer, list[tuple[str, int]]],
) -> None:
    server, api, _ = served
    server.answers.append(web.Response(text="<html>bad gateway", status=502))
    with pytest.raises(Unavailable, match="bad gateway"):
        await api.get(JOBS, "shop", "j")
    server.answers.append(web.Response(text="<html>welcome", status=200))
    with pytest.raises(Unavailable, match="is not JSON"):
        await api.get(JOBS, "shop", "j")


async def test_a_kind_that_the_cluster_does_not_know_is_not_found(
    served: tuple[Server, ApiServer, list[tuple[str, int]]],
) -> None:
    server, api, _ = served
    server.answers.append(web.Response(text="404 page not found\n", status=404))
    with pytest.raises(NotFound, match="404 page not found"):
        await api.list(JOBS, "shop")


async def test_no_answer_is_unavailable_with_status_0() -> None:
    configuration = SimpleNamespace(
        host="http://127.0.0.1:1",
        ssl_ca_cert=None,
        cert_file=None,
        key_file=None,
        api_key={},
        verify_ssl=True,
        refresh_api_key_hook=None,
    )
    async with ApiServer(Credentials(configuration)) as api:
        with pytest.raises(Unavailable, match="no answer from the API server") as caught:
            await api.get(JOBS, "shop", "j")
    assert caught.value.status == 0


async def test_every_request_says_who_we_are_with_the_newest_token(
    served: tuple[Server, ApiServer, list[tuple[str, int]]],
) -> None:
    server, api, _ = served
    server.answers += [web.json_response({}), web.json_response({})]
    await api.get(JOBS, "shop", "j")
    await api.get(JOBS, "shop", "j")
    assert [headers["Authorization"] for _, _, headers, _ in server.requests] == ["Bearer 1", "Bearer 2"]
    assert {headers["User-Agent"] for _, _, headers, _ in server.requests} == {"perennial-operator"}


async def test_schemas_of_our_kinds_are_read_of_openapi(served: tuple[Server, ApiServer, list[tuple[str, int]]]) -> None:
    server, api, _ = served

    def of(*kinds: tuple[str, str]) -> dict[str, object]:
        named = [{"group": group, "version": "v1alpha1", "kind": kind} for group, kind in kinds]
        return {"type": "object", "x-kubernetes-group-version-kind": named}

    schemas = {
        "dev.perennial.v1alpha1.ModelVersion": of(("perennial.dev", "ModelVersion")),
        "dev.perennial.v1alpha1.ModelVersionList": of(("perennial.dev", "ModelVersionList")),
        "io.k8s.DeleteOptions": of(("apps", "DeleteOptions"), ("perennial.dev", "DeleteOptions")),
        "io.k8s.Time": {"type": "string"},
    }
    server.answers += [web.json_response({"components": {"schemas": schemas}}), web.json_response({})]
    assert await api.schemas() == {"ModelVersion": schemas["dev.perennial.v1alpha1.ModelVersion"]}
    assert await api.schemas() == {}
    assert server.requests[0][1] == "/openapi/v3/apis/perennial.dev/v1alpha1"


async def test_a_long_list_is_read_in_pages(served: tuple[Server, ApiServer, list[tuple[str, int]]]) -> None:
    server, api, _ = served
    server.answers += [
        web.json_response({"metadata": {"resourceVersion": "7", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        web.json_response({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    items, version = await api.list(PODS, None, "perennial.dev/model")
    assert [(item["kind"], item["metadata"]["name"]) for item in items] == [("Pod", "a"), ("Pod", "b")]
    assert version == "7"
    assert "continue=next" in server.requests[1][1]


async def test_an_apply_is_a_server_side_apply_of_ours(served: tuple[Server, ApiServer, list[tuple[str, int]]]) -> None:
    server, api, _ = served
    server.answers.append(web.json_response({}))
    await api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}})
    method, path, headers, _ = server.requests[0]
    assert (method, headers["Content-Type"]) == ("PATCH", "application/apply-patch+yaml")
    assert path == "/api/v1/namespaces/shop/configmaps/c?fieldManager=perennial-operator&force=true"


async def test_deleting_names_the_uid_and_leaves_no_orphans(
    served: tuple[Server, ApiServer, list[tuple[str, int]]],
) -> None:
    server, api, _ = served
    server.answers.append(web.json_response({"kind": "ConfigMap", "metadata": {"deletionTimestamp": "now"}}))
    rest = await api.delete(CONFIG_MAPS, "shop", "c", "u1")
    assert rest is not None
    assert '"propagationPolicy":"Background","preconditions":{"uid":"u1"}' in server.requests[0][3]
