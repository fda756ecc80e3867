"""The request and the answer of POST /predict, made from the schema of the training data.

`service` declares them to BentoML (typed API, OpenAPI page with a filled-in example) and answers requests by them. Everything
that is wrong with a request becomes one `BadRequest` with a status, a CamelCase reason and details that name the instance, the
field and what to send instead. No message holds a value that the client sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

MAX_INSTANCES = 1000
"""Rows of one request; more belong into several requests."""
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_TEXT = 4096
"""Characters of one categorical value."""
MAX_NUMBER = 3.4028234663852886e38
"""Largest 32-bit float: what models compute in; more would reach them as infinity."""
_MAX_DETAILS = 10
_MAX_NAME = 64
"""Characters of a field's name that an error repeats: an unknown field is the client's own text."""

Kind = Literal["numeric", "categorical"]
Cell = float | str | None
_NUMBER = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
_TEXT = Annotated[str, StringConstraints(max_length=MAX_TEXT)]


class SchemaBroken(Exception):
    """schema.json is not what prepare writes."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model, as the training data had it."""

    name: str
    kind: Kind
    nullable: bool
    example: Cell


class Prediction(BaseModel):
    """The answer for one instance."""

    model_config = ConfigDict(hide_input_in_errors=True)

    label: Literal[0, 1] = Field(description="1 when the score reaches the threshold.")
    score: float = Field(description="Probability of the positive class.", ge=0.0, le=1.0)


class PredictResponse(BaseModel):
    """One prediction for each instance, in their order, and the version that made them."""

    model_config = ConfigDict(hide_input_in_errors=True)

    predictions: list[Prediction]
    version: str = Field(description="ModelVersion that answered.")


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that is wrong with a request."""

    field: str
    problem: str
    fix: str
    instance: int | None = None


class BadRequest(Exception):
    """A request that is refused: HTTP status, CamelCase reason, one sentence, and details."""

    def __init__(self, status: int, reason: str, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = tuple(details)

    def body(self) -> dict[str, Any]:
        """The JSON answer."""
        answer: dict[str, Any] = {"error": self.reason, "message": self.message}
        if self.details:
            answer["details"] = [_detail(item) for item in self.details]
        return answer


def _detail(item: Detail) -> dict[str, Any]:
    where = {} if item.instance is None else {"instance": item.instance}
    return {**where, "field": item.field, "problem": item.problem, "fix": item.fix}


def features_of(schema: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The features of schema.json, in its order. Raises SchemaBroken."""
    try:
        features = tuple(_feature(item) for item in schema["features"])
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaBroken(f"schema.json is not what prepare writes: {type(error).__name__}: {error}") from error
    if not features:
        raise SchemaBroken("schema.json has no features")
    return features


def _feature(item: Mapping[str, Any]) -> Feature:
    kind = item["kind"]
    if kind not in ("numeric", "categorical"):
        raise ValueError(f"feature {item['name']!r} is of the unknown kind {kind!r}")
    return Feature(str(item["name"]), kind, bool(item["nullable"]), _example(item, kind))


def _example(item: Mapping[str, Any], kind: Kind) -> Cell:
    value = item.get("example")
    if kind == "numeric":
        return float(value) if isinstance(value, (int, float)) else 0.0
    return value if isinstance(value, str) else ""


class RequestModel:
    """The pydantic model of a request and the way from a checked request to columns.

    A feature's name need not be an identifier: inside, fields are f0, f1, ...; the column's name is the alias.
    """

    __slots__ = ("_attributes", "example", "features", "model")

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = tuple(features)
        self.example: dict[str, Any] = {item.name: item.example for item in self.features}
        self._attributes = tuple(f"f{index}" for index in range(len(self.features)))
        fields: dict[str, Any] = {
            attribute: (_annotation(item), Field(alias=item.name, description=_describe(item), examples=[item.example]))
            for attribute, item in zip(self._attributes, self.features, strict=True)
        }
        config = ConfigDict(
            strict=True,
            extra="forbid",
            hide_input_in_errors=True,
            allow_inf_nan=False,
            json_schema_extra={"example": self.example},
        )
        instance = create_model("Instance", __config__=config, **fields)
        request_config = ConfigDict(
            strict=True, extra="forbid", hide_input_in_errors=True, json_schema_extra={"example": {"instances": [self.example]}}
        )
        described = Field(description=f"1 to {MAX_INSTANCES} rows to predict.", min_length=1, max_length=MAX_INSTANCES)
        self.model: type[BaseModel] = create_model(
            "PredictRequest",
            __config__=request_config,
            instances=(list[instance], described),  # type: ignore[valid-type]
        )

    def parse(self, body: bytes) -> Sequence[BaseModel]:
        """The instances of a JSON body. Raises BadRequest."""
        try:
            request = self.model.model_validate_json(body)
        except ValidationError as error:
            raise self._refuse(error) from None
        instances: Sequence[BaseModel] = request.instances  # type: ignore[attr-defined]
        return instances

    def columns(self, instances: Sequence[BaseModel]) -> dict[str, list[Cell]]:
        """Checked instances by feature."""
        rows = [instance.__dict__ for instance in instances]
        return {
            item.name: [row[attribute] for row in rows] for attribute, item in zip(self._attributes, self.features, strict=True)
        }

    def _refuse(self, error: ValidationError) -> BadRequest:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        first = found[0]
        if first["type"] == "json_invalid":
            example = json.dumps({"instances": [self.example]})
            return BadRequest(400, "BrokenJson", f"The body is not valid JSON. Send a body such as {example}")
        if first["type"] == "too_long" and first["loc"] == ("instances",):
            return BadRequest(
                413, "TooManyInstances", f"A request holds at most {MAX_INSTANCES} instances. Send the rest in further requests."
            )
        details = tuple(self._explain(str(item["type"]), item["loc"]) for item in found[:_MAX_DETAILS])
        one = details[0]
        where = f"field {one.field!r}" if one.instance is None else f"instance {one.instance}, field {one.field!r}"
        more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
        return BadRequest(422, "InvalidRequest", f"{where}: {one.problem}. {one.fix}{more}", details)

    def _explain(self, kind: str, loc: Sequence[int | str]) -> Detail:
        if len(loc) >= 2 and isinstance(loc[1], int):
            return self._explain_instance(kind, loc[1], loc[2:])
        name = str(loc[0])[:_MAX_NAME] if loc else "(body)"
        if kind == "extra_forbidden":
            return Detail(name, "unknown field", 'The body has one field, "instances".')
        problem = "missing" if kind == "missing" else "empty" if kind == "too_short" else "of the wrong type"
        return Detail(name, problem, 'Send an object with "instances": a list of objects, one for each row.')

    def _explain_instance(self, kind: str, instance: int, rest: Sequence[int | str]) -> Detail:
        if not rest:
            return Detail("(instance)", "not an object", "Send an object with one entry for each feature.", instance)
        name = str(rest[0])
        feature = next((item for item in self.features if item.name == name), None)
        if feature is None:
            fix = f"Leave it out; the features are: {_names(self.features)}."
            return Detail(name[:_MAX_NAME], "not a feature of this model", fix, instance)
        return Detail(name, _PROBLEMS.get(kind, _mistyped(feature)), f"Send {_wanted(feature)}.", instance)


_PROBLEMS = {
    "missing": "missing",
    "finite_number": "not a finite number",
    "greater_than_equal": "too large for a 32-bit number",
    "less_than_equal": "too large for a 32-bit number",
    "string_too_long": f"longer than {MAX_TEXT} characters",
}


def _mistyped(feature: Feature) -> str:
    return "null or not a number" if feature.kind == "numeric" else "null or not a string"


def _wanted(feature: Feature) -> str:
    what = "a finite JSON number" if feature.kind == "numeric" else "a JSON string"
    rule = "null is allowed too" if feature.nullable else "null is not allowed: the training data had none"
    return f"{what}, e.g. {json.dumps(feature.example)} ({rule})"


def _names(features: Sequence[Feature], limit: int = 30) -> str:
    more = f" and {len(features) - limit} more" if len(features) > limit else ""
    return ", ".join(item.name for item in features[:limit]) + more


def _annotation(feature: Feature) -> Any:
    plain: Any = _NUMBER if feature.kind == "numeric" else _TEXT
    return plain | None if feature.nullable else plain


def _describe(feature: Feature) -> str:
    return f"{feature.kind} feature, {'may be null' if feature.nullable else 'never null'}"
