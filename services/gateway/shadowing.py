"""A version that is rolled out as a shadow scores live contexts beside the decisions, and never before one.

What it may take of the model services is a share of the time: after each batch it rests for as long as that takes. What
comes meanwhile waits in a short queue, and is dropped, and counted, where that is full.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import structlog

from services.gateway.appending import Appender
from services.gateway.model_services import ModelsUnavailableError, NotLoadedError
from services.gateway.pipeline import Draft, Pipeline
from services.gateway.problems import Problem
from services.gateway.serving import Serving
from shared.domain import Clock
from shared.eventlog import EventLogError
from shared.events import SHADOWS, shadow_record
from shared.rollouts import Rollout, ShadowScored

Outcome = Literal["scored", "failed", "dropped"]
# Of drafts, each of which holds its context.
MOST_WAITING: Final = 64

log: Final = structlog.get_logger(__name__)


class _Waiting(NamedTuple):
    rollout: Rollout
    decision_id: str
    draft: Draft


class Shadow:
    """Scores what it is offered, as far as it may; `share` of the time, above 0 and up to 1."""

    def __init__(
        self,
        serving: Serving,
        pipeline: Pipeline,
        appender: Appender,
        count: Callable[[Outcome], None],
        share: float,
        clock: Clock,
    ) -> None:
        self._serving = serving
        self._pipeline = pipeline
        self._appender = appender
        self._count = count
        self._rest = 1 / share - 1
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._came = asyncio.Event()

    def offer(self, decision_id: str, draft: Draft) -> None:
        """Takes a context for the shadow, if its loop has one."""
        rollout = self._serving.rollout(draft.loop)
        if rollout is None or rollout.percent > 0:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._count("dropped")
            return
        self._waiting.append(_Waiting(rollout, decision_id, draft))
        self._came.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._came.wait()
            self._came.clear()
            batch, began = list(self._waiting), clock()
            self._waiting.clear()
            await self._score(batch)
            await asyncio.sleep(self._rest * (clock() - began))

    async def _score(self, batch: list[_Waiting]) -> None:
        scored = await asyncio.gather(*map(self._score_one, batch))
        try:
            await self._appender.append(SHADOWS, [shadow_record(one) for one in scored])
        except EventLogError as error:
            log.warning("shadow not logged", error=type(error).__name__, contexts=len(batch))
            outcomes: list[Outcome] = ["dropped"] * len(batch)
        else:
            outcomes = ["failed" if one.probabilities is None else "scored" for one in scored]
        for outcome in outcomes:
            self._count(outcome)

    async def _score_one(self, one: _Waiting) -> ShadowScored:
        rollout, loop = one.rollout, one.draft.loop
        names = (loop.tenant, loop.loop_id, one.decision_id, rollout.rollout_id, rollout.version)
        try:
            chosen = await self._pipeline.score(rollout.model, one.draft)
        except (NotLoadedError, ModelsUnavailableError, Problem):
            return ShadowScored(*names, self._clock())
        expected = None if chosen.scores is None else chosen.scores.expected_rewards
        return ShadowScored(*names, self._clock(), chosen.head_sequence, chosen.probabilities, expected)
