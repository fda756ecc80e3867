"""What is no secret any more when a log has been kept, and what stays as it was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from perennial_runtime.log_tail import RAW_BYTES
from perennial_runtime.redaction import known, redacted

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("get postgres://jane:hunter2@db:5432/x now", "get postgres://***@db:5432/x now"),
        ("get https://hunter2@example.com/x", "get https://***@example.com/x"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key *** used"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=***"),
        ('{"db_password": "hunter2", "rows": 3}', '{"db_password": ***, "rows": 3}'),
        (r'{"text": "{\"api_key\": \"hunter2\"}"}', r'{"text": "{\"api_key\": ***}"}'),
        ("password: hunter2", "password: ***"),
        ("PGPASSWORD='hunter2 and more' psql", "PGPASSWORD=*** psql"),
        ("Authorization: Basic aHVudGVyMg==", "Authorization: ***"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: ***"),
        ("curl with bearer abcdefgh12345678", "curl with bearer ***"),
        ("headers {'authorization': 'Token hunter2'}", "headers {'authorization': '***'}"),
        (f"session {TOKEN} opened", "session *** opened"),
        ("hf_abcdefghijklmnopqrst and ghp_0123456789abcdefghij", "*** and ***"),
        ("https://x.blob/y?sv=1&sig=hunter2%3D&se=2", "https://x.blob/y?sv=1&sig=***&se=2"),
        ("https://b.s3/x?X-Amz-Signature=0123456789abcdef&a=1", "https://b.s3/x?X-Amz-Signature=***&a=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nhunter2\n-----END RSA PRIVATE KEY-----\nnext", "***\nnext"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\nand it was killed", "***"),
        ("get postgres://jane:p@hunter2@db/x now", "get postgres://***@db/x now"),
        (r'{"password": "a\"hunter2", "rows": 3}', '{"password": ***, "rows": 3}'),
        (r"password='a\'hunter2' rows=3", "password=*** rows=3"),
        (r'{"text": "{\"token\": \"a\\\"hunter2\", \"rows\": 3}"}', r'{"text": "{\"token\": ***, \"rows\": 3}"}'),
        ('{"tokens": ["a]b", "hunter2"], "rows": 3}', '{"tokens": ***, "rows": 3}'),
        ('{"tokens": [\n  "abc",\n  "hunter2"\n], "rows": 3}', '{"tokens": ***\n], "rows": 3}'),
        ("connect(password=b'hunter2', rows=3)", "connect(password=***, rows=3)"),
    ],
)
def test_what_looks_like_a_credential_is_marked(text: str, kept: str) -> None:
    assert redacted(text) == kept
    assert "hunter2" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"event":"answer","answer":{"prepare":{"data":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}}}',
        "epoch 3 of 10: loss 0.31, roc_auc 0.74",
        "SecretMissing: the Secret of the store does not exist",
        "s3://flights/2013/ holds 12 files, see https://example.com/a@b",
        "tokenizer: 32000 words; the bearer of news; 3 secrets were mounted",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redacted(text) == text


def test_known_values_are_marked_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("hunter/2+more\n")
    (tmp_path / "AWS_ENDPOINT_URL").write_text("http://store:9000")
    (tmp_path / "pin").write_text("1234")
    environment = {"WANDB_API_KEY": "abcdef0123", "HOME": "/home/jane", "TOKENS_SEEN": "many more"}
    secrets = known([tmp_path, tmp_path / "missing"], environment)
    assert secrets == {"hunter/2+more", "abcdef0123"}
    text = "a hunter/2+more b hunter%2F2%2Bmore c abcdef0123 d http://store:9000 e 1234"
    assert redacted(text, secrets) == "a *** b *** c *** d http://store:9000 e 1234"


def test_known_values_are_marked_in_their_common_spellings() -> None:
    secret = 'hunter "2"/ü\nsecond+line of it\nend'
    spellings = (
        secret,
        "hunter%20%222%22%2F%C3%BC%0Asecond%2Bline%20of%20it%0Aend",
        "hunter%20%222%22/%C3%BC%0Asecond%2Bline%20of%20it%0Aend",
        "hunter+%222%22%2F%C3%BC%0Asecond%2Bline+of+it%0Aend",
        r"hunter \"2\"/\u00fc\nsecond+line of it\nend",
        r"hunter \"2\"/ü\nsecond+line of it\nend",
        "second+line of it",
    )
    assert [redacted(f"a {one} b", [secret]) for one in spellings] == ["a *** b"] * len(spellings)


def test_the_head_of_a_known_key_still_shows_where_another_one_begins() -> None:
    ours = "-----BEGIN PRIVATE KEY-----\nMIIEours\n-----END PRIVATE KEY-----"
    assert redacted("x\n-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\ny", [ours]) == "x\n***\ny"


HOSTILE = (
    "-eyJaaaaaaaa",
    "eyJaaaaaaaa.",
    "a",
    "ab://x@",
    "-----BEGIN ",
    "-----END PRIVATE KEY",
    "sk-",
    "bearer ",
    "authorization=\n",
    "token ",
    "token=[,  ",
    "&sig=",
    " ",
    '\\"',
)


@pytest.mark.parametrize("begin", ["", "token=[", "bearer "])
def test_no_text_is_slow_to_read(begin: str) -> None:
    for piece in HOSTILE:
        text = begin + piece * (RAW_BYTES // len(piece))
        began = time.process_time()
        redacted(text)
        assert time.process_time() - began < 1.5, (begin, piece)
