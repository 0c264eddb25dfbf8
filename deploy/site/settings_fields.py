"""The fields of settings, by their paths: their defaults and what they may be, as documentation tells them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

REQUIRED: Final = "required"
# JSON Schema's names of bounds, as a reader takes them.
BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
BOUNDS_OF_LENGTH: Final = {"minLength": "characters ≥", "maxLength": "characters ≤", "maxItems": "items ≤"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its place, its default in JSON, what may be given, and what that does."""

    path: str
    default: str
    allowed: str
    meaning: str


def fields(model: type[BaseModel], at: str = "") -> Iterator[Field]:
    """Every field that holds a value, by its path; one that can have one value alone chooses nothing."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        inner = _settings_in(field.annotation)
        if inner is not None:
            many = get_origin(field.annotation) in (dict, list)
            yield from fields(inner, f"{at}{name}.*." if many else f"{at}{name}.")
        elif not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1):
            told = " ".join((field.description or "").split())
            yield Field(f"{at}{name}", default_of(field), _allowed(properties[name]), told)


def default_of(field: FieldInfo) -> str:
    """In JSON, or that there is none."""
    if field.is_required():
        return REQUIRED
    return json.dumps(to_jsonable_python(field.get_default(call_default_factory=True, validated_data={})))


def _settings_in(annotation: Any) -> type[BaseModel] | None:  # a type, or what typing makes of several
    """The settings that a field holds itself, in a list, in a map, or unless it is null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_settings_in, get_args(annotation))), None)


def _allowed(schema: dict[str, Any]) -> str:  # JSON Schema
    """Values, or type and bounds, of each kind that may be given."""
    return " or ".join(_kind(one) for one in schema.get("anyOf", [schema]))


def _kind(schema: dict[str, Any]) -> str:  # JSON Schema
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    bounds = [f"{sign} {schema[name]}" for name, sign in (BOUNDS | BOUNDS_OF_LENGTH).items() if name in schema]
    return " ".join([schema.get("format", schema.get("type", "any")), ", ".join(bounds)]).strip()
