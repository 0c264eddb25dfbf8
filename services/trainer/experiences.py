"""Experiences as the networks take them; what was prepared for one run is kept for the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from sqlalchemy import Engine

from services.trainer.repository import JoinedRow, read_decisions, read_experiences
from shared.db.engine import read_session
from shared.db.episodes import read_ends, read_next_decisions
from shared.domain import Action, Decision, End
from shared.loop_settings import Loop, ModalitySettings
from shared.networks.media_decoder import Decode
from shared.networks.preparation import Fetch, Row, Trunk, prepare
from shared.networks.preprocessing import Bag, RefusedValueError, action_features
from shared.networks.trunks import Trunks
from shared.registry.manifest import Architecture, TrunkIdentity

CHUNK: Final = 64

Item = TypeVar("Item")
# What of a loop's settings decides how a decision is prepared.
Shape = tuple[Mapping[str, ModalitySettings], Mapping[str, TrunkIdentity], bool, bool]


@dataclass(frozen=True, slots=True)
class NextState:
    """What a decision chose from: features of its context, and ids of what was allowed, with bags if they count."""

    features: Row
    action_ids: Sequence[str]
    actions: Sequence[Bag]


@dataclass(frozen=True, slots=True)
class PreparedExperience:
    """A joined row with the features of its context and the bag of the action that was taken.

    Within an episode also what followed it, and how the episode ended with it, as far as that is known. `state` is what
    it was chosen from.
    """

    row: JoinedRow
    features: Row
    action: Bag
    next_state: NextState | None = None
    end: End | None = None
    state: NextState | None = None

    @property
    def following(self) -> NextState | None:
        """What its value goes on with: nothing where the episode terminated."""
        return None if self.end == "terminated" else self.next_state

    @property
    def is_whole(self) -> bool:
        """It is known what followed it, or that nothing did: one that was truncated, or still goes on, may not say."""
        return self.end == "terminated" or self.next_state is not None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decision as networks take it, and the bag of the action that was taken."""

    state: NextState
    action: Bag


class Replay:
    """Reads a loop's experiences; keeps the features of those of the last `loops` loops that it read."""

    def __init__(
        self, engine: Engine, decode: Decode, fetch: Fetch, loops: int = 4, trunks: Trunks | None = None
    ) -> None:
        self._engine = engine
        self._decode = decode
        self._fetch = fetch
        self._loops = loops
        self.trunks = trunks or Trunks()
        self._kept: dict[tuple[str, str], tuple[Shape, dict[str, Prepared]]] = {}

    def read(self, loop: Loop, limit: int, keep_lease: Callable[[], None]) -> list[PreparedExperience]:
        """The newest experiences, oldest first; a context value or an action that cannot be read is left out.

        Raises:
            TrunkError: a pretrained encoder that the loop names cannot be used.
        """
        with read_session(self._engine) as session:
            rows = read_experiences(session, loop.tenant, loop.loop_id, limit)
        kept = self._take(loop)
        read = self._prepared(loop, rows, kept, keep_lease)
        self._keep(loop, {one.row.decision_id: kept[one.row.decision_id] for one in read})
        return read

    def read_as(
        self,
        loop: Loop,
        architecture: Architecture,
        experiences: Sequence[PreparedExperience],
        keep_lease: Callable[[], None],
    ) -> dict[str, PreparedExperience]:
        """The same experiences, by decision, as a version of another architecture reads them.

        Raises:
            TrunkError: a pretrained encoder is not the one that the version was made with.
        """
        self.trunks.of(architecture)
        settings = loop.settings.model_copy(update={"modalities": architecture.modalities})
        read = self._prepared(replace(loop, settings=settings), [one.row for one in experiences], {}, keep_lease)
        return {one.row.decision_id: one for one in read}

    def _prepared(
        self, loop: Loop, rows: Sequence[JoinedRow], kept: dict[str, Prepared], keep_lease: Callable[[], None]
    ) -> list[PreparedExperience]:
        """Of the rows that can be read; adds to `kept` what it prepares."""
        self._add(loop, kept, {row.decision_id: row.action_id for row in rows}, keep_lease)
        read = [row for row in rows if row.decision_id in kept]
        following, ends = self._follow(loop, read, kept, keep_lease)
        return [
            PreparedExperience(
                row,
                kept[row.decision_id].state.features,
                kept[row.decision_id].action,
                following.get(row.decision_id),
                ends.get(row.decision_id),
                kept[row.decision_id].state,
            )
            for row in read
        ]

    def read_decisions(self, loop: Loop, experiences: Sequence[PreparedExperience]) -> dict[str, Decision]:
        """The decisions of experiences, by id."""
        ids = [experience.row.decision_id for experience in experiences]
        with read_session(self._engine) as session:
            return read_decisions(session, loop.tenant, loop.loop_id, ids)

    def _follow(
        self, loop: Loop, rows: Sequence[JoinedRow], kept: Mapping[str, Prepared], keep_lease: Callable[[], None]
    ) -> tuple[dict[str, NextState], dict[str, End]]:
        """What followed the rows' decisions, and how episodes ended with them; in loops without episodes nothing."""
        if loop.settings.problem_type != "episodic" or not rows:
            return {}, {}
        # The oldest decision's own sequence may be a late one: it may have been restated.
        first, timeout = min(row.sequence for row in rows), loop.settings.episode_timeout
        with read_session(self._engine) as session:
            next_ids = read_next_decisions(session, loop.tenant, loop.loop_id, first)
            ends = read_ends(session, loop.tenant, loop.loop_id, first, timeout)
        known = dict(kept)
        # Decisions that are not experiences yet: they are taken for their contexts alone, and not kept.
        self._add(loop, known, dict.fromkeys(next_ids.values()), keep_lease)
        return {one: known[next_id].state for one, next_id in next_ids.items() if next_id in known}, ends

    def _add(
        self,
        loop: Loop,
        kept: dict[str, Prepared],
        taken: Mapping[str, str | None],
        keep_lease: Callable[[], None],
    ) -> None:
        """Prepares decisions that are not kept, by id, with the action that was taken; None: the drawn one."""
        missing = [decision_id for decision_id in taken if decision_id not in kept]
        # Looked up once: each look goes through the files of the encoders.
        trunks = self.trunks.current(loop.settings.modalities) if missing else {}
        for chunk in chunks(missing, CHUNK):
            keep_lease()
            kept |= self._prepare(loop, chunk, taken, trunks)

    def _prepare(
        self, loop: Loop, ids: Sequence[str], taken: Mapping[str, str | None], trunks: Mapping[str, Trunk]
    ) -> dict[str, Prepared]:
        with read_session(self._engine) as session:
            decisions = read_decisions(session, loop.tenant, loop.loop_id, ids)
        contexts = [decisions[decision_id].context for decision_id in ids]
        features, _ = prepare(contexts, loop.settings.modalities, self._decode, self._fetch, trunks)
        prepared = {}
        for decision_id, row_features in zip(ids, features, strict=True):
            decision = decisions[decision_id]
            bag = action_bag(_taken(decision, taken[decision_id] or decision.action_id))
            if bag is not None:
                prepared[decision_id] = Prepared(_state(loop, decision, row_features), bag)
        return prepared

    def _take(self, loop: Loop) -> dict[str, Prepared]:
        shape, kept = self._kept.pop((loop.tenant, loop.loop_id), (None, {}))
        return kept if shape == self._shape(loop) else {}

    def _keep(self, loop: Loop, prepared: dict[str, Prepared]) -> None:
        self._kept[loop.tenant, loop.loop_id] = (self._shape(loop), prepared)
        while len(self._kept) > self._loops:
            del self._kept[next(iter(self._kept))]

    def _shape(self, loop: Loop) -> Shape:
        of = loop.settings
        return (
            of.modalities,
            self.trunks.identities(of.modalities),
            _asks_for_candidates(loop),
            Architecture.of(of).action_features,
        )


def action_bag(action: Action) -> Bag | None:
    """What an encoder reads of an action; None where its features cannot be read."""
    try:
        return action_features(action)
    except RefusedValueError:
        return None


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _asks_for_candidates(loop: Loop) -> bool:
    """Along episodes values go on with the best of them; an apprentice learns what was not chosen."""
    return loop.settings.problem_type == "episodic" or loop.settings.learning_mode == "apprentice"


def _state(loop: Loop, decision: Decision, features: Row) -> NextState:
    """The candidates are left out where nothing asks for them: they would take most of the memory."""
    if not _asks_for_candidates(loop):
        return NextState(features, (), ())
    allowed = [action for action in decision.actions if action.id not in decision.excluded_action_ids]
    if not Architecture.of(loop.settings).action_features:
        return NextState(features, [action.id for action in allowed], ())
    bags = [(action.id, bag) for action in allowed if (bag := action_bag(action)) is not None]
    return NextState(features, [action_id for action_id, _ in bags], [bag for _, bag in bags])


def _taken(decision: Decision, action_id: str) -> Action:
    return next((action for action in decision.actions if action.id == action_id), Action(action_id))
