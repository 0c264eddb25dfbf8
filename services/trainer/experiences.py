"""Experiences as the networks take them; what was prepared for one run is kept for the next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Engine

from services.trainer.repository import JoinedRow, read_decisions, read_experiences
from shared.db.engine import read_session
from shared.domain import Action, Decision
from shared.loop_settings import Loop, ModalitySettings
from shared.networks.media_decoder import Decode
from shared.networks.preparation import Fetch, Row, prepare
from shared.networks.preprocessing import Bag, RefusedValueError, action_features

CHUNK: Final = 64

Item = TypeVar("Item")
Modalities = Mapping[str, ModalitySettings]
# Features of a context, and the bag of the action that was taken.
Prepared = tuple[Row, Bag]


@dataclass(frozen=True, slots=True)
class PreparedExperience:
    """A joined row with the features of its context and the bag of the action that was taken."""

    row: JoinedRow
    features: Row
    action: Bag


class Replay:
    """Reads a loop's experiences; keeps the features of those of the last `loops` loops that it read."""

    def __init__(self, engine: Engine, decode: Decode, fetch: Fetch, loops: int = 4) -> None:
        self._engine = engine
        self._decode = decode
        self._fetch = fetch
        self._loops = loops
        self._kept: dict[tuple[str, str], tuple[Modalities, dict[str, Prepared]]] = {}

    def read(self, loop: Loop, limit: int, keep_lease: Callable[[], None]) -> list[PreparedExperience]:
        """The newest experiences, oldest first; a context value or an action that cannot be read is left out."""
        with read_session(self._engine) as session:
            rows = read_experiences(session, loop.tenant, loop.loop_id, limit)
        kept = self._take(loop)
        for chunk in chunks([row for row in rows if row.decision_id not in kept], CHUNK):
            keep_lease()
            kept |= self._prepare(loop, chunk)
        self._keep(loop, {row.decision_id: kept[row.decision_id] for row in rows if row.decision_id in kept})
        return [PreparedExperience(row, *kept[row.decision_id]) for row in rows if row.decision_id in kept]

    def read_decisions(self, loop: Loop, experiences: Sequence[PreparedExperience]) -> dict[str, Decision]:
        """The decisions of experiences, by id."""
        ids = [experience.row.decision_id for experience in experiences]
        with read_session(self._engine) as session:
            return read_decisions(session, loop.tenant, loop.loop_id, ids)

    def _prepare(self, loop: Loop, rows: Sequence[JoinedRow]) -> dict[str, Prepared]:
        with read_session(self._engine) as session:
            decisions = read_decisions(session, loop.tenant, loop.loop_id, [row.decision_id for row in rows])
        contexts = [decisions[row.decision_id].context for row in rows]
        features, _ = prepare(contexts, loop.settings.modalities, self._decode, self._fetch)
        prepared = {}
        for row, row_features in zip(rows, features, strict=True):
            bag = action_bag(_taken(decisions[row.decision_id], row.action_id))
            if bag is not None:
                prepared[row.decision_id] = (row_features, bag)
        return prepared

    def _take(self, loop: Loop) -> dict[str, Prepared]:
        modalities, kept = self._kept.pop((loop.tenant, loop.loop_id), ({}, {}))
        return kept if modalities == loop.settings.modalities else {}

    def _keep(self, loop: Loop, prepared: dict[str, Prepared]) -> None:
        self._kept[loop.tenant, loop.loop_id] = (loop.settings.modalities, prepared)
        while len(self._kept) > self._loops:
            del self._kept[next(iter(self._kept))]


def action_bag(action: Action) -> Bag | None:
    """What an encoder reads of an action; None where its features cannot be read."""
    try:
        return action_features(action)
    except RefusedValueError:
        return None


def chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items in order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _taken(decision: Decision, action_id: str) -> Action:
    return next((action for action in decision.actions if action.id == action_id), Action(action_id))
