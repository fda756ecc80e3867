"""buildah in a storage of the cluster's own: builds from Dockerfiles and pushes to the registry, without any daemon.

Everything but `storage` is called under lifecycle's build lock, so a working container that is there is a killed build's.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import shell
from cluster.settings import REGISTRY, Settings

LITTLE_ROOM_BYTES = 10 * 2**30
CERTIFICATES = Path("/etc/ssl/certs")
RUN = Path("/run")
PASSED_ON = re.compile(r"(PIP|UV)_\w+|SSL_CERT_(FILE|DIR)|(http|https|no)_proxy|(HTTP|HTTPS|NO)_PROXY")
ARGUMENT = re.compile(r"^\s*ARG\s+(\w+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where buildah keeps what: images and working containers in `root`, what a restart of the machine ends in `run`."""

    root: Path
    run: Path


def storage(settings: Settings) -> Storage:
    """This cache's own; two caches on a machine share nothing."""
    name = hashlib.sha256(str(settings.cache).encode()).hexdigest()[:8]
    return Storage(settings.cache / "images", RUN / f"perennial-images-{name}")


def _buildah(settings: Settings) -> list[str]:
    own = storage(settings)
    return ["buildah", "--root", str(own.root), "--runroot", str(own.run)]


def _scratch(settings: Settings) -> Path:
    """For files that live as long as one build; buildah would put them into /var/tmp and leave them there when killed."""
    scratch = settings.cache / "build" / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return scratch


def clear(settings: Settings, log: Path) -> None:
    """Removes what builds that were killed left: working containers with their mounts, and files. Images and layers stay."""
    shell.run([*_buildah(settings), "rm", "--all"], what="removing working containers", log=log)
    shutil.rmtree(_scratch(settings), ignore_errors=True)


def make_room(settings: Settings, log: Path, below: int = LITTLE_ROOM_BYTES) -> bool:
    """Forgets layers that no named image uses when the disk runs full: they only save time in the next build. True if so."""
    if shutil.disk_usage(settings.cache).free >= below:
        return False
    clear(settings, log)  # the layers that a working container stands on would stay
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
) -> None:
    """Builds an image, reusing the layers whose instructions and files are as before.

    chroot isolation needs neither cgroups nor network set-up; RUN steps have the machine's network, its certificates and its
    configuration of pip, so a Dockerfile needs no word about the place where it is built.
    """
    clear(settings, log)
    scratch = _scratch(settings)
    ignore = scratch / "ignore"
    ignore.write_text("".join(f"{line}\n" for line in ("**/__pycache__", "**/*.pyc", ".git", ".venv")))
    words = [*_buildah(settings), "bud", "--layers", "--force-rm", "--isolation", "chroot", "--network", "host", "--pull=never"]
    for host, inside in mounts(scratch).items():
        words += ["--volume", f"{host}:{inside}:ro"]
    for name, value in {**inherited(dockerfile.read_text(), os.environ), **arguments}.items():
        words += ["--build-arg", f"{name}={value}"]
    words += ["--ignorefile", str(ignore), "--tag", image, "--file", str(dockerfile), str(context)]
    place = {"TMPDIR": str(scratch)}
    shell.retried(lambda: shell.run(words, what=f"building {image}", log=log, cwd=context, env=place), attempts=2, pause=1)


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
    scratch = _scratch(settings)
    place = {"TMPDIR": str(scratch)}
    if plain:
        words += ["--disable-compression", "--tls-verify=false"]
        place |= dict.fromkeys(("NO_PROXY", "no_proxy"), REGISTRY.rpartition(":")[0])
    receipt = scratch / "digest"
    words += ["--digestfile", str(receipt), image, f"docker://{target}"]
    shell.run(words, what=f"pushing {target}", log=log, env=place)
    return receipt.read_text().strip()
