"""The whole of a decision: seen before, drafted, chosen, logged, answered."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
from uuid_utils import uuid7

from services.gateway.appending import Appender
from services.gateway.arms import Arms
from services.gateway.candidates import candidates_of
from services.gateway.context import context_of, media_ids
from services.gateway.directory import ServedLoop
from services.gateway.idempotency import DecidedBefore, RecentAnswers, conflict, draft_sha256
from services.gateway.pipeline import Draft, Pipeline
from services.gateway.problems import as_problem
from services.gateway.ranking import answer_of
from services.gateway.repository import DecisionKey
from services.gateway.requests import SentDecision
from services.gateway.spooling import SpoolError
from services.gateway.storage import Storage
from shared.domain import Clock, Decision
from shared.events import DECISIONS, decision_record
from shared.loop_settings import Loop
from shared.security import draw_seed
from shared.tracing import DECISION_ID, LOOP_ID, OFF, Tracing


class UnloggedError(Exception):
    """A decision was made that is not durable: it is answered, and not remembered."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("neither the log nor the spool took the decision")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Decider:
    """Makes decisions. `on_decided` is told each one that was made, and whether it is durable; `on_drafted` what there
    was to decide on, by the decision's id."""

    pipeline: Pipeline
    arms: Arms
    appender: Appender
    storage: Storage
    recent: RecentAnswers
    before: DecidedBefore
    draw_secret: bytes
    clock: Clock
    on_decided: Callable[[Decision, bool], None]
    on_drafted: Callable[[str, Draft], None]
    tracing: Tracing = OFF

    async def decide(self, served: ServedLoop, request: SentDecision) -> bytes:
        """The answer to one request, as JSON, once the decision is durable, or nothing is left to make it so.

        Raises:
            Problem: the request is not valid for the loop, or its id was used for another one.
        """
        with self.tracing.span("decide") as span:
            loop = served.loop
            key = (loop.tenant, loop.loop_id, request.decision_id or str(uuid7()))
            span.tell({LOOP_ID: loop.loop_id, DECISION_ID: key[2]})
            draft = await self._draft(served, request, key, span.traceparent)
            sha256 = draft_sha256(request, draft.context)
            # A loop that was deleted and made again remembers nothing of the old one.
            try:
                return await self.recent.once(
                    (*key, loop.created_at), sha256, partial(self._decide_once, draft, request, key, sha256)
                )
            except UnloggedError as unlogged:
                return unlogged.answer
            except Exception:
                # For the one who logs it: the route, or the row of a batch.
                structlog.contextvars.bind_contextvars(decision_id=key[2])
                raise

    async def decide_row(self, served: ServedLoop, read: Callable[[], SentDecision]) -> bytes:
        """The answer to one request of a batch, or its problem, as JSON."""
        try:
            return await self.decide(served, read())
        except Exception as error:  # noqa: BLE001 - one row's error is its own
            return orjson.dumps(as_problem(error).body())

    async def _decide_once(self, draft: Draft, request: SentDecision, key: DecisionKey, sha256: bytes) -> bytes:
        if request.decision_id is not None and (known := await self.before.get(key)) is not None:
            if known.request_sha256 != sha256:
                raise conflict()
            return answer_of(known)
        decision = await self._make(draft, request, key, sha256)
        try:
            with self.tracing.span(f"append {DECISIONS}", kind="producer"):
                await self.appender.append(DECISIONS, [decision_record(decision)])
        except SpoolError:
            self.on_decided(decision, False)
            raise UnloggedError(answer_of(decision, logged=False)) from None
        self.on_decided(decision, True)
        return answer_of(decision)

    async def _make(self, draft: Draft, request: SentDecision, key: DecisionKey, sha256: bytes) -> Decision:
        began_at = self.clock()
        chosen = await self.pipeline.choose(draft)
        loop, decided_at = draft.loop, self.clock()
        self.on_drafted(key[2], draft)
        return Decision(
            tenant=loop.tenant,
            loop_id=loop.loop_id,
            decision_id=key[2],
            decided_at=decided_at,
            context=await self.storage.as_logged(draft.context),
            actions=draft.actions,
            action_id=draft.actions[chosen.position].id,
            probability=float(chosen.probabilities[chosen.position]),
            probabilities=chosen.probabilities,
            seed=draft.seed,
            settings_revision=loop.settings_revision,
            request_sha256=sha256,
            model_version=chosen.model_version,
            head_sequence=chosen.head_sequence,
            state=chosen.state,
            scores=chosen.scores,
            fallback_reason=chosen.fallback_reason,
            modalities_used=chosen.modalities_used,
            modalities_missing=[name for name in loop.settings.modalities if name not in draft.context],
            excluded_action_ids=request.excluded_action_ids,
            baseline_action_id=request.baseline_action_id,
            episode_id=request.episode_id,
            previous_decision_id=request.previous_decision_id,
            subject_id=request.subject_id,
            deferred=request.deferred,
            modality_importance=chosen.modality_importance,
            arm=draft.assignment.arm,
            arm_share=draft.assignment.share,
            assigned_version=draft.assignment.version,
            rollout_id=draft.assignment.rollout_id,
            rollout_step=draft.assignment.step,
            decided_in=max(0, decided_at - began_at),
            traceparent=draft.traceparent,
        )

    async def _draft(
        self, served: ServedLoop, request: SentDecision, key: DecisionKey, traceparent: str | None
    ) -> Draft:
        loop = served.loop
        media_types = await self.storage.media_types(loop.tenant, media_ids(request.context))
        actions, excluded, baseline = candidates_of(served, request)
        return Draft(
            loop=loop,
            settings=loop.settings_at(self.clock()),
            context=context_of(loop.settings.modalities, request.context, media_types),
            actions=actions,
            excluded=excluded,
            baseline=baseline,
            seed=draw_seed(_draw_key(loop, self.draw_secret), *key),
            explain=request.explain,
            assignment=self.arms.assign(loop, request.subject_id or request.episode_id or key[2]),
            traceparent=traceparent,
        )


def _draw_key(loop: Loop, secret: bytes) -> bytes:
    seed = loop.settings.exploration.seed
    return secret if seed is None else str(seed).encode()
