"""A database with the tables of the platform."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.db.engine import open_engine
from shared.db.tables import Base


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
