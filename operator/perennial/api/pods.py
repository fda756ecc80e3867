"""Fields that are handed on to pods: the few that users need, shaped as Kubernetes shapes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from perennial.api.base import Name, SpecModel

Quantity = Annotated[int | str, Field(description="A Kubernetes quantity: 2, 500m, 1Gi.")]
QuantityMap = Annotated[dict[str, Quantity], Field(max_length=16, examples=["{cpu: 500m, memory: 1Gi}"])]
LabelMap = Annotated[dict[str, Annotated[str, Field(max_length=253)]], Field(max_length=32)]


class ResourceRequirements(SpecModel):
    """Compute resources of the main container."""

    requests: QuantityMap = {}
    """What the scheduler sets aside."""
    limits: QuantityMap = {}
    """What it may use at most."""


class Toleration(SpecModel):
    """A taint that the pods accept."""

    key: Annotated[str, Field(max_length=253)] | None = None
    """The taint's key; not given with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """How value is compared."""
    value: Annotated[str, Field(max_length=253)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; not given: every effect."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is accepted."""


class LocalReference(SpecModel):
    """Name of an object in the same namespace."""

    name: Name
    """Its name."""


class PodOptions(SpecModel):
    """What a user may say about pods of ours."""

    resources: ResourceRequirements = ResourceRequirements()
    """Requests and limits of the main container."""
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = []
    """Taints that the pods accept."""
    node_selector: LabelMap = {}
    """Labels that a node must have."""
    affinity: Annotated[dict[str, Any] | None, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = None
    """A pod's affinity, passed on as it is."""
    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=8)] = []
    """Secrets for images of a private registry."""
    service_account_name: Name | None = None
    """Service account of the pods; no token of it is mounted."""
    pod_labels: LabelMap = {}
    """More labels for the pods."""
    priority_class_name: Name | None = None
    """Priority of the pods."""
