"""A cluster of the user's own, named by PERENNIAL_KUBECONFIG and PERENNIAL_REGISTRY: up and down leave it alone."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster import shell
from cluster.errors import ClusterError


@dataclass(frozen=True, slots=True)
class External:
    kubeconfig: Path
    registry: str


def from_environment(environment: Mapping[str, str]) -> External | None:
    """None when the embedded cluster is meant. One variable without the other is refused: images would have no place to go."""
    kubeconfig = environment.get("PERENNIAL_KUBECONFIG", "")
    registry = environment.get("PERENNIAL_REGISTRY", "")
    if not kubeconfig and not registry:
        return None
    if not kubeconfig or not registry:
        names = ("PERENNIAL_KUBECONFIG", "PERENNIAL_REGISTRY")
        there, lacking = names if kubeconfig else reversed(names)
        raise ClusterError(f"{there} is set and {lacking} is not: set both to use a cluster of yours, or neither.")
    if not Path(kubeconfig).is_file():
        raise ClusterError(f"PERENNIAL_KUBECONFIG names {kubeconfig}, which is not a file.")
    return External(Path(kubeconfig).absolute(), registry.rstrip("/"))


def check(external: External) -> None:
    """Whether the cluster answers, by kubectl from PATH."""
    if shutil.which("kubectl") is None:
        raise ClusterError("kubectl is not on PATH; it is needed to reach the cluster that PERENNIAL_KUBECONFIG names.")
    argv = ["kubectl", f"--kubeconfig={external.kubeconfig}", "get", "--raw", "/readyz"]
    shell.run(argv, what=f"reaching the cluster of PERENNIAL_KUBECONFIG={external.kubeconfig}", timeout=20)
