"""A repeated request gets the answer that the first one got; another request under the same id is a conflict."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import numpy as np
import orjson
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.gatherer import Gatherer
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import DecisionKey, read_decided
from services.gateway.requests import SentDecision
from shared.db.engine import read_session
from shared.domain import Context, ContextValue, Decision, Media
from shared.wire import logged_action

log: Final = structlog.get_logger(__name__)

# What an entry takes besides the answer itself, about.
ENTRY_BYTES: Final = 1024
# Of the time for a look-up, what one gets after another that came to nothing.
IMPATIENCE: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Entry:
    request_sha256: bytes
    answer: asyncio.Future[bytes]


class RecentAnswers:
    """The answers of the decisions made last, by their ids, within a budget of memory."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._size = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    async def once(self, key: Hashable, request_sha256: bytes, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer of this decision: the one given before, the one under way, or the one that `make` gives.

        Raises:
            Problem: the id was used for another request. Or what `make` raises; then nothing is remembered.
        """
        entry = self._entries.get(key)
        if entry is not None:
            if entry.request_sha256 != request_sha256:
                raise conflict()
            self._entries.move_to_end(key)
            return await asyncio.shield(entry.answer)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._entries[key] = _Entry(request_sha256, answer)
        try:
            made = await make()
        except BaseException as error:
            del self._entries[key]
            if isinstance(error, Exception):
                answer.set_exception(error)
                answer.exception()  # nobody may be waiting for it
            else:
                answer.cancel()
            raise
        answer.set_result(made)
        self._size += ENTRY_BYTES + len(made)
        self._shrink()
        return made

    def _shrink(self) -> None:
        while self._size > self._budget:
            key, oldest = next(iter(self._entries.items()))
            if not oldest.answer.done():
                return
            self._size -= ENTRY_BYTES + len(oldest.answer.result())
            del self._entries[key]


class DecidedBefore:
    """Decisions that the database knows; asked for together, in a thread, and given up on after a while."""

    def __init__(self, engine: Engine, thread: Executor, timeout: float) -> None:
        self._engine = engine
        self._thread = thread
        self._timeout = timeout
        # Whether it did when last asked: only then a decision waits for it as long as it may.
        self._answers = True
        self._gatherer = Gatherer[None, DecisionKey, Decision | None](self._read)

    async def get(self, key: DecisionKey) -> Decision | None:
        """None where there is none, and where the database does not say: deciding needs no database."""
        try:
            async with asyncio.timeout(self._timeout if self._answers else self._timeout * IMPATIENCE):
                found = await self._gatherer.submit(None, key)
        except (TimeoutError, SQLAlchemyError) as error:
            self._answers = False
            log.warning("cannot tell whether an id was decided before", error=type(error).__name__)
            return None
        self._answers = True
        return found

    async def _read(self, _: None, keys: Sequence[DecisionKey]) -> list[Decision | None]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_in_thread, keys)

    def _read_in_thread(self, keys: Sequence[DecisionKey]) -> list[Decision | None]:
        with read_session(self._engine) as session:
            found = read_decided(session, keys)
        return [found.get(key) for key in keys]


def request_sha256(body: object) -> bytes:
    """SHA-256 of the request in canonical form: its members but the decision's id, by name, without white space."""
    assert isinstance(body, dict)
    members = {name: value for name, value in body.items() if name != "decision_id"}
    return hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()


def draft_sha256(request: SentDecision, context: Context) -> bytes:
    """SHA-256 of what a request asks for, its decision's id left out, however its JSON is written."""
    sent = None if request.actions is None else len(request.actions)
    members = [
        sent,
        *(request.excluded_action_ids, request.baseline_action_id, request.episode_id, request.previous_decision_id),
        *(request.subject_id, request.deferred, request.explain),
    ]
    digest = hashlib.sha256(orjson.dumps(members))
    for name, value in sorted(context.items(), key=itemgetter(0)):
        written = _written(value)
        digest.update(f"{name}\0{type(value).__name__}\0{len(written)}\0".encode())
        digest.update(written)
    for action in request.actions or ():
        digest.update(logged_action(action))
    return digest.digest()


def _written(value: ContextValue) -> bytes:
    """A context value as bytes, media by their hash."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Media):
        return f"{value.content_type} {value.sha256}".encode()
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def conflict() -> Problem:
    return Problem(ProblemType.DECISION_CONFLICT, "Send the same body again, or another decision_id.", "decision_id")
