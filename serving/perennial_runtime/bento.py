"""Builds the Bento of a version: a BentoML bento directory whose src/ holds the model and all that serving it needs.

`perennial_runtime.evaluate` builds and packs it once a model was found sound; `fetch_bento` unpacks it beside the server. The
build imports the service (`perennial_runtime.service.make_service`), so it runs in a process of its own: BentoML keeps global
state, changes the working directory and may not be trusted with ours. The same contents give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial_runtime.archive import pack

SOURCE = "src"
MODEL_FILE = "model.onnx"
SCHEMA_FILE = "schema.json"
GOLDEN_FILE = "golden.json"
IDENTITY_FILE = "identity.json"
TRAIN_ROWS_FILE = "train_rows.npy"
PROFILE_FILE = "profile.json"
SERVICE_FILE = "service.py"
HASHES = "row_hashes"
"""Key of IDENTITY_FILE: by which scheme TRAIN_ROWS_FILE was hashed."""
THRESHOLD = 0.5
"""Score from which the served label is 1."""

SERVICE_SOURCE = '''"""Serves the model beside this file; `bentoml serve` puts this directory first on sys.path."""

from pathlib import Path

from perennial_runtime.service import make_service

service = make_service(Path(__file__).resolve().parent)
'''

REQUIREMENTS = ("onnxruntime", "numpy", "orjson", "prometheus-client", "uvicorn", "uvloop", "httptools")
"""Third-party packages that the service imports besides BentoML, pinned in the Bento to what it was judged with."""

BUILD_SECONDS = 120
EPOCH = "1970-01-01T00:00:00+00:00"
"""Written for bento.yaml's creation time: else judging the same model again would make another Bento and restart its pods."""


class BentoError(RuntimeError):
    """BentoML could not build the Bento; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a Bento. `version` is the ModelVersion's name, '<model>-v<N>'."""

    version: str
    identity: str
    model: Path
    schema: Path
    train_rows: Path
    golden: Mapping[str, Any]
    profile: Mapping[str, Any]
    hashes: int
    """By which scheme (`rows.SCHEME`) the training rows were hashed."""
    uid: str = ""
    """Of the ModelVersion, where the Bento will be signed: so that a signature is good for this object alone."""


def file_digest(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def identity_of(model: Path, schema: Path) -> str:
    """What quarantine remembers: the same model with the same schema has it again, whenever and wherever it was packaged."""
    document = {"model": file_digest(model), "schema": file_digest(schema)}
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def build_archive(contents: Contents, work: Path) -> Path:
    """Build the Bento under `work` and pack it; returns the tar. Raises BentoError."""
    archive = work / "bento.tar"
    pack(build(contents, work), archive)
    return archive


def build(contents: Contents, work: Path) -> Path:
    """The Bento directory, built under `work`. Raises BentoError."""
    context = _context(contents, work / "bento-context")
    home = work / "bentoml"
    model, _, number = contents.version.rpartition("-v")
    command = [sys.executable, "-m", __name__, str(context), model or contents.version, f"v{number}"]
    done = subprocess.run(
        command, env=_environment(work, home), cwd=context, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    built = home / "bentos" / (model or contents.version) / f"v{number}"
    if done.returncode != 0 or not built.is_dir():
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BentoError(f"bentoml ended with {done.returncode}: {said[-1] if said else 'and said nothing'}")
    _forget_the_time(built / "bento.yaml")
    shutil.rmtree(context)
    return built


def _context(contents: Contents, context: Path) -> Path:
    context.mkdir(parents=True)
    _place(contents.model, context / MODEL_FILE)
    _place(contents.schema, context / SCHEMA_FILE)
    _place(contents.train_rows, context / TRAIN_ROWS_FILE)
    _write(context / GOLDEN_FILE, contents.golden)
    _write(context / PROFILE_FILE, contents.profile)
    who: dict[str, Any] = {"version": contents.version, "identity": contents.identity, "threshold": THRESHOLD}
    who |= {HASHES: contents.hashes}
    who |= {"uid": contents.uid} if contents.uid else {}
    _write(context / IDENTITY_FILE, who)
    (context / SERVICE_FILE).write_text(SERVICE_SOURCE, encoding="utf-8")
    package = Path(__file__).parent
    (context / package.name).mkdir()
    for module in sorted(package.glob("*.py")):
        shutil.copyfile(module, context / package.name / module.name)
    return context


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another filesystem, or one without hard links
        shutil.copyfile(source, target)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def _environment(work: Path, home: Path) -> dict[str, str]:
    """No credentials, no tracking, and a `uv` that BentoML insists on finding but has no reason to run: nothing is locked."""
    tools = work / "tools"
    tools.mkdir(exist_ok=True)
    stub = tools / "uv"
    stub.write_text("#!/bin/sh\necho 'no package is resolved while a Bento is built' >&2\nexit 1\n", encoding="utf-8")
    stub.chmod(0o755)
    return {
        "PATH": f"{tools}{os.pathsep}{os.defpath}",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parent.parent), *filter(None, sys.path)]),
        "HOME": str(work),
        "TMPDIR": str(tools),
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }


def _forget_the_time(description: Path) -> None:
    text = description.read_text(encoding="utf-8")
    changed, found = re.subn(r"^creation_time: .*$", f"creation_time: '{EPOCH}'", text, flags=re.MULTILINE)
    if found != 1:
        raise BentoError(f"{description.name} has {found} lines with the creation time, expected one")
    description.write_text(changed, encoding="utf-8")


def _main(context: str, name: str, version: str) -> None:
    """The child process: BentoML's own build of the prepared directory."""
    import bentoml  # noqa: PLC0415  # only here: it costs a second and keeps global state

    installed = [f"{package}=={importlib.metadata.version(package)}" for package in REQUIREMENTS]
    bentoml.bentos.build(
        service="service:service",
        name=name,
        version=version,
        build_ctx=context,
        include=["*"],
        python={"lock_packages": False, "packages": installed},
        description=f"Model {name}, version {version}.",
    )


if __name__ == "__main__":
    _main(*sys.argv[1:])
