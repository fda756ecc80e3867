"""Text without credentials: those that this process knows, and what looks like one.

Pure but for `known`. A short list instead of a library: those that there are scan repositories for secrets of hundreds of
services, by entropy too, and would both miss a password in a URL and blacken digests, of which our logs are full.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

MARK = "***"
SHORTEST = 6
"""A known value that is shorter would stand in many an innocent word."""
MOST_LINES = 200
"""Of a known value with several lines, so many are looked for by themselves: a private key has fewer."""
HARMLESS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP", "AZURE_ENDPOINT", "CA_CERT", "public.pem")
"""Keys of our Secrets that hold no secret."""

_NAMES = "passwords?|passwd|pwd|passphrase|secrets?|tokens?|credentials?|(?:api|access|secret|account|private)[_-]?key|signature"
_NAME = re.compile(rf"(?:{_NAMES})\Z", re.IGNORECASE)
_DOUBLE, _SINGLE = (rf"[bru]?{sign}[^{sign}\\\r\n]*(?:\\.[^{sign}\\\r\n]*)*{sign}?" for sign in "\"'")
_NESTED = r"\\\"(?:[^\"\\\r\n]|\\\\\\\"|\\\\|\\[^\"\\\r\n])*(?:\\?\")?"
_LIST = rf"[\[(]\s*(?:{_DOUBLE}|{_SINGLE}|,\s+(?=[\"'])|[^\])\"'\r\n])*[\])]?"
_VALUE = rf"{_NESTED}|{_DOUBLE}|{_SINGLE}|{_LIST}|[^\s,;&\"'}}\])]+"
"""In quotes that may hold escaped ones, in JSON within JSON, a list, or one word. Each ends with what may be missing, so that
nothing is tried twice: a log may be made to be slow to read."""
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MARK),
    (re.compile(r"([a-z][a-z0-9+.-]{1,20}://)[^\s/\"']+@", re.IGNORECASE), rf"\1{MARK}@"),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MARK),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), MARK),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|AIza)[\w-]{16,}"), MARK),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{MARK}"),
    (re.compile(r"(\bauthorization\\?[\"']?\s*[:=]\s*\\?[\"']?)[^\r\n\"']+", re.IGNORECASE), rf"\1{MARK}"),
    (re.compile(rf"((?:{_NAMES})(?:\\?[\"'])?\s*[:=]\s*)(?:{_VALUE})", re.IGNORECASE), rf"\1{MARK}"),
    (re.compile(r"([?&](?:sig|key|code)=)[^\s&\"']+", re.IGNORECASE), rf"\1{MARK}"),
)
"""What looks like a credential, and what stands there instead: private keys, user and password of a URL, keys of AWS, JSON web
tokens, tokens with a known beginning, headers, values whose name says what they are, signatures of a signed URL."""


def known(folders: Iterable[Path], environment: Mapping[str, str]) -> frozenset[str]:
    """Values that are secret for sure: of the Secrets mounted at `folders`, and of variables that are named like one."""
    found = {value for name, value in environment.items() if _NAME.search(name)}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in HARMLESS and path.is_file():
                found.add(path.read_text(errors="replace").strip())
    return frozenset(value for value in found if len(value) >= SHORTEST)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with a mark in the place of every secret, in the spellings that are common, and of what looks like one."""
    for secret in sorted({form for one in secrets for form in _forms(one)}, key=len, reverse=True):
        text = text.replace(secret, MARK)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _forms(one: str) -> Iterator[str]:
    """A known value as it is, as in URLs and JSON, and line by line."""
    yield from (
        one,
        quote(one, safe=""),
        quote(one),
        quote_plus(one),
        json.dumps(one)[1:-1],
        json.dumps(one, ensure_ascii=False)[1:-1],
    )
    for line in map(str.strip, one.splitlines()[:MOST_LINES]):
        if len(line) >= SHORTEST and not line.startswith("-----"):  # the head of a key shows where any other key begins
            yield line
