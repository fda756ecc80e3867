"""How the story ended: history, evidence behind each verdict, what the client saw, and what to type next."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from demo import view
from demo.ground import Ground
from demo.stage import State


def tell(console: Console, state: State, name: str) -> None:
    """History, evidence and the client's account."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    console.print()
    console.print(view.table(view.rows(state.deployment, state.versions, state.tally), "How it ended"))
    for version in state.versions:
        say(f"\nv{view.number(version)}: {version.get('status', {}).get('state', '')}", "bold")
        for text in (version.get("status", {}).get("message", ""), *view.gate_lines(version), *view.evidence_lines(version)):
            if text:
                say(f"  {text}")
    failures = state.tally.failures_but()
    blamed = ", ".join(f"{count:,} of {version}" for version, count in failures.items()) or "none"
    say(f"\nThe client made {state.tally.requests:,} requests. Failures: {blamed}.", "bold")
    say(f"{view.exposure(state.tally, f'{name}-v3')}.")


def what_next(console: Console, ground: Ground, namespace: str, name: str, body: str) -> None:
    """Commands to try on the cluster, which is left up."""
    own = f"{Path(sys.executable).parent}:{ground.cluster.settings.bin}"
    lines = (
        "",
        "The cluster is left up. What to type next:",
        f"  export KUBECONFIG={ground.cluster.kubeconfig} PATH={own}:$PATH",
        f"  kubectl -n {namespace} get mdep,mver",
        f"  kubectl -n {namespace} describe mver {name}-v3",
        (
            f"  PYTHONPATH=dev .venv/bin/python -m cluster run -- \\\n    curl -s http://{address(ground)}/{name}/predict"
            f" -H 'content-type: application/json' -d '{body}'"
        ),
        f'  kubectl -n {namespace} patch mdep {name} --type=merge -p \'{{"spec":{{"pin":2}}}}\'     # go to v2 and stay there',
        f"  kubectl -n {namespace} apply -f examples/smallest.yaml                   # a model of your own",
        f"  kubectl -n {namespace} delete mdep {name}                                  # leaves no Kubernetes object",
        "Remove the cluster: make cluster-down",
    )
    for text in lines:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def address(ground: Ground) -> str:
    """The Gateway's address, or a word that stands for it on a cluster of the user's."""
    return ground.cluster.gateway_address if ground.cluster.netns else "<address of your Gateway>"
