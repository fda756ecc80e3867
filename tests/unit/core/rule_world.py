"""The small cluster of `service_world` with rules of a user's HTTPRoute that can be borrowed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from perennial.core import actions
from perennial.core.observed import Borrowed, Observed, RouteState
from unit.core.service_world import ServiceWorld, unrouted

STEPS = {"steps": [{"weight": 25, "hold": "10s"}, {"weight": 50, "hold": "10s"}], "minimumRequests": 20}


def borrowing(rule: str = "predict", **changes: Any) -> Any:
    """The usual wish with a rule of the HTTPRoute shop."""
    return unrouted(serving={"replicas": 3, "route": {"httpRoute": {"name": "shop", "rule": rule}}}, **changes)


@dataclass
class RuleWorld(ServiceWorld):
    """`rules` has what the operator sees of each, by name: there, held or not, refused or not."""

    wish: Any = field(default_factory=borrowing)
    finalizer: bool = False
    rules: dict[str, Borrowed] = field(
        default_factory=lambda: {name: Borrowed("shop", name, state=RouteState((), True)) for name in ("predict", "pages")}
    )
    frozen_rules: bool = False
    """Writes of the user's route are refused."""
    writes: list[actions.Action] = field(default_factory=list)

    def observed(self) -> Observed:
        """What a pass sees."""
        base = super().observed()
        route = self.wish.serving.route
        named = route.http_route.rule if route is not None and route.http_route is not None else None
        first = [self.rules[named]] if named else []
        held = [rule for name, rule in self.rules.items() if rule.held and name != named]
        return replace(base, meta=replace(base.meta, finalizer=self.finalizer), borrowed=(*first, *held))

    def apply(self, action: actions.Action) -> None:
        """One write."""
        match action:
            case actions.AddFinalizer() | actions.RemoveFinalizer():
                self.writes.append(action)
                self.finalizer = isinstance(action, actions.AddFinalizer)
            case actions.BorrowRule() | actions.ReturnRule() if self.frozen_rules:
                pass
            case actions.BorrowRule(rule=name):
                old = self.rules[name]
                new = replace(old, held=True, state=replace(old.state or RouteState((), True), weights=action.weights))
                if action.weights or not old.held:
                    self._put(action, new)
            case actions.ReturnRule(rule=name):
                self._put(action, replace(self.rules[name], held=False, state=RouteState((), True)))
            case _:
                super().apply(action)

    def _put(self, action: actions.BorrowRule | actions.ReturnRule, new: Borrowed) -> None:
        if new != self.rules[action.rule]:
            self.writes.append(action)
        self.rules[action.rule] = new

    def traffic(self, rate: float, bad: dict[int, float]) -> None:
        """Requests come by whichever way there is: the Service, a route of our own, a rule that has weights."""
        ways = [rule.state for rule in self.rules.values() if rule.held and rule.state and rule.state.weights]
        real = self.route
        if not self.service and real is None and rate:
            if self.status.stable is not None and self.ready().get(self.status.stable) and not ways:
                self.lost += rate
            self.route = ways[0] if ways else None
        super().traffic(rate, bad)
        self.route = real
