"""Data of a web server: what it may do, what is asked of it, and where it may send us."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from perennial_runtime import source_https
from perennial_runtime.answers import Refused, Unavailable
from perennial_runtime.source import Source
from runtime.steps_world import World, as_text, frame
from runtime.web_world import Page, Web, served

CSV = "/2013/flights.csv"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with served(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def web(server: Web) -> Web:
    server.pages.clear()
    server.asked.clear()
    return server


@pytest.fixture
def secret(web: Web, tmp_path: Path) -> Path:
    """The folder of a mounted Secret that has the server's authority."""
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "CA_CERT").write_text(web.authority)
    return folder


def fetched(source: Source, room: Path) -> bytes:
    [file] = source.files()
    with source.opened(file, room) as local:
        return local.read_bytes()


def refusal(url: str, secret: Path, room: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        fetched(Source(url, secret), room)
    return caught.value


def test_an_object_becomes_rows_as_the_same_file_elsewhere_does(web: Web, secret: Path, tmp_path: Path) -> None:
    world = World(tmp_path)
    as_text(frame(300)).write_csv(world.source / "flights.csv")
    web.pages[CSV] = Page((world.source / "flights.csv").read_bytes())
    there, here = world.prepare("there", source=web.url(CSV), secret=secret), world.prepare("here")
    assert replace(there, listing="") == replace(here, listing="")
    assert [method for method, _, _ in web.asked] == ["HEAD", "GET", "HEAD"]


def test_a_certificate_of_an_unknown_authority_is_refused_and_the_fix_is_named(web: Web, tmp_path: Path) -> None:
    refused = refusal(web.url(CSV), tmp_path / "none", tmp_path)
    assert refused.reason == "CertificateNotTrusted"
    assert "CA_CERT" in refused.message
    assert web.asked == []


def test_a_certificate_for_another_name_is_refused(
    web: Web, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved(monkeypatch, {"files.example": "127.0.0.1"})
    assert refusal(web.url(CSV, "files.example"), secret, tmp_path).reason == "CertificateNotTrusted"


@pytest.mark.parametrize(
    ("keys", "sent"),
    [({"BEARER_TOKEN": "t0p"}, "Bearer t0p"), ({"USERNAME": "jane", "PASSWORD": "pw"}, "Basic amFuZTpwdw=="), ({}, "")],
)
def test_the_secret_says_who_asks(web: Web, secret: Path, tmp_path: Path, keys: dict[str, str], sent: str) -> None:
    for name, value in keys.items():
        (secret / name).write_text(value + "\n")
    web.pages[CSV] = Page(b"a\n1\n")
    assert fetched(Source(web.url(CSV), secret), tmp_path) == b"a\n1\n"
    assert {credentials for _, _, credentials in web.asked} == {sent}


def test_credentials_do_not_follow_a_redirect_to_another_host(
    web: Web, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secret / "BEARER_TOKEN").write_text("t0p")
    web.pages[CSV] = Page(status=302, headers={"Location": web.url("/moved.csv?sig=abc", "localhost")})
    web.pages["/moved.csv?sig=abc"] = Page(b"a\n1\n")
    resolved(monkeypatch, {"localhost": "127.0.0.1"})
    assert fetched(Source(web.url(CSV), secret), tmp_path) == b"a\n1\n"
    assert {(path, credentials) for _, path, credentials in web.asked} == {(CSV, "Bearer t0p"), ("/moved.csv?sig=abc", "")}


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/plain.csv", "RedirectRefused"),
        ("https://169.254.169.254/latest/meta-data", "AddressRefused"),
        ("https://[::ffff:169.254.169.254]/latest", "AddressRefused"),
        (CSV, "RedirectRefused"),
        ("https://127.0.0.1:99999/a.csv", "RedirectRefused"),
        ("https://[bad/a.csv", "RedirectRefused"),
        ("/\xe9.csv", "RedirectRefused"),
    ],
    ids=["no TLS", "link-local", "link-local as IPv6", "a circle", "no port", "half an address", "no ASCII"],
)
def test_a_redirect_leads_nowhere_that_it_should_not(web: Web, secret: Path, tmp_path: Path, location: str, reason: str) -> None:
    web.pages[CSV] = Page(status=301, headers={"Location": location})
    refused = refusal(web.url(CSV), secret, tmp_path)
    assert refused.reason == reason
    assert "meta-data" not in refused.message


def test_a_server_outside_may_not_send_us_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolved(monkeypatch, {"inside.example": "10.0.0.7", "outside.example": "1.1.1.1"})
    reach = source_https._reached
    url = source_https.urlsplit("https://inside.example/a.csv")
    assert str(reach(url, "the source", may_be_inside=True)) == "10.0.0.7"
    with pytest.raises(Refused, match=r"inside\.example is an address inside"):
        reach(url, "the source", may_be_inside=False)
    assert str(reach(source_https.urlsplit("https://outside.example/a.csv"), "the source", may_be_inside=False)) == "1.1.1.1"


@pytest.mark.parametrize(
    ("status", "told"),
    [(404, ("ObjectNotFound", "no such object")), (403, ("PermissionDenied", "BEARER_TOKEN")), (405, ("ServerTooPlain", "HEAD"))],
)
def test_what_the_server_denies_is_refused_with_the_fix(
    web: Web, secret: Path, tmp_path: Path, status: int, told: tuple[str, str]
) -> None:
    web.pages[CSV] = Page(status=status)
    refused = refusal(web.url(CSV), secret, tmp_path)
    assert refused.reason == told[0]
    assert told[1] in refused.message


def test_a_server_in_trouble_and_an_answer_that_breaks_off_are_tried_again(web: Web, secret: Path, tmp_path: Path) -> None:
    for page in (Page(status=503), Page(b"a\n1\n", claimed=4000)):
        web.pages[CSV] = page
        with pytest.raises(Unavailable) as caught:
            fetched(Source(web.url(CSV), secret), tmp_path)
        assert caught.value.reason == "StoreUnavailable"


def test_an_object_larger_than_what_is_taken_is_refused(
    web: Web, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_https, "MOST_BYTES", 3)
    web.pages[CSV] = Page(b"a\n1\n")
    assert refusal(web.url(CSV), secret, tmp_path).reason == "FileTooLarge"


@pytest.mark.parametrize(("name", "text"), [("CA_CERT", "s3cret"), ("BEARER_TOKEN", "two\nlines")], ids=["authority", "token"])
def test_a_key_that_cannot_be_right_is_refused_and_not_quoted(
    web: Web, secret: Path, tmp_path: Path, name: str, text: str
) -> None:
    (secret / name).write_text(text)
    refused = refusal(web.url(CSV), secret, tmp_path)
    assert refused.reason == "SecretKeyWrong"
    assert name in refused.message
    assert text not in refused.message


@pytest.mark.parametrize("port", ["99999", "0"])
def test_a_url_that_cannot_be_asked_for_is_refused_with_the_fix(tmp_path: Path, port: str) -> None:
    for url in (f"https://files.example:{port}/a.csv", "https://files.example/\u00e4.csv"):
        refused = refusal(url, tmp_path / "none", tmp_path)
        assert refused.reason == "UriNotSupported"
        assert "correct the port, and write other signs than ASCII's as %C3%A4" in refused.message


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1", "many"])
def test_a_length_that_is_none_is_not_believed(web: Web, secret: Path, length: str) -> None:
    web.pages[CSV] = Page(headers={"Content-Length": length})
    [file] = Source(web.url(CSV), secret).files()
    assert file.size == 0


def test_an_object_that_changes_while_it_is_read_is_noticed(web: Web, secret: Path, tmp_path: Path) -> None:
    web.pages[CSV] = Page(b"a\n1\n", headers={"ETag": '"1"'})
    source = Source(web.url(CSV), secret)
    before = source.files()
    source.check_unchanged(before)
    web.pages[CSV] = Page(b"a\n2\n", headers={"ETag": '"2"'})
    with pytest.raises(Unavailable, match=r"flights\.csv was changed while it was read"):
        source.check_unchanged(before)


def resolved(monkeypatch: pytest.MonkeyPatch, names: dict[str, str]) -> None:
    """Names have these addresses, whatever the machine's resolver says."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names.get(host, host), port))]

    monkeypatch.setattr(source_https.socket, "getaddrinfo", getaddrinfo)
