"""What the operator is told by its environment: PERENNIAL_* variables, set by the chart. Read once by `perennial.bootstrap`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

PREFIX = "PERENNIAL_"
LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it and the fix."""


@dataclass(frozen=True, slots=True)
class MetricSource:
    """A Prometheus server, or what answers as one does, that rollout metrics may be read from."""

    name: str
    url: str
    """Its address, with a path where it has one; /api/v1/query is added."""
    token_file: str = ""
    """A file with a bearer token for it; read anew for every question, for tokens are renewed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All there is to set."""

    serving_image: str
    training_image: str
    store_uri: str
    store_secret: str = "perennial-store"
    store_serving_secret: str = "perennial-store-read"
    workers: int = 4
    namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""
    operator: str = ""
    """ModelDeployments whose label perennial.dev/operator has this value; empty: those that have no such label."""
    metrics_port: int = 8081
    log_format: Literal["json", "text"] = "json"
    log_level: str = "info"
    metric_sources: tuple[MetricSource, ...] = ()
    attestation: bool = False
    """A ValidatingAdmissionPolicy checks who asks, so that the name in perennial.dev/requested-by may be recorded."""
    recordings: bool = True
    """Each rollout is recorded, and the recording kept in a ConfigMap."""


VARIABLES: tuple[tuple[str, str], ...] = (
    ("SERVING_IMAGE", "image of serving pods and of our containers in a training Job; required"),
    ("TRAINING_IMAGE", "image of the steps that read data and of the recipes; required"),
    ("STORE_URI", "s3://<bucket>/<prefix> of the store; a ConfigMap perennial-store in a namespace overrides it; required"),
    ("STORE_SECRET", "name of the store's Secret in a model's namespace (perennial-store)"),
    ("STORE_SERVING_SECRET", "name of the Secret that can only read (perennial-store-read)"),
    ("WORKERS", "models that are looked at at the same time (4)"),
    ("NAMESPACES", "namespaces to work in, separated by commas (all)"),
    ("OPERATOR", "work only on models labelled perennial.dev/operator=<this> (those without that label)"),
    ("METRICS_PORT", "port of /metrics, /healthz and /readyz (8081)"),
    ("LOG_FORMAT", "json or text (json)"),
    ("METRIC_SOURCES", 'JSON: [{"name": "shop", "url": "http://prometheus:9090", "tokenFile": "/path"}]; no tokenFile: no token'),
    ("ATTESTATION", "true where the chart's policy checks perennial.dev/requested-by, else false (false)"),
    ("RECORDINGS", "true: each rollout is recorded for kubectl perennial backtest, in a ConfigMap (true)"),
    ("LOG_LEVEL", "debug, info, warning or error (info)"),
)


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from PERENNIAL_* variables. Raises SettingsError."""
    log_format = _one_of(environment, "LOG_FORMAT", ("json", "text"), "json")
    return Settings(
        serving_image=_required(environment, "SERVING_IMAGE"),
        training_image=_required(environment, "TRAINING_IMAGE"),
        store_uri=_store_uri(environment),
        store_secret=_text(environment, "STORE_SECRET", "perennial-store"),
        store_serving_secret=_text(environment, "STORE_SERVING_SECRET", "perennial-store-read"),
        workers=_number(environment, "WORKERS", 4, 1, 64),
        namespaces=tuple(name.strip() for name in _text(environment, "NAMESPACES", "").split(",") if name.strip()),
        operator=_text(environment, "OPERATOR", ""),
        metrics_port=_number(environment, "METRICS_PORT", 8081, 1, 65535),
        log_format="text" if log_format == "text" else "json",
        log_level=_one_of(environment, "LOG_LEVEL", LEVELS, "info"),
        metric_sources=_metric_sources(environment),
        attestation=_one_of(environment, "ATTESTATION", ("true", "false"), "false") == "true",
        recordings=_one_of(environment, "RECORDINGS", ("true", "false"), "true") == "true",
    )


def _text(environment: Mapping[str, str], name: str, default: str) -> str:
    return environment.get(PREFIX + name, "").strip() or default


def _required(environment: Mapping[str, str], name: str) -> str:
    value = _text(environment, name, "")
    if not value:
        raise SettingsError(f"{PREFIX}{name} is not set: {dict(VARIABLES)[name]}")
    return value


def _store_uri(environment: Mapping[str, str]) -> str:
    value = _required(environment, "STORE_URI").rstrip("/")
    if not value.startswith("s3://") or len(value) <= len("s3://"):
        raise SettingsError(f"{PREFIX}STORE_URI is {value!r}: give s3://<bucket>/<prefix>")
    return value


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = _text(environment, name, str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise SettingsError(f"{PREFIX}{name} is {text!r}: give a number from {least} to {most}")
    return int(text)


def _one_of(environment: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = _text(environment, name, default).lower()
    if value not in allowed:
        raise SettingsError(f"{PREFIX}{name} is {value!r}: give one of {', '.join(allowed)}")
    return value


def _metric_sources(environment: Mapping[str, str]) -> tuple[MetricSource, ...]:
    text = _text(environment, "METRIC_SOURCES", "[]")
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{PREFIX}METRIC_SOURCES is no JSON ({error}): give {dict(VARIABLES)['METRIC_SOURCES']}") from error
    if not isinstance(entries, list):
        raise SettingsError(f"{PREFIX}METRIC_SOURCES is no list: give {dict(VARIABLES)['METRIC_SOURCES']}")
    sources = tuple(_metric_source(entry) for entry in entries)
    names = [source.name for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f"{PREFIX}METRIC_SOURCES has {', '.join(twice)} twice: give each source a name of its own")
    return sources


def _metric_source(entry: Any) -> MetricSource:
    """One entry. An address that holds a password is not repeated in the refusal."""
    known = {"name", "url", "tokenFile"}
    if not isinstance(entry, dict) or not {"name", "url"} <= entry.keys() <= known or not _are_texts(entry):
        raise SettingsError(f"{PREFIX}METRIC_SOURCES: an entry has name and url, and may have tokenFile, all of them texts")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", entry["name"]):
        raise SettingsError(f"{PREFIX}METRIC_SOURCES: name is {entry['name']!r}: at most 32 of a-z, 0-9 and -, first a letter")
    if not _is_address(entry["url"]):
        raise SettingsError(
            f"{PREFIX}METRIC_SOURCES: the url of {entry['name']} must be http(s)://<host>[:<port>][/<path>],"
            " without user, password, query or fragment; a token goes into tokenFile"
        )
    return MetricSource(entry["name"], entry["url"].rstrip("/"), entry.get("tokenFile", ""))


def _are_texts(entry: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in entry.values())


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not parts.query and not parts.fragment and "@" not in parts.netloc and not re.search(r"\s", url)
    return fits and plain and parts.scheme in ("http", "https") and bool(parts.hostname)
