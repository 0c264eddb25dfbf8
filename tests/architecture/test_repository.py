"""What never stands in a commit."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN_FILES = {"uv.lock", "package-lock.json", "poetry.lock", "yarn.lock"}
REGISTRY = re.compile(
    r"(?:https?://|index-url[ =])[^\s\"']*(?:pypi|pythonhosted|npmjs|crates\.io|repo1?\.maven|/simple)", re.I
)
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base"}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / line for line in listing.splitlines() if (ROOT / line).is_file()]


def test_no_file_names_a_package_registry(tracked: list[Path]) -> None:
    named = [
        str(path) for path in tracked if path != Path(__file__) and REGISTRY.search(path.read_text("utf-8", "ignore"))
    ]
    assert named == []


def test_no_lock_file_that_records_addresses(tracked: list[Path]) -> None:
    assert [path.name for path in tracked if path.name in FORBIDDEN_FILES] == []


def test_every_locked_requirement_has_a_hash() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        requirements = lock.read_text().replace("\\\n", " ").splitlines()
        assert requirements, lock
        assert all("--hash=sha256:" in line for line in requirements if line and not line.startswith("#")), lock


def test_no_module_has_a_name_that_says_nothing(tracked: list[Path]) -> None:
    assert [str(path) for path in tracked if path.suffix == ".py" and path.stem in BANNED_NAMES] == []


def test_every_service_has_a_readme_and_settings() -> None:
    for service in ("gateway", "encoding", "fusion", "policy", "feedback", "trainer", "dashboard"):
        for name in ("README.md", "settings.py", "__main__.py"):
            assert (ROOT / "services" / service / name).is_file(), f"services/{service}/{name}"
