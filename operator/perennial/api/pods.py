"""Fields that are handed on to pods: the few that users need, shaped as Kubernetes shapes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from perennial.api.base import Name, SpecModel

Quantity = Annotated[int | str, Field(description="A Kubernetes quantity: 2, 500m, 1Gi.")]
QuantityMap = Annotated[dict[str, Quantity], Field(max_length=16)]
LabelMap = Annotated[dict[str, Annotated[str, Field(max_length=253)]], Field(max_length=32)]


class ResourceRequirements(SpecModel):
    """Compute resources of the main container."""

    requests: QuantityMap = {}
    limits: QuantityMap = {}


class Toleration(SpecModel):
    """A taint that the pods accept."""

    key: Annotated[str, Field(max_length=253)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, Field(max_length=253)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class LocalReference(SpecModel):
    """Name of an object in the same namespace."""

    name: Name


class PodOptions(SpecModel):
    """What a user may say about pods of ours."""

    resources: ResourceRequirements = ResourceRequirements()
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = []
    node_selector: LabelMap = {}
    affinity: Annotated[
        dict[str, Any] | None,
        Field(description="Passed to the pods as it is.", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = None
    image_pull_secrets: Annotated[list[LocalReference], Field(max_length=8)] = []
    service_account_name: Name | None = None
    pod_labels: LabelMap = {}
    priority_class_name: Name | None = None
