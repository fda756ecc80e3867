"""buildah in a storage of the cluster's own: builds from Dockerfiles and pushes to the registry, without any daemon."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster import shell
from cluster.settings import REGISTRY, Settings

LITTLE_ROOM_BYTES = 10 * 2**30
CERTIFICATES = Path("/etc/ssl/certs")
PASSED_ON = re.compile(r"(PIP|UV)_\w+|SSL_CERT_(FILE|DIR)|(http|https|no)_proxy|(HTTP|HTTPS|NO)_PROXY")
ARGUMENT = re.compile(r"^\s*ARG\s+(\w+)", re.MULTILINE | re.IGNORECASE)


def _buildah(settings: Settings) -> list[str]:
    return ["buildah", "--root", str(settings.cache / "images"), "--runroot", "/run/perennial-images"]


def make_room(settings: Settings, log: Path, below: int = LITTLE_ROOM_BYTES) -> bool:
    """Forgets layers that no named image uses when the disk runs full: they only save time in the next build. True if so."""
    if shutil.disk_usage(settings.cache).free >= below:
        return False
    shell.run([*_buildah(settings), "rmi", "--prune"], what="forgetting unused layers", log=log)
    return True


def exists(settings: Settings, image: str) -> bool:
    return shell.succeeds([*_buildah(settings), "inspect", "--type", "image", image])


def build(
    settings: Settings,
    image: str,
    *,
    dockerfile: Path,
    context: Path,
    arguments: Mapping[str, str],
    log: Path,
    ignored: Iterable[str] = (),
) -> None:
    """Builds an image, reusing the layers whose instructions and files are as before.

    chroot isolation needs neither cgroups nor network set-up; RUN steps have the machine's network, its certificates and its
    configuration of pip, so a Dockerfile needs no word about the place where it is built.
    """
    scratch = settings.cache / "build"
    scratch.mkdir(parents=True, exist_ok=True)
    ignore = scratch / "ignore"
    ignore.write_text("".join(f"{line}\n" for line in ("**/__pycache__", "**/*.pyc", ".git", ".venv", *ignored)))
    words = [*_buildah(settings), "bud", "--layers", "--isolation", "chroot", "--network", "host", "--pull=never"]
    for host, inside in mounts(scratch).items():
        words += ["--volume", f"{host}:{inside}:ro"]
    for name, value in {**inherited(dockerfile.read_text(), os.environ), **arguments}.items():
        words += ["--build-arg", f"{name}={value}"]
    words += ["--ignorefile", str(ignore), "--tag", image, "--file", str(dockerfile), str(context)]
    shell.retried(lambda: shell.run(words, what=f"building {image}", log=log, cwd=context), attempts=2, pause=1)


def inherited(dockerfile: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables about package indexes, proxies and certificates that the Dockerfile declares as ARG and we have."""
    declared = ARGUMENT.findall(dockerfile)
    return {name: environment[name] for name in declared if name in environment and PASSED_ON.fullmatch(name)}


def mounts(scratch: Path) -> dict[Path, str]:
    """What RUN steps see of this machine: certificates, pip's configuration, and local directories of wheels it names."""
    seen: dict[Path, str] = {}
    if CERTIFICATES.is_dir():
        seen[CERTIFICATES] = str(CERTIFICATES)
    configuration = _pip_configuration()
    if configuration:
        file = scratch / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in configuration.items()))
        seen[file] = "/etc/pip.conf"
        for word in configuration.get("find-links", "").split():
            if Path(word).is_dir():
                seen[Path(word)] = word
    return seen


def _pip_configuration() -> dict[str, str]:
    """What `pip config list` says, global section and environment merged; the environment wins as it does in pip."""
    python = shutil.which("python3")
    if python is None or not shell.succeeds([python, "-m", "pip", "--version"]):
        return {}
    return parse_pip_configuration(shell.run([python, "-m", "pip", "config", "list"]))


def parse_pip_configuration(listing: str) -> dict[str, str]:
    """Lines such as `global.index-url='...'` and `:env:.cert='...'` as one table; other sections are left out."""
    found: dict[str, dict[str, str]] = {"global": {}, ":env:": {}}
    for line in listing.splitlines():
        name, separator, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if separator and section in found:
            found[section][key] = value.strip("'\"").replace("\\n", " ").strip()
    merged = {**found["global"], **found[":env:"]}
    return {key: value for key, value in merged.items() if value}


def push(settings: Settings, image: str, target: str, log: Path, *, plain: bool) -> str:
    """Sends an image to `registry/name:tag` and returns its digest there.

    `plain`: to the cluster's own registry, without TLS, around any proxy of the user's environment, and uncompressed, for
    packing a gigabyte would cost more than sending it within the machine.
    """
    words = [*_buildah(settings), "push", "--quiet"]
    direct: dict[str, str] = {}
    if plain:
        words += ["--disable-compression", "--tls-verify=false"]
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), REGISTRY.rpartition(":")[0])
    receipt = settings.cache / "build" / "digest"
    words += ["--digestfile", str(receipt), image, f"docker://{target}"]
    shell.run(words, what=f"pushing {target}", log=log, env=direct)
    return receipt.read_text().strip()
