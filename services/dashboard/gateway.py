"""What pages read of the gateway, and what they ask it to do."""

import asyncio
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from services.dashboard.answers import DeadLetter, Decision, DecisionSummary, Key, Loop, Statistics
from services.dashboard.calling import Caller, NotFoundError, RefusedError, loop_address
from services.dashboard.lifecycle_answers import (
    Evaluation,
    ImportReport,
    ModelVersion,
    ModelVersionDetail,
    Rollout,
    RolloutDetail,
    TrainingRun,
)

DECISIONS_SHOWN: Final = 15
# The newest ones, which exploration and action shares are told of: as many as one page of the API holds.
DECISIONS_COUNTED: Final = 500
VERSIONS_SHOWN: Final = 12
VERSIONS_LISTED: Final = 100
RUNS_SHOWN: Final = 25
ROLLOUTS_SHOWN: Final = 25
EVALUATIONS_SHOWN: Final = 50
LETTERS_SHOWN: Final = 25
LOOPS_SHOWN: Final = 100
# Statistics of so many loops are asked for at a time.
PARALLEL: Final = 8


@dataclass(frozen=True, slots=True)
class LoopView:
    """A loop with its statistics."""

    loop: Loop
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class LoopDetail(LoopView):
    """All that a loop's first page shows; lists are newest first."""

    decisions: Sequence[DecisionSummary]
    versions: Sequence[ModelVersion]
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, slots=True)
class LoopActions:
    """A loop and its newest decisions."""

    loop: Loop
    decisions: Sequence[DecisionSummary]


@dataclass(frozen=True, slots=True)
class JoinerView(LoopView):
    """Also what the joiner put aside, of all loops of the tenant."""

    dead_letters: Sequence[DeadLetter]


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version, those that it may be held against, and the evaluations of all of them."""

    loop: Loop
    version: ModelVersionDetail
    other: ModelVersionDetail | None
    versions: Sequence[ModelVersion]
    evaluations: Sequence[Evaluation]


@dataclass(frozen=True, slots=True)
class RunView:
    """A training run, and the version that it made, where there is one by now."""

    run: TrainingRun
    version: ModelVersionDetail | None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """A loop's versions and what they go through; lists are newest first, and empty where a page needs none."""

    loop: Loop
    versions: Sequence[ModelVersion] = ()
    training_runs: Sequence[TrainingRun] = ()
    rollouts: Sequence[Rollout] = ()
    evaluations: Sequence[Evaluation] = ()


class GatewayClient:
    """Calls of one person, with that person's key.

    Every call raises a GatewayError where it does not succeed, and nothing else.
    """

    def __init__(self, http: httpx.AsyncClient, key: str) -> None:
        self._caller = Caller(http, key)

    async def read_key(self) -> Key:
        return await self._caller.get(Key, "/v1/keys/current")

    async def list_loops(self) -> list[Loop]:
        """In order of their ids, the first hundred."""
        return await self._caller.list(Loop, "/v1/loops", LOOPS_SHOWN)

    async def read_overview(self) -> list[LoopView]:
        """Those loops with their statistics; a loop deleted meanwhile is left out."""
        loops = await self.list_loops()
        turn = asyncio.Semaphore(PARALLEL)

        async def view(loop: Loop) -> LoopView | None:
            async with turn:
                try:
                    return LoopView(loop, await self._statistics(loop.loop_id))
                except NotFoundError:
                    return None

        return [one for one in await asyncio.gather(*map(view, loops)) if one is not None]

    async def read_loop(self, loop_id: str) -> LoopDetail:
        return LoopDetail(
            *await asyncio.gather(
                self._loop(loop_id),
                self._statistics(loop_id),
                self._caller.list(DecisionSummary, loop_address(loop_id, "decisions"), DECISIONS_SHOWN),
                self._versions(loop_id, VERSIONS_SHOWN),
                self._evaluations(loop_id),
            )
        )

    async def read_view(self, loop_id: str) -> LoopView:
        return LoopView(*await asyncio.gather(self._loop(loop_id), self._statistics(loop_id)))

    async def read_actions(self, loop_id: str) -> LoopActions:
        decisions = self._caller.list(DecisionSummary, loop_address(loop_id, "decisions"), DECISIONS_COUNTED)
        return LoopActions(*await asyncio.gather(self._loop(loop_id), decisions))

    async def read_joiner(self, loop_id: str) -> JoinerView:
        letters = self._caller.list(DeadLetter, "/v1/dead-letters", LETTERS_SHOWN)
        return JoinerView(*await asyncio.gather(self._loop(loop_id), self._statistics(loop_id), letters))

    async def read_decision(self, loop_id: str, decision_id: str) -> tuple[Loop | None, Decision]:
        """The loop is None where the key may not read it: a `decide` key reads decisions alone."""
        return await asyncio.gather(
            self._loop_if_allowed(loop_id), self._caller.get(Decision, loop_address(loop_id, "decisions", decision_id))
        )

    async def read_versions(self, loop_id: str) -> Lifecycle:
        loop, versions = await asyncio.gather(self._loop(loop_id), self._versions(loop_id, VERSIONS_LISTED))
        return Lifecycle(loop, versions)

    async def read_version(self, loop_id: str, version: str, against: str | None) -> VersionView:
        """Beside `against`, or else its parent."""
        loop, found, versions, evaluations = await asyncio.gather(
            self._loop(loop_id),
            self._caller.get(ModelVersionDetail, loop_address(loop_id, "models", version)),
            self._versions(loop_id, VERSIONS_LISTED),
            self._evaluations(loop_id),
        )
        other = against or found.parent
        beside = None
        if other is not None:
            beside = await self._caller.get(ModelVersionDetail, loop_address(loop_id, "models", other))
        return VersionView(loop, found, beside, versions, evaluations)

    async def read_training_runs(self, loop_id: str) -> Lifecycle:
        runs = self._caller.list(TrainingRun, loop_address(loop_id, "training-runs"), RUNS_SHOWN)
        loop, found = await asyncio.gather(self._loop(loop_id), runs)
        return Lifecycle(loop, training_runs=found)

    async def read_training_run(self, loop_id: str, training_run_id: str) -> RunView:
        run = await self._caller.get(TrainingRun, loop_address(loop_id, "training-runs", training_run_id))
        if run.model_version is None:
            return RunView(run, None)
        address = loop_address(loop_id, "models", run.model_version)
        return RunView(run, await self._caller.get(ModelVersionDetail, address))

    async def read_rollouts(self, loop_id: str) -> Lifecycle:
        """With the versions that may be rolled out."""
        rollouts = self._caller.list(Rollout, loop_address(loop_id, "rollouts"), ROLLOUTS_SHOWN)
        loop, versions, found = await asyncio.gather(
            self._loop(loop_id), self._versions(loop_id, VERSIONS_LISTED), rollouts
        )
        return Lifecycle(loop, versions, rollouts=found)

    async def read_rollout(self, loop_id: str, rollout_id: str) -> tuple[Loop, RolloutDetail]:
        rollout = self._caller.get(RolloutDetail, loop_address(loop_id, "rollouts", rollout_id))
        return await asyncio.gather(self._loop(loop_id), rollout)

    async def read_evaluations(self, loop_id: str) -> Lifecycle:
        """With the versions that may be evaluated."""
        loop, versions, found = await asyncio.gather(
            self._loop(loop_id), self._versions(loop_id, VERSIONS_LISTED), self._evaluations(loop_id)
        )
        return Lifecycle(loop, versions, evaluations=found)

    async def read_evaluation(self, loop_id: str, evaluation_id: str) -> tuple[Loop, Evaluation]:
        evaluation = self._caller.get(Evaluation, loop_address(loop_id, "evaluations", evaluation_id))
        return await asyncio.gather(self._loop(loop_id), evaluation)

    async def fine_tune(self, loop_id: str) -> None:
        """Asks for a training run on all experiences so far."""
        await self._caller.post(loop_address(loop_id, "training-runs"))

    async def start_rollout(self, loop_id: str, body: Mapping[str, object]) -> Rollout:
        return await self._caller.create(Rollout, loop_address(loop_id, "rollouts"), body)

    async def lead_rollout(self, loop_id: str, rollout_id: str, verb: str) -> None:
        """`verb` is pause, resume, promote or rollback."""
        await self._caller.post(loop_address(loop_id, "rollouts", rollout_id, verb))

    async def evaluate(self, loop_id: str, body: Mapping[str, object]) -> Evaluation:
        return await self._caller.create(Evaluation, loop_address(loop_id, "evaluations"), body)

    async def import_log(self, loop_id: str, line_format: str, lines: AsyncIterable[bytes]) -> ImportReport:
        """`line_format` is rows or dsjson."""
        address = loop_address(loop_id, "experiences:import")
        return await self._caller.send_lines(ImportReport, address, {"format": line_format}, lines)

    async def _loop(self, loop_id: str) -> Loop:
        return await self._caller.get(Loop, loop_address(loop_id))

    async def _loop_if_allowed(self, loop_id: str) -> Loop | None:
        try:
            return await self._loop(loop_id)
        except RefusedError:
            return None

    async def _statistics(self, loop_id: str) -> Statistics:
        return await self._caller.get(Statistics, loop_address(loop_id, "statistics"))

    async def _versions(self, loop_id: str, limit: int) -> list[ModelVersion]:
        return await self._caller.list(ModelVersion, loop_address(loop_id, "models"), limit)

    async def _evaluations(self, loop_id: str) -> list[Evaluation]:
        return await self._caller.list(Evaluation, loop_address(loop_id, "evaluations"), EVALUATIONS_SHOWN)
