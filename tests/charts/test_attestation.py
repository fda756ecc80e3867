"""The policy that checks who asks, and the roles for people, as the chart renders them.

What the policy lets through is judged by a real API server, in `tests/cluster/test_attestation.py`.
"""

from __future__ import annotations

import re
from typing import Any

from chart_support import AGGREGATED, granted, is_for_people, one, rendered
from perennial.api.base import REQUESTED_BY
from perennial.core.requests import VERBS
from perennial.settings import from_environment
from perennial_runtime.contract import GROUP

ON = {"enabled": True}
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
READ = {(GROUP, kind, verb) for kind in ("modeldeployments", "modelversions") for verb in ("get", "list", "watch")}
WRITE = {(GROUP, "modeldeployments", verb) for verb in ("create", "update", "patch", "delete")}
DECIDE = {(GROUP, "modeldeployments", verb) for verb in ("approve", "promote", "rollback", "quarantine-lift")}


def told(documents: list[dict[str, Any]]) -> bool:
    """Whether the operator may believe the name in perennial.dev/requested-by."""
    (container,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return from_environment({entry["name"]: entry["value"] for entry in container["env"]}).attestation


def test_operator_believes_names_only_where_the_policy_comes_with_it() -> None:
    without, with_policy = rendered(), rendered(attestation=ON)
    assert not {POLICY, BINDING} & {document["kind"] for document in without}
    assert (told(without), told(with_policy)) == (False, True)
    policy, binding = one(with_policy, POLICY), one(with_policy, BINDING)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["failurePolicy"] == "Fail"


def test_policy_holds_where_the_operator_works() -> None:
    assert "matchResources" not in one(rendered(attestation=ON), BINDING)["spec"]
    binding = one(rendered(attestation=ON, watchNamespaces=["a", "b"]), BINDING)
    (match,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert match == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}


def test_policy_knows_every_request_and_the_name_that_goes_with_it() -> None:
    spec = one(rendered(attestation=ON), POLICY)["spec"]
    expressions = {variable["name"]: variable["expression"] for variable in spec["variables"]}
    assert set(re.findall(r"'([-a-z]+)'", expressions["requests"])) == set(VERBS)
    assert REQUESTED_BY in expressions["by"]


def test_each_verb_that_the_policy_asks_for_is_the_admins_and_no_editors() -> None:
    spec = one(rendered(attestation=ON), POLICY)["spec"]
    asked = {verb for rule in spec["validations"] for verb in re.findall(r"check\('([-a-z]+)'\)", rule["expression"])}
    assert asked == {verb for _, _, verb in DECIDE} | {"update"}
    assert all({"messageExpression", "reason"} <= rule.keys() for rule in spec["validations"])


def test_operator_has_what_the_policy_asks_of_who_writes_a_finalizer() -> None:
    documents = rendered(attestation=ON)
    expressions = [rule["expression"] for rule in one(documents, POLICY)["spec"]["validations"]]
    assert sum("subresource('finalizers').check('update')" in expression for expression in expressions) == 1
    roles = [document for document in documents if document["kind"] in ("Role", "ClusterRole")]
    needed = (GROUP, "modeldeployments/finalizers", "update")
    assert needed in granted([document for document in roles if not is_for_people(document)])
    assert needed not in granted([document for document in roles if is_for_people(document)])


def test_people_get_what_their_role_in_the_namespace_says() -> None:
    found = {}
    for document in filter(is_for_people, rendered()):
        (role,) = [label.removeprefix(AGGREGATED) for label in document["metadata"]["labels"] if label.startswith(AGGREGATED)]
        found[role] = granted([document])
        assert document["metadata"]["name"] == f"perennial-system-perennial-{role}"
    assert found == {"view": READ, "edit": READ | WRITE, "admin": READ | WRITE | DECIDE}


def test_roles_for_people_can_be_left_out() -> None:
    assert not [document for document in rendered(roles={"aggregate": False}) if is_for_people(document)]
