"""A database that cannot be used is told in one line: which, what was seen, what to do; never its password."""

import pytest
from sqlalchemy import text

from deploy.local.server import free_port
from shared.db.upgrading import UnusableDatabaseError, open_upgraded

SECRET = "s3cret"


def refusal(url: str) -> str:
    with pytest.raises(UnusableDatabaseError) as refused:
        open_upgraded(url)
    line = str(refused.value)
    assert SECRET not in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "url", [f"{SECRET} is no URL", f"postgresql+nosuch://u:{SECRET}@h/d", f"nosuch://u:{SECRET}@h/d"]
)
def test_a_url_that_is_none(url: str) -> None:
    assert "REWARDLOOP_DATABASE_URL" in refusal(url)


def test_a_server_that_does_not_answer() -> None:
    port = free_port()
    line = refusal(f"postgresql+psycopg://u:{SECRET}@127.0.0.1:{port}/d")
    assert f"postgresql+psycopg://u:***@127.0.0.1:{port}/d does not answer" in line
    assert "refused" in line


def test_a_schema_of_a_newer_release(postgresql_url: str) -> None:
    engine = open_upgraded(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from-the-future'"))
    engine.dispose()
    line = refusal(postgresql_url)
    assert "unknown schema" in line
    assert "from-the-future" in line
