"""kubectl as a function: the only way in which the demo and the cluster suite talk to the API server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Manifest = dict[str, Any]


class KubectlError(Exception):
    """kubectl ended with an error; the message is its own words."""


@dataclass(frozen=True, slots=True)
class Kubectl:
    """One kubectl with its kubeconfig and namespace. Never the user's current context."""

    program: str
    kubeconfig: Path
    namespace: str = "default"

    def within(self, namespace: str) -> Kubectl:
        """The same in another namespace."""
        return Kubectl(self.program, self.kubeconfig, namespace)

    def run(self, *arguments: str, given: str | None = None, timeout: float = 60) -> str:
        """Its output. Raises KubectlError with its words when it fails."""
        command = [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *arguments]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, check=False, timeout=timeout, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer within {timeout:.0f} s") from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object, or None when there is none."""
        text = self.run("get", kind, name, "--output=json", "--ignore-not-found")
        return dict(json.loads(text)) if text.strip() else None

    def list(self, kind: str, selector: str = "", *, everywhere: bool = False) -> Sequence[Manifest]:
        """Objects of a kind (or of several, separated by commas)."""
        options = [*([f"--selector={selector}"] if selector else []), *(["--all-namespaces"] if everywhere else [])]
        return list(json.loads(self.run("get", kind, "--output=json", *options))["items"])

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """Client-side `kubectl apply` of these objects, strictly validated."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        return self.run("apply", "--filename=-", given=document)

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> str:
        """A merge patch."""
        return self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def annotate(self, kind: str, name: str, key: str, value: str) -> str:
        """Set an annotation."""
        return self.run("annotate", "--overwrite", kind, name, f"{key}={value}")

    def logs(self, pod: str, container: str, lines: int = 20) -> str:
        """The newest lines of a container, or why there are none."""
        try:
            return self.run("logs", pod, f"--container={container}", f"--tail={lines}")
        except KubectlError as error:
            return f"({error})"


_CONDITIONS = '{range .status.conditions[*]}{.type}={.status} {.reason}, since {.lastTransitionTime}: {.message}{"\\n"}{end}'
"""A line for each; jsonpath."""


def diagnosis(kubectl: Kubectl, name: str) -> str:
    """All that a person would look at first when a ModelDeployment does not do what it should, in one text.

    What says why stands first: of a long text only the beginning may be kept.
    """
    parts = [
        _asked(kubectl, "get", "mdep", name, f"--output=jsonpath={_CONDITIONS}"),
        _asked(kubectl.within("perennial-system"), "logs", "deployment/perennial", "--tail=40"),
        _asked(kubectl, "get", "mdep,mver,jobs,deployments,httproutes,pods"),
        _asked(kubectl, "describe", "mdep", name),
        _asked(kubectl, "get", "events", "--sort-by=.lastTimestamp"),
        *(_pod_words(kubectl, pod) for pod in _pods(kubectl) if _unwell(pod)),
    ]
    return "\n\n".join(parts)


def _asked(kubectl: Kubectl, *arguments: str) -> str:
    try:
        text = kubectl.run(*arguments)
    except KubectlError as error:
        text = str(error)
    return f"--- kubectl {' '.join(arguments)}\n{_last(text, 120)}"


def _pods(kubectl: Kubectl) -> Sequence[Manifest]:
    try:
        return kubectl.list("pods")
    except KubectlError:
        return []


def _unwell(pod: Manifest) -> bool:
    states = pod.get("status", {}).get("containerStatuses", [])
    return pod.get("status", {}).get("phase") == "Failed" or any(not state.get("ready") for state in states)


def _pod_words(kubectl: Kubectl, pod: Manifest) -> str:
    name = pod["metadata"]["name"]
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return "\n".join(f"--- {name} {part['name']}\n{kubectl.logs(name, part['name'])}" for part in containers)


def _last(text: str, lines: int) -> str:
    return "\n".join(text.rstrip().splitlines()[-lines:])
