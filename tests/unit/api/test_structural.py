"""Models become structural schemas: what the API server takes, with the words of the source."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from perennial.api.base import SpecModel, cel, rules
from perennial.api.structural import SchemaError, describe, structural


class Inner(SpecModel):
    """An inner thing."""

    size: int = 3
    """How big it is."""


class Outer(SpecModel):
    """An outer thing."""

    fixed: Literal["only"] = "only"
    maybe: Annotated[str, Field(max_length=9)] | None = None
    quantity: int | str = 1
    inner_thing: Inner = Inner()
    things: Annotated[list[Inner], Field(max_length=2)] = []
    ruled: Annotated[str, Field(pattern="^a$", max_length=3, json_schema_extra=rules(cel("self == 'a'", "write a")))] = "a"
    """Ruled."""
    shown: Annotated[str, Field(max_length=3, pattern="^b$", examples=["b"])]
    """Shown."""


class Loose(SpecModel):
    """A bound that CRDs can't say."""

    share: Annotated[float, Field(gt=0)] = 1.0


class Torn(SpecModel):
    """A field of two types."""

    either: bool | list[int] = True


def test_a_constant_becomes_an_enum_of_one() -> None:
    assert structural(Outer)["properties"]["fixed"]["enum"] == ["only"]


def test_an_optional_field_has_its_type_and_no_null() -> None:
    assert structural(Outer)["properties"]["maybe"] == {"type": "string", "maxLength": 9}


def test_a_quantity_is_int_or_string() -> None:
    assert structural(Outer)["properties"]["quantity"] == {"x-kubernetes-int-or-string": True, "default": 1}


def test_a_model_inside_is_written_out_with_its_defaults() -> None:
    inner = structural(Outer)["properties"]["innerThing"]
    assert inner["properties"]["size"] == {"type": "integer", "format": "int64", "default": 3}
    assert inner["default"] == {"size": 3}


def test_nothing_in_a_list_item_has_a_default() -> None:
    assert structural(Outer)["properties"]["things"]["items"]["properties"]["size"] == {"type": "integer", "format": "int64"}


def test_an_empty_list_is_no_default() -> None:
    assert "default" not in structural(Outer)["properties"]["things"]


def test_a_rule_in_words_takes_the_place_of_the_pattern() -> None:
    schema = structural(Outer)["properties"]
    assert "pattern" not in schema["ruled"]
    assert schema["ruled"]["x-kubernetes-validations"] == [{"rule": "self == 'a'", "message": "write a"}]
    assert schema["shown"]["pattern"] == "^b$"


def test_required_fields_are_those_without_a_default() -> None:
    assert structural(Outer)["required"] == ["shown"]


def test_unknown_fields_are_left_to_the_api_server() -> None:
    assert "additionalProperties" not in structural(Outer)


def test_docstrings_under_fields_become_descriptions() -> None:
    schema = describe(structural(Outer), Outer)
    assert schema["properties"]["ruled"]["description"] == "Ruled."
    assert schema["properties"]["shown"]["description"] == "Shown. Example: b"
    assert schema["properties"]["things"]["items"]["properties"]["size"]["description"] == "How big it is."
    assert schema["properties"]["innerThing"]["description"] == "An inner thing."


def test_a_status_gets_no_defaults() -> None:
    schema = structural(Outer, defaults=False)
    assert "default" not in schema["properties"]["innerThing"]
    assert "default" not in schema["properties"]["innerThing"]["properties"]["size"]


@pytest.mark.parametrize(("model", "words"), [(Loose, "exclusiveMinimum"), (Torn, "2 types")])
def test_what_is_not_structural_is_refused_when_generated(model: type[SpecModel], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        structural(model)
