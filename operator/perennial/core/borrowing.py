"""A rule of somebody else's HTTPRoute as a router: when it may be borrowed, what is asked of it, and how it is given back.

The finalizer is written first, then the claim, then weights; on the way back the rule, then the finalizer. So whatever is killed,
a claim never outlives a ModelDeployment unseen. What carries a rollout out is `perennial.core.routers`' matter.
"""

from __future__ import annotations

from collections.abc import Sequence

from perennial.api.v1alpha1 import ModelDeploymentSpec
from perennial.core.actions import AddFinalizer, BorrowRule, Plan, RemoveFinalizer, ReturnRule
from perennial.core.conditions import with_findings
from perennial.core.draft import Draft
from perennial.core.inputs import since
from perennial.core.observed import Borrowed, Meta, Mirror, Observed
from perennial_runtime.contract import GROUP

CONDITION = "Borrowed"
NOT_GIVEN_BACK = "NotGivenBack"
LOOK_SECONDS = 10.0
"""How soon to look again at a rule that another holds: nobody tells when one goes that left its claim."""
LEFT_SECONDS = 60.0
"""How long the API server may refuse that a rule is given back before its ModelDeployment goes without."""


def borrows(spec: ModelDeploymentSpec) -> bool:
    """The spec names a rule of somebody else's HTTPRoute."""
    return spec.serving.route is not None and spec.serving.route.http_route is not None


def wanted(observed: Observed) -> Borrowed | None:
    """The rule that the spec names."""
    return observed.borrowed[0] if borrows(observed.spec) and observed.borrowed else None


def standing_in(observed: Observed) -> Borrowed | None:
    """While the rule that the spec names cannot be borrowed: the one that is held still, whose weights stay as they are."""
    if refused(observed) is None:
        return None
    return next((rule for rule in observed.borrowed if rule.held and rule != wanted(observed)), None)


def refused(observed: Observed) -> tuple[str, str] | None:
    """(reason, message): why the rule that the spec names cannot be borrowed."""
    rule = wanted(observed)
    return rule.refused if rule is not None else None


def claim_key(meta: Meta) -> str:
    """The annotation on an HTTPRoute that says what this ModelDeployment holds of it."""
    return f"{GROUP}/claim.{meta.name}"


def ask(draft: Draft, weights: Sequence[tuple[int, int]], mirror: Mirror | None = None) -> None:
    """The rule with these weights. One that is held already is driven on whatever is wrong with it: a return must get through."""
    rule = wanted(draft.observed)
    if rule is not None and rule.state is not None and draft.observed.meta.finalizer and (rule.held or rule.refused is None):
        draft.after.append(BorrowRule(rule.route, rule.rule, tuple(weights), mirror, rule.stale))


def give_back_others(draft: Draft) -> None:
    """Rules that the spec does not name any more."""
    named = wanted(draft.observed)
    draft.after.extend(ReturnRule(rule.route, rule.rule) for rule in draft.observed.borrowed if rule.held and rule != named)


def finalizer(draft: Draft) -> None:
    """There as long as a rule is held, and before one is."""
    observed = draft.observed
    rule = wanted(observed)
    needed = any(one.held for one in observed.borrowed) or (rule is not None and rule.refused is None)
    if needed and not observed.meta.finalizer:
        draft.after.append(AddFinalizer())
    elif observed.meta.finalizer and not needed:
        draft.after.append(RemoveFinalizer())


def tell(draft: Draft) -> None:
    """The condition that names what is held, and an event when that changes."""
    held = ", ".join(rule.words for rule in draft.observed.borrowed if rule.held)
    before = next((one.message for one in draft.observed.status.conditions if one.type == CONDITION), "")
    if held:
        draft.find(CONDITION, True, "RuleBorrowed", held)
    if held and held != before:
        draft.event("Normal", "RuleBorrowed", f"{held}: versions of this model are among its backends from now on")
    elif before and not held:
        draft.event("Normal", "RuleGivenBack", f"{before}: given back")
    if refused(draft.observed):
        draft.wake(LOOK_SECONDS)


def leave(observed: Observed) -> Plan:
    """One pass over a ModelDeployment that is being deleted: its rules are given back, then it may go.

    A refusal is told and tried again; LEFT_SECONDS after the first one the ModelDeployment goes, and an event says what is left.
    """
    draft = Draft(observed)
    meta = observed.meta
    held = [rule for rule in observed.borrowed if rule.held]
    refusals = dict(reversed(observed.errors))  # the first one of each
    words, stays = refusals.get(ReturnRule.__name__, ""), refusals.get(RemoveFinalizer.__name__, "")
    late = held != [] and words != "" and _refused_seconds(observed) > LEFT_SECONDS
    if held and words:
        told = f"{', '.join(rule.words for rule in held)} cannot be given back: {words}"
        draft.find(CONDITION, False, NOT_GIVEN_BACK, told)
        if late:
            told += f"; left as it is: remove the backends {meta.name}-v<N> and the annotation {claim_key(meta)}"
            draft.tell("Warning", "RuleLeft", told)
        draft.find("Ready", False, NOT_GIVEN_BACK, told)
    elif stays:
        draft.find("Ready", False, "FinalizerRefused", f"its finalizer cannot be removed: {stays}")
    if draft.findings:
        draft.wake(LOOK_SECONDS)
        draft.set(conditions=with_findings(draft.status.conditions, draft.findings, meta.generation, observed.now))
    draft.after.extend(ReturnRule(rule.route, rule.rule) for rule in held)
    if meta.finalizer and (late or not held):
        draft.after.append(RemoveFinalizer())
    return draft.plan(persist=True)


def _refused_seconds(observed: Observed) -> float:
    """How long a return has been refused; the status remembers it where the process does not."""
    before = next((one for one in observed.status.conditions if one.type == CONDITION), None)
    if before is None or before.status != "False" or before.reason != NOT_GIVEN_BACK:
        return 0.0
    return since(observed.now, before.last_transition_time)
