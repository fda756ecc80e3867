"""A Deployment of one pod is taken away and brought back."""

from __future__ import annotations

from demo.kubectl import Kubectl


def scale(kubectl: Kubectl, name: str, replicas: int) -> None:
    """To one pod or to none; returns when it is ready, or when it is gone."""
    kubectl.run("scale", f"deployment/{name}", f"--replicas={replicas}")
    selector = _selector(kubectl, name)
    wanted = "jsonpath={.status.readyReplicas}=1" if replicas else "delete"
    target = [f"deployment/{name}"] if replicas else ["pod", f"--selector={selector}"]
    kubectl.run("wait", *target, f"--for={wanted}", "--timeout=90s", timeout=100)
    assert bool(kubectl.list("pods", selector)) == bool(replicas)


def _selector(kubectl: Kubectl, name: str) -> str:
    found = kubectl.get("deployment", name) or {}
    return ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())
