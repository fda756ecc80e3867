"""The request and the answer of POST /predict, made from the schema of the training data.

`service` declares them to BentoML (typed API, OpenAPI page with a filled-in example) and answers requests by them. Everything
that is wrong with a request becomes one `BadRequest` with a status, a CamelCase reason and details that name the instance, the
field and what to send instead. No message holds a value that the client sent.

A body is decoded only when it holds no more fields than a request can have, and then checked instance by instance: pydantic
keeps one error for each field that is wrong and, given JSON, a copy of the whole instance with each, so a body of a few MiB that
it judged as one would take gigabytes of a pod that has half a one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic_core import from_json

from perennial_runtime.scoring import Classes

MAX_INSTANCES = 1000
"""Rows of one request; more belong into several requests."""
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_TEXT = 4096
"""Characters of one categorical value."""
MAX_NUMBER = 3.4028234663852886e38
"""Largest 32-bit float: what models compute in; more would reach them as infinity."""
_MAX_DETAILS = 10
_MOST_COUNTED = 100
"""Problems after which a request is looked at no further."""
_SURPLUS = 8
"""Fields beyond the features that an instance may hold on average before the body is refused without being decoded."""
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


class PredictedNumber(BaseModel):
    """The answer of a regression for one instance."""

    model_config = ConfigDict(hide_input_in_errors=True)

    prediction: float = Field(description="Predicted number, in the label's unit.")


class PredictResponse(BaseModel):
    """One prediction for each instance, in their order, and the version that made them."""

    model_config = ConfigDict(hide_input_in_errors=True)

    predictions: list[Prediction]
    version: str = Field(description="ModelVersion that answered.")


def classes_response(classes: Classes) -> type[BaseModel]:
    """The answer of a model of several classes: for each instance the most probable one, and the probability of each by name."""
    chance: Any = Annotated[float, Field(ge=0.0, le=1.0)]
    config = ConfigDict(hide_input_in_errors=True)
    named: dict[str, Any] = {f"p{place}": (chance, Field(alias=str(one))) for place, one in enumerate(classes)}
    probabilities = create_model("Probabilities", __config__=config, **named)
    label: Any = Literal[classes]
    prediction: Any = create_model(
        "PredictedClass",
        __config__=config,
        label=(label, Field(description="The most probable class; of equally probable ones the first.")),
        probabilities=(probabilities, Field(description="Probability of each class, by its name.")),
    )
    described = Field(description="ModelVersion that answered.")
    return create_model(
        "PredictClassesResponse",
        __config__=config,
        predictions=(list[prediction], ...),
        version=(str, described),
    )


class PredictNumbersResponse(BaseModel):
    """One predicted number for each instance, in their order, and the version that made them."""

    model_config = ConfigDict(hide_input_in_errors=True)

    predictions: list[PredictedNumber]
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

    __slots__ = ("_attributes", "_instance", "example", "features", "model")

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
        self._instance: type[BaseModel] = create_model("Instance", __config__=config, **fields)
        request_config = ConfigDict(
            strict=True, extra="forbid", hide_input_in_errors=True, json_schema_extra={"example": {"instances": [self.example]}}
        )
        described = Field(description=f"1 to {MAX_INSTANCES} rows to predict.", min_length=1, max_length=MAX_INSTANCES)
        self.model: type[BaseModel] = create_model(
            "PredictRequest",
            __config__=request_config,
            instances=(list[self._instance], described),  # type: ignore[name-defined]
        )

    def parse(self, body: bytes) -> Sequence[BaseModel]:
        """The instances of a JSON body. Raises BadRequest."""
        instances: list[BaseModel] = []
        details: list[Detail] = []
        count = 0
        for index, row in enumerate(self._rows(body)):
            if type(row) is dict and len(row) > len(self.features):
                found = [name for name in row if name not in self.example]
                count += len(found)
                details += [self._explain("extra_forbidden", index, name) for name in found[:_MAX_DETAILS]]
            else:
                try:
                    instances.append(self._instance.model_validate(row))
                except ValidationError as error:
                    count += error.error_count()
                    details += self._explained(index, error)
            if count > _MOST_COUNTED:
                break
        if details:
            raise _refusal(details, count)
        return instances

    def columns(self, instances: Sequence[BaseModel]) -> dict[str, list[Cell]]:
        """Checked instances by feature."""
        rows = [instance.__dict__ for instance in instances]
        return {
            item.name: [row[attribute] for row in rows] for attribute, item in zip(self._attributes, self.features, strict=True)
        }

    def _rows(self, body: bytes) -> list[Any]:
        """The elements of "instances", not checked yet."""
        document = self._decoded(body)
        if not isinstance(document, dict):
            raise _misshapen("(body)", "of the wrong type")
        surplus = next((name for name in document if name != "instances"), None)
        if surplus is not None:
            raise _misshapen(surplus[:_MAX_NAME], "unknown field")
        rows = document.get("instances")
        if not isinstance(rows, list) or not rows:
            problem = "missing" if "instances" not in document else "empty" if rows == [] else "of the wrong type"
            raise _misshapen("instances", problem)
        if len(rows) > MAX_INSTANCES:
            raise _too_many("")
        return rows

    def _decoded(self, body: bytes) -> Any:
        most = 2 * MAX_INSTANCES * (len(self.features) + _SURPLUS)
        if body.count(b":") + body.count(b",") > most and _entries(body) > most:
            raise _too_many(f" This body holds more fields than so many have; the features are: {_names(self.features)}.")
        try:
            return from_json(body, cache_strings="keys")
        except ValueError:
            example = json.dumps({"instances": [self.example]})
            raise BadRequest(400, "BrokenJson", f"The body is not valid JSON. Send a body such as {example}") from None

    def _explained(self, index: int, error: ValidationError) -> list[Detail]:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_DETAILS]
        return [self._explain(str(item["type"]), index, str(item["loc"][0]) if item["loc"] else None) for item in found]

    def _explain(self, kind: str, index: int, name: str | None) -> Detail:
        if name is None:
            return Detail("(instance)", "not an object", "Send an object with one entry for each feature.", index)
        feature = next((item for item in self.features if item.name == name), None)
        if feature is None:
            fix = f"Leave it out; the features are: {_names(self.features)}."
            return Detail(name[:_MAX_NAME], "not a feature of this model", fix, index)
        return Detail(name, _PROBLEMS.get(kind, _mistyped(feature)), f"Send {_wanted(feature)}.", index)


def _entries(body: bytes) -> int:
    """How many fields and elements a JSON text holds, and the objects around them: its colons and commas outside of strings."""
    plain = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    inside = np.logical_xor.accumulate(plain == ord('"'))
    return int(np.count_nonzero(((plain == ord(":")) | (plain == ord(","))) & ~inside))


def _refusal(details: Sequence[Detail], count: int) -> BadRequest:
    one = details[0]
    where = f"instance {one.instance}, field {one.field!r}"
    more = f" ({'at least ' if count > _MOST_COUNTED else ''}{count - 1} more)" if count > 1 else ""
    return BadRequest(422, "InvalidRequest", f"{where}: {one.problem}. {one.fix}{more}", details[:_MAX_DETAILS])


def _misshapen(field: str, problem: str) -> BadRequest:
    fix = 'Send an object with "instances", and nothing else: a list of objects, one for each row.'
    return BadRequest(422, "InvalidRequest", f"field {field!r}: {problem}. {fix}", (Detail(field, problem, fix),))


def _too_many(why: str) -> BadRequest:
    message = f"A request holds at most {MAX_INSTANCES} instances. Send the rest in further requests.{why}"
    return BadRequest(413, "TooManyInstances", message)


_PROBLEMS = {
    "missing": "missing",
    "finite_number": "not a finite number",
    "greater_than_equal": "too large for a 32-bit number",
    "less_than_equal": "too large for a 32-bit number",
    "string_too_long": f"longer than {MAX_TEXT} characters",
}


def _mistyped(feature: Feature) -> str:
    what = "not a number" if feature.kind == "numeric" else "not a string"
    return what if feature.nullable else f"null or {what}"


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
