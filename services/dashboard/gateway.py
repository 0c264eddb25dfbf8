"""The gateway's public HTTP API as the dashboard calls it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from services.dashboard.answers import Answer, Decision, DecisionSummary, Loop, ModelVersion, Statistics, TrainingRun

DECISIONS_SHOWN: Final = 15
VERSIONS_SHOWN: Final = 12
RUNS_SHOWN: Final = 6
LOOPS_SHOWN: Final = 100
# Statistics of so many loops are asked for at a time.
PARALLEL: Final = 8


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


@dataclass(frozen=True, slots=True)
class LoopView:
    """A loop with its statistics."""

    loop: Loop
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class LoopDetail:
    """All that a loop's page shows; lists are newest first."""

    loop: Loop
    statistics: Statistics
    decisions: Sequence[DecisionSummary]
    versions: Sequence[ModelVersion]
    training_runs: Sequence[TrainingRun]


Model = TypeVar("Model", bound=Answer)


class GatewayClient:
    """Calls of one person, with that person's key.

    Every call raises a GatewayError where it does not succeed, and nothing else.
    """

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {key}"}

    async def list_loops(self) -> list[Loop]:
        """In order of their ids, the first hundred."""
        return await self._list(Loop, "/v1/loops", LOOPS_SHOWN)

    async def read_overview(self) -> list[LoopView]:
        """Those loops with their statistics; a loop deleted meanwhile is left out."""
        loops = await self.list_loops()
        turn = asyncio.Semaphore(PARALLEL)

        async def view(loop: Loop) -> LoopView | None:
            async with turn:
                try:
                    return LoopView(loop, await self._get(Statistics, _path(loop.loop_id, "statistics")))
                except NotFoundError:
                    return None

        return [one for one in await asyncio.gather(*map(view, loops)) if one is not None]

    async def read_loop(self, loop_id: str) -> LoopDetail:
        loop, statistics, decisions, versions, runs = await asyncio.gather(
            self._get(Loop, _path(loop_id)),
            self._get(Statistics, _path(loop_id, "statistics")),
            self._list(DecisionSummary, _path(loop_id, "decisions"), DECISIONS_SHOWN),
            self._list(ModelVersion, _path(loop_id, "models"), VERSIONS_SHOWN),
            self._list(TrainingRun, _path(loop_id, "training-runs"), RUNS_SHOWN),
        )
        return LoopDetail(loop, statistics, decisions, versions, runs)

    async def read_decision(self, loop_id: str, decision_id: str) -> tuple[Loop, Decision]:
        return await asyncio.gather(
            self._get(Loop, _path(loop_id)), self._get(Decision, _path(loop_id, "decisions", decision_id))
        )

    async def fine_tune(self, loop_id: str) -> None:
        """Asks for a training run on all experiences so far."""
        await self._call("POST", _path(loop_id, "training-runs"))

    async def _get(self, model: type[Model], path: str) -> Model:
        return _read(model, (await self._call("GET", path)).content)

    async def _list(self, model: type[Model], path: str, limit: int) -> list[Model]:
        """The newest items of a list, one page of it."""
        answer = await self._call("GET", path, {"limit": str(limit)})
        return [_read(model, item) for item in _read(_Page, answer.content).items[:limit]]

    async def _call(self, method: str, path: str, query: Mapping[str, str] | None = None) -> httpx.Response:
        try:
            answer = await self._http.request(
                method, path, params=query, headers=self._headers, json={} if method == "POST" else None
            )
        except httpx.TransportError as error:
            raise GatewayAwayError from error
        if answer.is_success:
            return answer
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise KeyRefusedError
        if answer.is_server_error:
            raise GatewayAwayError
        problem = _read(_Problem, answer.content)
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(f"{problem.title}.")
        raise RefusedError(f"{problem.title}. {problem.detail or ''}".strip())


def _path(loop_id: str, *parts: str) -> str:
    return "/".join(("/v1/loops", *(quote(part, safe="") for part in (loop_id, *parts))))


def _read(model: type[Model], answer: bytes | Mapping[str, object]) -> Model:
    """An answer that is not what the API promises comes from no gateway of ours: it is away."""
    try:
        return model.model_validate_json(answer) if isinstance(answer, bytes) else model.model_validate(answer)
    except ValidationError as error:
        raise GatewayAwayError from error
