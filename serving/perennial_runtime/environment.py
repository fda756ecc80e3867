"""The packages that a training ran with: what the trainer writes into environment.txt, and what is taken of it.

`write` is for the trainer's side (the recipes, and `perennial_runtime.export` for images of the user's); a file that `pip freeze`
wrote does as well. `read` is the reporter's, which trusts no trainer: only lines of the known forms are taken, for a package that
was installed from a URL may have its password in there.

    # python 3.11.2
    # system Linux-x86_64
    # revision 4f2a9c1            of the code; from PERENNIAL_CODE_REVISION where the caller names none
    numpy==2.2.1
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

REVISION_VARIABLE = "PERENNIAL_CODE_REVISION"
"""Set it where the image is built, beside the label org.opencontainers.image.revision, which no container can read of itself."""
BYTES_LIMIT = 256 * 1024
MOST_PACKAGES = 2000
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9.!+_-]{0,99})")
_FACT = re.compile(r"# (python|system|revision) ([A-Za-z0-9][A-Za-z0-9._/:+@-]{0,127})")


@dataclass(frozen=True, slots=True)
class Environment:
    """What was taken. `text` is the same for the same packages, and has no revision: the same environment trains many."""

    text: str
    revision: str = ""

    @property
    def packages(self) -> dict[str, str]:
        """Version by name."""
        return packages(self.text)


def write(path: Path, revision: str | None = None) -> None:
    """environment.txt of this process. `revision`: of the code that trains; None: what PERENNIAL_CODE_REVISION says."""
    told = os.environ.get(REVISION_VARIABLE, "") if revision is None else revision
    facts = {"python": platform.python_version(), "system": f"{platform.system()}-{platform.machine()}", "revision": told}
    installed: dict[str, str] = {}
    for found in metadata.distributions():
        if found.name:  # a folder that looks like a distribution and is none has no name
            installed.setdefault(found.name, found.version)
    lines = [f"# {name} {value}" for name, value in facts.items() if value]
    lines += [f"{name}=={version}" for name, version in sorted(installed.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(body: bytes) -> Environment | None:
    """What can be taken of such a file; None where it names no package."""
    facts: dict[str, str] = {}
    found: dict[str, str] = {}
    for line in body[:BYTES_LIMIT].decode(errors="replace").splitlines():
        fact, package = _FACT.fullmatch(line.strip()), _PACKAGE.fullmatch(line.strip())
        if fact:
            facts.setdefault(fact[1], fact[2])
        elif package and len(found) < MOST_PACKAGES:
            found.setdefault(_plain(package[1]), package[2])
    if not found:
        return None
    lines = [f"# {name} {facts[name]}" for name in ("python", "system") if name in facts]
    lines += [f"{name}=={version}" for name, version in sorted(found.items())]
    return Environment("\n".join(lines) + "\n", facts.get("revision", ""))


def packages(text: str) -> dict[str, str]:
    """Version by name; Python itself and the system are among them."""
    found = {}
    for line in text.splitlines():
        fact, package = _FACT.fullmatch(line), _PACKAGE.fullmatch(line)
        if fact:
            found[fact[1]] = fact[2]
        elif package:
            found[package[1]] = package[2]
    return found


def _plain(name: str) -> str:
    """One spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
