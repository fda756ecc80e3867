"""Where things are: addresses, names and directories. Everything else takes a Settings and asks it.

Addresses come from ranges that no real network uses (198.18.0.0/15 is for benchmarks), so nothing leaves the machine.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NAME = "perennial"
PREFIX = "198.18.8"
HOST = f"{PREFIX}.1"  # the machine's end of the link to node1
NODE1 = f"{PREFIX}.2"
NODE1_TO_NODE2 = f"{PREFIX}.5"
NODE2 = f"{PREFIX}.6"
NODE2_LINK = f"{PREFIX}.4/30"
PODS = "10.244.0.0/16"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
REGISTRY = f"{HOST}:5000"
DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Settings:
    """The directories of one cluster. `cache` survives `down`, `state` does not."""

    repository: Path
    cache: Path
    state: Path

    @property
    def components(self) -> Path:
        return self.cache / "components"

    @property
    def bin(self) -> Path:
        return self.cache / "bin"

    @property
    def build_logs(self) -> Path:
        return self.cache / "logs"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def kubectl(self) -> Path:
        return self.bin / "kubectl"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """PERENNIAL_CACHE, else XDG_CACHE_HOME/perennial, else ~/.cache/perennial; the state is on the same file system."""
    if chosen := environment.get("PERENNIAL_CACHE"):
        cache = Path(chosen)
    elif xdg := environment.get("XDG_CACHE_HOME"):
        cache = Path(xdg) / "perennial"
    else:
        cache = Path(environment.get("HOME") or Path.home()) / ".cache" / "perennial"
    state = Path(environment.get("PERENNIAL_STATE", "/var/lib/perennial-dev"))
    return Settings(Path(__file__).resolve().parents[2], cache.absolute(), state.absolute())


def netns(node: int) -> str:
    """The network namespace of a node."""
    return f"{NAME}-{node}"
