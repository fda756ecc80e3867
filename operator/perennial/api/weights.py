"""CEL rules for weights without a route, where a share of the requests is a number of pods beside those of stable.

`perennial.core.replicas.pods_beside` reckons the same number of pods; a weight is reached when their share comes within a fifth
of it.
"""

from __future__ import annotations

from perennial.api.base import cel

_REPLICAS = "self.serving.replicas"
_NO_SHARES = "has(self.serving.route) || has(self.smoke)"
"""A route gives weights to requests, and a smoke run is never rolled out."""


def _pods(weight: str) -> str:
    """The number of pods that comes nearest to a weight beside all of stable's; weights are over 0 and under 100."""
    return f"((2 * {weight} * {_REPLICAS} + 100 - {weight}) / (200 - 2 * {weight}))"


def _is_reached(weight: str) -> str:
    share = f"{weight} * ({_REPLICAS} + k)"
    return f"({weight} <= 50 && [{_pods(weight)}].all(k, 4 * {share} <= 500 * k && 500 * k <= 6 * {share}))"


def _advice(weight: str) -> str:
    """What to write instead: the nearest weight at these replicas, or the fewest replicas that reach this one."""
    pods = f"[{_pods(weight)}].map(k, k < 1 ? 1 : k)[0]"
    nearest = f"[{pods}].map(k, (200 * k + {_REPLICAS} + k) / (2 * ({_REPLICAS} + k)))[0]"
    replicas = f"(1000 + 12 * {weight} - 1) / (12 * {weight}) - 1"
    return (
        f"({weight} > 50 ? 'weights end at 50, where the candidate has as many pods as stable, and a promotion follows'"
        f" : 'take %d, the nearest for serving.replicas %d, or serving.replicas %d'"
        f".format([{nearest}, {_REPLICAS}, {replicas}]))"
    )


STEPS_REACHED = cel(
    f"{_NO_SHARES} || self.rollout.steps.all(s, {_is_reached('s.weight')})",
    "rollout.steps has a weight that pods cannot make: without serving.route weights are shares of pods; give a route, or more "
    "serving.replicas",
    f"[self.rollout.steps.filter(s, !{_is_reached('s.weight')})[0].weight].map(w, "
    "'rollout.steps has weight %d; without serving.route weights are shares of pods: %s; or give a route'"
    f".format([w, {_advice('w')}]))[0]",
)
HOLD_BACK_REACHED = cel(
    f"{_NO_SHARES} || !has(self.rollout.watch) || {_is_reached('self.rollout.watch.holdBack')}",
    "rollout.watch.holdBack cannot be made of pods: without serving.route it is a share of pods; give a route, or more "
    "serving.replicas",
    "'rollout.watch.holdBack is %d; without serving.route it is a share of pods: %s; or give a route'"
    f".format([self.rollout.watch.holdBack, {_advice('self.rollout.watch.holdBack')}])",
)
