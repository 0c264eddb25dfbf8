import os
import stat
from pathlib import Path

import pytest

from services.dashboard import session


def test_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "state" / "dashboard.secret"
    secret = session.read_secret(path)
    assert len(secret) >= 32
    assert session.read_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_two_installations_have_two_secrets(tmp_path: Path) -> None:
    assert session.read_secret(tmp_path / "one") != session.read_secret(tmp_path / "other")


def test_sessions_that_ran_out_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "dashboard"
    session.prepare_sessions(folder, now=0.0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    now = 1_800_000_000.0
    for name, age in (("old", session.SESSION_SECONDS + 1), ("new", session.SESSION_SECONDS - 1)):
        file = folder / f"storage-user-{name}.json"
        file.write_text("{}")
        os.utime(file, (now - age, now - age))
    session.prepare_sessions(folder, now)
    assert [file.name for file in folder.iterdir()] == ["storage-user-new.json"]


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/loops/a", "/loops/a"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
        ("", "/"),
    ],
)
def test_signing_in_never_leads_to_another_site(wanted: str, path: str) -> None:
    assert session.local_path(wanted) == path
