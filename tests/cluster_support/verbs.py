"""`kubectl perennial` as a person runs it, in a namespace of the cluster."""

from __future__ import annotations

import os
import subprocess
import sys

from cluster_support.place import Place
from demo.ground import REPOSITORY

Ended = subprocess.CompletedProcess[str]


def program(place: Place, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of kubectl perennial, as the person who made the cluster."""
    command = [sys.executable, "-m", "perennial.cli", *arguments, f"--namespace={place.namespace}"]
    python = ":".join(str(REPOSITORY / name) for name in ("operator", "serving"))
    return command, {**os.environ, "PYTHONPATH": python, "KUBECONFIG": str(place.ground.cluster.kubeconfig)}


def ask(place: Place, *arguments: str) -> Ended:
    """Runs a verb to its end."""
    command, environment = program(place, *arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def ask_inside(place: Place, *arguments: str) -> Ended:
    """The same on the cluster's network, where the store can be reached."""
    command, environment = program(place, *arguments)
    command = [*place.ground.cluster.inside(), *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
