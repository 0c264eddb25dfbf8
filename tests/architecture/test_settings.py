"""docs/settings.md names each field of a loop's settings, its default, and a test that shows over HTTP what it does."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from shared.loop_settings import LoopSettings

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    field: str
    default: str
    tests: list[str]


def rows() -> list[Row]:
    lines = (ROOT / "docs" / "settings.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    return [Row(CODE.findall(c[0])[0], c[1].strip("`"), CODE.findall(c[2])) for c in cells]


def settings_in(annotation: Any) -> type[BaseModel] | None:
    """The settings that a field holds itself, in a list, in a map, or unless it is null."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(settings_in, get_args(annotation))), None)


def fields(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field that holds a value, by its path; one that can have one value alone chooses nothing."""
    for name, field in model.model_fields.items():
        inner = settings_in(field.annotation)
        if inner is not None:
            yield from fields(
                inner, f"{at}{name}.*." if get_origin(field.annotation) in (dict, list) else f"{at}{name}."
            )
        elif not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1):
            yield f"{at}{name}", field


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return json.dumps(to_jsonable_python(field.get_default(call_default_factory=True, validated_data={})))


def test_every_field_is_there_with_its_default() -> None:
    told = {row.field: row.default for row in rows()}
    assert told == {path: default_of(field) for path, field in fields(LoopSettings)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.field)
def test_a_test_over_http_shows_what_it_does(row: Row) -> None:
    assert row.tests
    for reference in row.tests:
        path, _, test = reference.partition("::")
        assert re.search(rf"def {test}\(", (ROOT / "tests" / "e2e" / path).read_text()), reference
