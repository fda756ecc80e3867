"""What it costs to start kubectl perennial.

From the start of the process to its end, 15 times each, taking turns with `kubectl version --client`, which is a program that
is one file and asks nobody; a round before them is not counted. `version` and `--help` are the start alone; `get` also loads
the Kubernetes client and the models of the API, and asks the API server for the models of an empty namespace, beside the same
asked by kubectl.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from benchmarks.report import Report, median
from benchmarks.stand import Stand
from demo.ground import REPOSITORY

RUNS = 15
START_SECONDS = 0.25


def timed(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], runs: int = RUNS) -> dict[str, list[float]]:
    """Seconds of each run, by name, the commands taking turns; Python's compiled files are there after an uncounted round.

    Raises AssertionError with the words of a command that fails.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
            took = time.perf_counter() - began
            assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr}"
            if number:
                seconds[name].append(took)
    return seconds


def run(stand: Stand) -> Report:
    """All of them in turns."""
    report = Report("cli", "The start of kubectl perennial", " ".join((__doc__ or "").split("\n\n")[1].split()))
    with stand.place("cli") as place:
        kubectl, namespace = place.kubectl.program, f"--namespace={place.namespace}"
        ours = [sys.executable, "-m", "perennial.cli"]
        commands = {
            "kubectl version --client": [kubectl, "version", "--client"],
            "kubectl-perennial version": [*ours, "version"],
            "kubectl-perennial --help": [*ours, "--help"],
            "kubectl get mdep": [kubectl, "get", "mdep", namespace],
            "kubectl-perennial get": [*ours, "get", namespace],
        }
        python = ":".join(str(REPOSITORY / name) for name in ("operator", "serving"))
        environment = {**os.environ, "KUBECONFIG": str(place.ground.cluster.kubeconfig), "PYTHONPATH": python}
        seconds = timed(commands, environment)
    medians = {name: median(found) for name, found in seconds.items()}
    for name, found in medians.items():
        most = START_SECONDS if name.endswith(("perennial version", "--help")) else None
        report.add(f"{name}, median of {RUNS}", found, "s", most)
    report.add(
        "kubectl-perennial version over kubectl version --client",
        medians["kubectl-perennial version"] / medians["kubectl version --client"],
        "x",
    )
    return report
