"""docs/settings.md names each field of a loop's settings, its default, and a test that shows over HTTP what it does."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.site.settings_fields import fields
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


def test_every_field_is_there_with_its_default() -> None:
    told = {row.field: row.default for row in rows()}
    assert told == {field.path: field.default for field in fields(LoopSettings)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.field)
def test_a_test_over_http_shows_what_it_does(row: Row) -> None:
    assert row.tests
    for reference in row.tests:
        path, _, test = reference.partition("::")
        assert re.search(rf"def {test}\(", (ROOT / "tests" / "e2e" / path).read_text()), reference
