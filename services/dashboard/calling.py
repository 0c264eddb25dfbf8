"""Calls of the gateway's HTTP API with one person's key, and what can go wrong with them."""

from collections.abc import AsyncIterable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from services.dashboard.answers import Answer

NDJSON: Final = "application/x-ndjson"


class GatewayError(Exception):
    """The gateway did not give what was asked for; the text tells people why."""


class GatewayAwayError(GatewayError):
    """It does not answer, or says that it cannot."""

    def __init__(self) -> None:
        super().__init__("The gateway does not answer.")


class KeyRefusedError(GatewayError):
    """It does not know the key (any more)."""

    def __init__(self) -> None:
        super().__init__("The gateway does not know this key.")


class NotFoundError(GatewayError):
    """There is nothing of that name."""


class RefusedError(GatewayError):
    """It says no: the key's role does not allow it, or the request makes no sense to it."""


class _Page(Answer):
    items: list[dict[str, object]]


class _Problem(Answer):
    title: str = "The gateway refused"
    detail: str | None = None
    field: str | None = None

    @property
    def text(self) -> str:
        at = "" if self.field is None else f" ({self.field})"
        return f"{self.title}{at}. {self.detail or ''}".strip()


Model = TypeVar("Model", bound=Answer)


class Caller:
    """Every call raises a GatewayError where it does not succeed, and nothing else."""

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {key}"}

    async def get(self, model: type[Model], path: str) -> Model:
        return _read(model, await self._call("GET", path))

    async def list(self, model: type[Model], path: str, limit: int) -> "list[Model]":
        """The first items of a list, one page of it."""
        answer = await self._call("GET", path, query={"limit": str(limit)})
        return [_read(model, item) for item in _read(_Page, answer).items[:limit]]

    async def post(self, path: str, body: Mapping[str, object] | None = None) -> bytes:
        """The answer's body."""
        return await self._call("POST", path, body=body or {})

    async def create(self, model: type[Model], path: str, body: Mapping[str, object]) -> Model:
        return _read(model, await self._call("POST", path, body=body))

    async def send_lines(
        self, model: type[Model], path: str, query: Mapping[str, str], lines: AsyncIterable[bytes]
    ) -> Model:
        """Sends lines as they come, however long that takes."""
        headers = self._headers | {"Content-Type": NDJSON}
        request = self._http.build_request(
            "POST", path, params=query, headers=headers, content=lines, timeout=httpx.Timeout(None, connect=3.0)
        )
        return _read(model, await self._answered(request))

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, object] | None = None
    ) -> bytes:
        return await self._answered(
            self._http.build_request(method, path, params=query, headers=self._headers, json=body)
        )

    async def _answered(self, request: httpx.Request) -> bytes:
        try:
            answer = await self._http.send(request)
        except httpx.TransportError as error:
            raise GatewayAwayError from error
        if answer.is_success:
            return answer.content
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise KeyRefusedError
        if answer.is_server_error:
            raise GatewayAwayError
        problem = _read(_Problem, answer.content)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(f"{problem.title}.")
        raise RefusedError(problem.text)


def loop_address(loop_id: str, *parts: str) -> str:
    """Of a loop in the gateway's API, or of something that belongs to it."""
    return "/".join(("/v1/loops", *(quote(part, safe=":") for part in (loop_id, *parts))))


def _read(model: type[Model], answer: bytes | Mapping[str, object]) -> Model:
    """An answer that is not what the API promises comes from no gateway of ours: it is away."""
    try:
        return model.model_validate_json(answer) if isinstance(answer, bytes) else model.model_validate(answer)
    except ValidationError as error:
        raise GatewayAwayError from error
