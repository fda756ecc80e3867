"""`spec.serving`: the pods that answer, and the route that leads to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from perennial.api.base import Duration, Hostname, Name, SpecModel, cel, rules
from perennial.api.pods import PodOptions

PATH_PATTERN = "^/([A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*)?$"


class ParentReference(SpecModel):
    """A Gateway."""

    name: Name
    """The Gateway's name."""
    namespace: Name | None = None
    """Its namespace, if another; its listener must allow routes from here."""
    section_name: Name | None = None
    """One listener of it; not given: all."""


class RuleReference(SpecModel):
    """One rule of an HTTPRoute."""

    name: Name
    """Of the HTTPRoute, in the ModelDeployment's namespace."""
    rule: Name
    """`name` of one of its rules. Gateway API 1.4 and newer (1.2 in the experimental channel) keep names of rules."""


class Route(SpecModel):
    """How requests from outside get to the model: by an HTTPRoute that is made for it (parentRefs and path), or by one rule of an
    HTTPRoute of yours (httpRoute)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.httpRoute) ? !has(self.parentRefs) && !has(self.path) && !(has(self.hostnames) &&"
                " size(self.hostnames) > 0) : has(self.parentRefs) && has(self.path)",
                "route needs either httpRoute, a rule of an HTTPRoute of yours, or parentRefs and path, for one that is made",
                "'serving.route has %s'.format([has(self.httpRoute)"
                " ? 'httpRoute, and beside it parentRefs, hostnames or path: keep httpRoute alone, your HTTPRoute says the rest'"
                " : (has(self.path) ? 'no parentRefs: name the Gateways'"
                " : (has(self.parentRefs) ? 'no path: give one, e.g. /delays' : 'neither httpRoute nor parentRefs and path'))])",
            )
        )
    )

    http_route: RuleReference | None = None
    """Borrows a rule of an HTTPRoute that belongs to you: versions are added to its backends, and only their weights are driven.
    It is given back as it was found when the ModelDeployment, or this field, goes."""
    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=4)] | None = None
    """The Gateways that carry the route that is made, which has the ModelDeployment's name."""
    hostnames: Annotated[list[Hostname], Field(max_length=16)] = []
    """Names it answers to; none: all of the listener's."""
    path: Annotated[
        str | None,
        Field(
            pattern=PATH_PATTERN,
            max_length=256,
            examples=["/delays"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{PATH_PATTERN}')",
                    "route.path starts with / and does not end in it, e.g. /delays",
                    "'serving.route.path is %s: it starts with / and does not end in it, e.g. /delays'.format([self])",
                )
            ),
        ),
    ] = None
    """Predictions are answered at <path>/predict."""


class Serving(PodOptions):
    """How the model is served."""

    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Pods of each version that takes traffic."""
    route: Route | None = None
    """Not given: a Service with the ModelDeployment's name answers at /predict in the cluster, weights are shares of pods, and
    what falseRollbackRate promises is approximate."""
    progress_deadline: Duration = "5m"
    """A version whose pods are not ready by then has failed; what serves is untouched."""
