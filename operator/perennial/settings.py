"""What the operator is told by its environment: PERENNIAL_* variables, set by the chart. Read once by `perennial.bootstrap`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PREFIX = "PERENNIAL_"
LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it and the fix."""


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
