"""`spec.serving`: the pods that answer, and the route that leads to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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


class Route(SpecModel):
    """An HTTPRoute of our own, named as the ModelDeployment: <path>/predict goes to the serving pods."""

    parent_refs: Annotated[list[ParentReference], Field(min_length=1, max_length=4)]
    """The Gateways that carry the route."""
    hostnames: Annotated[list[Hostname], Field(max_length=16)] = []
    """Names it answers to; none: all of the listener's."""
    path: Annotated[
        str,
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
    ]
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
