"""A decision's way through encoding, fusion and policy, together with those that wait for the same version."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

from services.gateway.fallback import FallbackReason, fall_back, serve_baseline
from services.gateway.gatherer import Gatherer
from services.gateway.model_services import ModelServices, ModelsUnavailableError, NotLoadedError
from services.gateway.problems import RETRY_SOON, Problem, ProblemType
from services.gateway.remembering import Remembered
from services.gateway.serving import Serving
from services.gateway.stages import Candidates, Choice, Encoded, Explained, Refused
from shared.domain import Action, ContextValue, Doubles, Floats, Media, ModelRef, Scores
from shared.loop_settings import Loop, LoopSettings
from shared.rollouts import HOLDOUT, Assignment
from shared.wire import logged_action

# Memory for embeddings of actions, and what one takes besides itself, about.
ACTIONS_BYTES: Final = 32 * 1024 * 1024
ENTRY_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Draft:
    """What there is to decide on; `excluded` and `baseline` are positions in `actions`.

    `settings` are the loop's as they act now.
    """

    loop: Loop
    settings: LoopSettings
    context: Mapping[str, ContextValue]
    actions: Sequence[Action]
    excluded: Sequence[int]
    baseline: int | None
    seed: int
    explain: bool = False
    assignment: Assignment = Assignment()  # noqa: RUF009 - it is frozen
    # Of the decision's span, where it is sampled.
    traceparent: str | None = None

    @property
    def canary(self) -> ModelRef | None:
        """The version that is rolled out, where the decision is its own to make."""
        if self.assignment.arm != "canary" or self.assignment.version is None:
            return None
        return ModelRef(self.loop.tenant, self.loop.loop_id, self.assignment.version)

    @property
    def allowed(self) -> list[bool]:
        """[A]: which actions may be chosen."""
        excluded = set(self.excluded)
        return [position not in excluded for position in range(len(self.actions))]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was drawn, and everything that it rests on."""

    position: int
    probabilities: Doubles
    model_version: int | None = None
    head_sequence: int = 0
    state: Floats | None = None
    scores: Scores | None = None
    fallback_reason: FallbackReason | None = None
    modalities_used: Sequence[str] = ()
    modality_importance: Mapping[str, float] | None = None


# A context as it was encoded, what was chosen from, and the choice.
Decided = tuple[Encoded, Candidates, Choice]


class Pipeline:
    """Batches go through all three services, two at a time: one is encoded while the one before it is decided."""

    def __init__(self, serving: Serving, models: ModelServices, most_waiting: int, decide_timeout: float) -> None:
        """`most_waiting` for one version: one more is refused, since it would be answered too late.

        A decision that no version has made within `decide_timeout` seconds is made by fallback.
        """
        self._serving = serving
        self._most_waiting = most_waiting
        self._decide_timeout = decide_timeout
        self._models = models
        self._actions = ActionEmbeddings(ACTIONS_BYTES)
        self._deciding = Gatherer(self._decide, weigh=_size, at_once=2)
        self._attribution = Gatherer(models.attribute)

    async def choose(self, draft: Draft) -> Chosen:
        """By the version that it is assigned to; with the champion where that fails; by fallback where none can.

        Raises:
            Problem: a context value cannot be read, or too many decisions wait.
        """
        if draft.settings.learning_mode == "logging_only":
            return _fall_back(draft, "logging_only")
        if draft.loop.frozen_to == "baseline":
            return Chosen(*serve_baseline(draft.allowed, draft.baseline), fallback_reason="frozen")
        if draft.assignment.arm == HOLDOUT:
            return _hold_out(draft)
        deadline = self._deadline()
        if (canary := draft.canary) is not None:
            with suppress(NotLoadedError, ModelsUnavailableError):
                return await self._choose_with(canary, draft, deadline)
        picked = self._serving.pick(draft.loop)
        if not isinstance(picked, ModelRef):
            return _fall_back(draft, picked)
        try:
            return await self._choose_with(picked, draft, deadline)
        except NotLoadedError:
            return await self._choose_with_champion(draft, deadline)
        except ModelsUnavailableError:
            return _fall_back(draft, "model_unavailable")

    async def score(self, ref: ModelRef, draft: Draft) -> Chosen:
        """What a version would choose, whosever the decision is.

        Raises:
            Problem: a context value cannot be read.
            NotLoadedError, ModelsUnavailableError: the version cannot tell.
        """
        return await self._choose_with(ref, draft, self._deadline())

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._decide_timeout

    async def _choose_with_champion(self, draft: Draft, deadline: float) -> Chosen:
        champion = self._serving.champion(draft.loop)
        if champion is not None:
            with suppress(NotLoadedError, ModelsUnavailableError):
                return await self._choose_with(champion, draft, deadline)
        return _fall_back(draft, "model_unavailable")

    async def _choose_with(self, ref: ModelRef, draft: Draft, deadline: float) -> Chosen:
        key = (ref, draft.loop.settings_revision, draft.settings.exploration.floor)
        if self._deciding.waiting(key) >= self._most_waiting:
            raise Problem(ProblemType.OVERLOADED, "Nothing was decided; try again.", headers=RETRY_SOON)
        try:
            async with asyncio.timeout_at(deadline):
                decided = await self._deciding.submit(key, draft)
        except TimeoutError:
            raise ModelsUnavailableError from None
        if isinstance(decided, Refused):
            raise Problem(ProblemType.UNREADABLE_VALUE, f"It is {decided.reason}.", f"context.{decided.modality}")
        encoded, candidates, choice = decided
        reason: FallbackReason | None = "uncertain" if choice.abstained else None
        if draft.settings.learning_mode == "apprentice":
            # The scores stay: they tell what it would have chosen itself.
            position, probabilities = serve_baseline(draft.allowed, draft.baseline)
            choice, reason = replace(choice, position=position, probabilities=probabilities), "apprentice"
        importance = await self._explain(ref, encoded, candidates, choice) if draft.explain else None
        return Chosen(
            position=choice.position,
            probabilities=choice.probabilities,
            model_version=ref.version,
            head_sequence=choice.head_sequence,
            state=candidates.state,
            scores=choice.scores,
            fallback_reason=reason,
            modalities_used=list(compress(encoded.modalities, encoded.present)),
            modality_importance=importance,
        )

    async def _explain(
        self, ref: ModelRef, encoded: Encoded, candidates: Candidates, choice: Choice
    ) -> dict[str, float] | None:
        """Share of each modality; None where the services do not tell: the decision stands without it."""
        actions, chosen = candidates.action_embeddings, choice.position
        explained = Explained(
            encoded, candidates.state, candidates.action_ids[chosen], None if actions is None else actions[chosen]
        )
        with suppress(NotLoadedError, ModelsUnavailableError):
            return await self._attribution.submit(ref, explained)
        return None

    async def _encode(
        self, ref: ModelRef, drafts: Sequence[Draft]
    ) -> list[tuple[Encoded | Refused, Sequence[Floats] | None]]:
        """Of each draft its context, and its actions where the version reads them: only those not known are sent."""
        contexts = [draft.context for draft in drafts]
        if not self._serving.reads_actions(ref):
            rows, _ = await self._models.encode(ref, contexts, (), _sampled(drafts))
            return [(row, None) for row in rows]
        manifest = self._serving.manifest(ref)
        found = [self._actions.find(manifest, draft.actions) for draft in drafts]
        unknown = {
            logged_action(action): action
            for draft, row in zip(drafts, found, strict=True)
            for action, embedding in zip(draft.actions, row, strict=True)
            if embedding is None
        }
        rows, embeddings = await self._models.encode(ref, contexts, list(unknown.values()), _sampled(drafts))
        new = dict(zip(unknown, embeddings, strict=True))
        self._actions.keep(manifest, new)
        return [
            (encoded, [new[logged_action(draft.actions[at])] if one is None else one for at, one in enumerate(row)])
            for encoded, draft, row in zip(rows, drafts, found, strict=True)
        ]

    async def _decide(self, key: tuple[ModelRef, int, float], drafts: Sequence[Draft]) -> list[Decided | Refused]:
        """All drafts are under one revision of the settings, and one floor."""
        ref, _, _ = key
        rows = await self._encode(ref, drafts)
        readable = [
            (draft, row, actions)
            for draft, (row, actions) in zip(drafts, rows, strict=True)
            if not isinstance(row, Refused)
        ]
        if not readable:
            return [row for row, _ in rows if isinstance(row, Refused)]
        encoded = [row for _, row, _ in readable]
        sampled = _sampled([draft for draft, _, _ in readable])
        states = await self._models.fuse(ref, encoded, sampled)
        candidates = [
            _candidates(draft, actions, state) for (draft, _, actions), state in zip(readable, states, strict=True)
        ]
        choices = await self._models.decide(ref, drafts[0].settings, candidates, sampled)
        decided = zip(encoded, candidates, choices, strict=True)
        return [row if isinstance(row, Refused) else next(decided) for row, _ in rows]


class ActionEmbeddings:
    """What versions made of actions, by the manifest's SHA-256 and all that is known of the action."""

    def __init__(self, budget: int) -> None:
        self._known = Remembered[tuple[str, bytes], Floats](budget)

    def find(self, manifest: str, actions: Sequence[Action]) -> list[Floats | None]:
        """[G] of each action; None where it has not been embedded lately."""
        return [self._known.get((manifest, logged_action(action))) for action in actions]

    def keep(self, manifest: str, embeddings: Mapping[bytes, Floats]) -> None:
        for logged, embedding in embeddings.items():
            self._known.put((manifest, logged), embedding.copy(), ENTRY_BYTES + len(logged) + embedding.nbytes)


def _sampled(drafts: Iterable[Draft]) -> list[str]:
    """Where those stand in their traces that are in one."""
    return [draft.traceparent for draft in drafts if draft.traceparent is not None]


def _candidates(draft: Draft, embeddings: Sequence[Floats] | None, state: Floats) -> Candidates:
    return Candidates(
        state=state,
        action_ids=[action.id for action in draft.actions],
        excluded=draft.excluded,
        action_embeddings=embeddings,
        seed=draft.seed,
        baseline=draft.baseline,
    )


def _fall_back(draft: Draft, reason: FallbackReason) -> Chosen:
    """Beside a mode that serves the baseline anyway, it does not matter why no version decided."""
    mode = draft.settings.learning_mode
    if mode != "online":
        return Chosen(*serve_baseline(draft.allowed, draft.baseline), fallback_reason=mode)
    position, probabilities = fall_back(reason, draft.allowed, draft.baseline, draft.seed)
    return Chosen(position, probabilities, fallback_reason=reason)


def _hold_out(draft: Draft) -> Chosen:
    if draft.loop.settings.holdout.policy == "uniform":
        return Chosen(*fall_back("holdout", draft.allowed, None, draft.seed), fallback_reason="holdout")
    return Chosen(*serve_baseline(draft.allowed, draft.baseline), fallback_reason="holdout")


def _size(draft: Draft) -> int:
    """Bytes that encoding is sent, about: what is not counted here is small."""
    return sum(
        len(value.data or b"") if isinstance(value, Media) else 4 * len(value) for value in draft.context.values()
    )
