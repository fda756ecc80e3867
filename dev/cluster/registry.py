"""The image registry at the machine's end of the link: nodes pull only the layers that changed. Its data live in the cache."""

import http.client
from dataclasses import dataclass
from pathlib import Path

from cluster import shell
from cluster.components import Component
from cluster.errors import ClusterError
from cluster.processes import Daemon, ensure, must_live
from cluster.settings import REGISTRY, Settings

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
)


def daemon(settings: Settings) -> Daemon:
    config = (
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {settings.cache / 'registry'}}}, delete: {{enabled: true}}}}\n"
        f'http: {{addr: "{REGISTRY}"}}\n'
        "log: {level: warn}\n"
    )
    binary = str(Component.REGISTRY.directory(settings) / "docker-registry")
    return Daemon("registry", (binary, "serve", str(_config(settings))), None, config)


def start(settings: Settings) -> None:
    it = daemon(settings)
    shell.write_atomically(_config(settings), it.config)
    ensure(settings, it)

    def up() -> bool:
        must_live(settings, it)
        return answers()

    shell.wait_until(up, 20, "the registry's answer")


def _config(settings: Settings) -> Path:
    return settings.state / "registry.yml"


def answers() -> bool:
    try:
        return _request("GET", "/v2/").status == 200
    except ClusterError:
        return False


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    digest: str


def digest_of(repository: str, tag: str) -> str | None:
    """The digest of the manifest that a tag names, or None where the registry has no such tag."""
    answer = _request("HEAD", f"/v2/{repository}/manifests/{tag}")
    return answer.digest if answer.status == 200 and answer.digest else None


def _request(method: str, path: str) -> Answer:
    """Straight to the registry: no proxy of the user's environment lies between."""
    connection = http.client.HTTPConnection(REGISTRY, timeout=5)
    try:
        connection.request(method, path, headers={"Accept": MANIFESTS})
        response = connection.getresponse()
        return Answer(response.status, response.headers.get("Docker-Content-Digest", ""))
    except (OSError, http.client.HTTPException) as failure:
        raise ClusterError(f"The registry {REGISTRY} does not answer ({failure}): `python -m cluster up` mends it.") from failure
    finally:
        connection.close()
