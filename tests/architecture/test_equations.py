"""docs/equations.md, the functions, the settings and the tests that it names are in step."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.loop_settings import LoopSettings

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONAL = ROOT / "shared" / "functional"
ABSENT = "not yet on the live path"
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Row:
    number: str
    section: str
    functions: list[str]
    oracle_tests: list[str]
    setting: str
    test_at_work: str


def rows() -> list[Row]:
    lines = (ROOT / "docs" / "equations.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| [\d-]+ \|", line)]
    return [Row(c[0], c[1], CODE.findall(c[2]), CODE.findall(c[4]), c[5], c[6]) for c in cells]


def names_a_test(reference: str, folder: Path) -> bool:
    path, _, test = reference.partition("::")
    return (folder / path).is_file() and re.search(rf"def {test}\(", (folder / path).read_text()) is not None


def names_a_setting(reference: str) -> bool:
    settings: object = LoopSettings
    for name in reference.split("."):
        if not (isinstance(settings, type) and issubclass(settings, BaseModel) and name in settings.model_fields):
            return False
        settings = settings.model_fields[name].annotation
    return True


def test_the_tables_name_what_the_modules_export() -> None:
    modules = sorted(path.stem for path in FUNCTIONAL.glob("*.py") if path.stem != "__init__")
    exported = [f"{m}.{name}" for m in modules for name in importlib.import_module(f"shared.functional.{m}").__all__]
    assert sorted(function for row in rows() for function in row.functions) == sorted(exported)


def test_the_package_itself_is_empty() -> None:
    assert (FUNCTIONAL / "__init__.py").read_text() == ""


def test_all_17_equations_are_there_in_order() -> None:
    assert [row.number for row in rows() if row.number != "-"] == [str(number) for number in range(1, 18)]


@pytest.mark.parametrize("row", [row for row in rows() if row.number != "-"], ids=lambda row: row.number)
def test_a_function_says_which_equation_it_is(row: Row) -> None:
    source = f"quation {row.number}, section {row.section}"
    modules = {name: importlib.import_module(f"shared.functional.{name.partition('.')[0]}") for name in row.functions}
    assert any(source in getattr(module, name.partition(".")[2]).__doc__ for name, module in modules.items())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.functions[0])
def test_what_a_row_names_exists(row: Row) -> None:
    assert row.oracle_tests
    unit_tests = ROOT / "tests" / "unit" / "shared" / "functional"
    assert [test for test in row.oracle_tests if not names_a_test(test, unit_tests)] == []
    assert [setting for setting in CODE.findall(row.setting) if not names_a_setting(setting)] == []
    assert [test for test in CODE.findall(row.test_at_work) if not names_a_test(test, ROOT / "tests")] == []
    for cell in (row.setting, row.test_at_work):
        assert CODE.findall(cell) or cell == ABSENT
