"""The command line over a gateway that runs in this process, and over answers that a test makes up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from services.__main__ import cli
from services.cli.api import Api
from services.cli.connection import Session
from tests.unit.services.gateway.conftest import LOOP, empty_database, make_gateway
from tests.unit.services.gateway.fakes import Gateway

__all__ = ["empty_database", "make_gateway"]

Run = Callable[..., Result]


def run_with(http: httpx.Client) -> Run:
    """Runs a command; the result has its exit code, stdout and stderr."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        session = Session(Api(http), sleep=lambda _: None)
        result = CliRunner().invoke(cli, list(arguments), input=stdin, obj=session)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    gateway = make_gateway()
    gateway.parts.directory.refresh()
    return gateway


@pytest.fixture
def run(gateway: Gateway) -> Iterator[Run]:
    """Commands with the manage key; there is a loop `shoes` without a model version."""
    with TestClient(gateway.app, headers={"Authorization": f"Bearer {gateway.manage_key}"}) as http:
        http.put("/v1/loops/shoes", json=LOOP).raise_for_status()
        yield run_with(http)


@dataclass
class Answers:
    """A platform that gives what a test lays down, in order, and keeps what it was asked."""

    given: list[httpx.Response] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)

    def give(self, body: object, status: int = 200) -> None:
        self.given.append(httpx.Response(status, json=body))

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        with httpx.Client(base_url="http://platform", transport=httpx.MockTransport(self._answer)) as http:
            return run_with(http)(*arguments, stdin=stdin)

    def calls(self) -> list[tuple[str, str]]:
        return [(request.method, request.url.path) for request in self.asked]

    def bodies(self) -> list[Any]:
        return [request.content for request in self.asked]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        return self.given.pop(0)


@pytest.fixture
def answers() -> Answers:
    return Answers()
