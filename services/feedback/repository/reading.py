"""What a batch of events needs to know: loops' settings, windows, feedback, and what has been waiting."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from services.feedback.intake import Joinable
from services.feedback.windows import FeedbackKey, Known, LoopKey, Window
from shared import wire
from shared.db.decisions import feedback_of
from shared.db.dialects import is_among
from shared.db.loops import lock_loop
from shared.db.tables import (
    DanglingActivationRow,
    DanglingFeedbackRow,
    DecisionRow,
    ExperienceRow,
    FeedbackRow,
    LoopRow,
)
from shared.domain import Activation, Feedback, ImportedExperience
from shared.loop_settings import LoopSettings
from shared.pb.events.v1 import events_pb2
from shared.rewards import reads_decision

GroupT = TypeVar("GroupT")
OfLoop = type[DecisionRow] | type[FeedbackRow] | type[DanglingFeedbackRow] | type[DanglingActivationRow]

# Window's fields. The payload stays where it is: it is most of the row.
WINDOW_COLUMNS = (
    DecisionRow.tenant,
    DecisionRow.loop_id,
    DecisionRow.decision_id,
    DecisionRow.request_sha256,
    DecisionRow.decided_at,
    DecisionRow.action_id,
    DecisionRow.probability,
    DecisionRow.model_version,
    DecisionRow.deferred,
    DecisionRow.activated_at,
    DecisionRow.served_action_id,
    DecisionRow.closes_at,
    DecisionRow.log_partition,
    DecisionRow.traceparent,
)


class SettingsCache:
    """Settings of loops, parsed again only where a loop was changed or made anew."""

    def __init__(self) -> None:
        self._parsed: dict[LoopKey, tuple[tuple[int, int], LoopSettings]] = {}

    def read(self, session: Session, keys: Iterable[LoopKey]) -> dict[LoopKey, LoopSettings]:
        """The settings that are committed now, of loops that nobody can seize until the transaction ends.

        A loop that is not there has no entry.
        """
        of = LoopRow
        found = {}
        # In order, so that no two transactions wait for each other.
        for tenant, loop_ids in sorted(_grouped(keys).items()):
            query = select(of.loop_id, of.created_at, of.settings_revision)
            query = query.where(of.tenant == tenant, of.loop_id.in_(loop_ids)).order_by(of.loop_id)
            query = query.with_for_update(read=True, key_share=True)
            for loop_id, created_at, revision in session.execute(query).all():
                found[tenant, loop_id] = self._settings(session, (tenant, loop_id), (created_at, revision))
        return found

    def _settings(self, session: Session, key: LoopKey, stamp: tuple[int, int]) -> LoopSettings:
        known = self._parsed.get(key)
        if known is None or known[0] != stamp:
            row = session.get_one(LoopRow, key)
            _continue_sequence(session, row)
            known = self._parsed[key] = (stamp, LoopSettings.model_validate(row.settings))
        return known[1]


def _continue_sequence(session: Session, loop: LoopRow) -> None:
    """A loop that was deleted and made anew numbers its experiences on from those that its name left behind."""
    of = ExperienceRow
    last = session.scalar(select(func.max(of.sequence)).where(of.tenant == loop.tenant, of.loop_id == loop.loop_id))
    if last is not None and last > loop.last_sequence:
        lock_loop(session, loop.tenant, loop.loop_id)
        session.refresh(loop)
        # Another joiner may have done so, and have gone on.
        if last > loop.last_sequence:
            loop.last_sequence = loop.published_sequence = last
            session.flush()


def read_known(
    session: Session, events: Sequence[Joinable], due_until: int | None, due_limit: int, partitions: Set[int]
) -> Known:
    """What is stored of events' decisions and feedback ids, and the partitions' windows that end before a time."""
    known = Known()
    decisions = _grouped(((event.tenant, event.loop_id), event.decision_id) for event in events)
    for loop, ids in decisions.items():
        _read_windows(session, known, select(*WINDOW_COLUMNS).where(*_among(session, DecisionRow, loop, ids)))
        _read_waiting(session, known, loop, ids)
    if due_until is not None:
        mine = DecisionRow.log_partition.in_(partitions)
        due = select(*WINDOW_COLUMNS).where(DecisionRow.closes_at < due_until, mine)
        _read_windows(session, known, due.order_by(DecisionRow.closes_at).limit(due_limit))
    _read_in_time(session, known)
    known.feedback_ids = _read_feedback_ids(session, events)
    return known


def read_judged(session: Session, known: Known, loops: Mapping[LoopKey, LoopSettings]) -> None:
    """Fills the decisions of the windows that are not closed yet, where their loop's reward reads them."""
    reading = {key for key, settings in loops.items() if reads_decision(settings.reward)}
    open_ones = [window for window in known.windows.values() if not window.is_closed]
    wanted = (((one.tenant, one.loop_id), one.decision_id) for one in open_ones)
    for loop, ids in _grouped(pair for pair in wanted if pair[0] in reading).items():
        query = select(DecisionRow.decision_id, DecisionRow.payload).where(*_among(session, DecisionRow, loop, ids))
        for decision_id, payload in session.execute(query):
            decision = wire.decision_from_pb(events_pb2.DecisionMade.FromString(payload))
            known.windows[*loop, decision_id].decision = decision


def next_end(session: Session, partitions: Set[int]) -> int | None:
    """When the next window of these partitions ends, in microseconds."""
    return session.scalar(select(func.min(DecisionRow.closes_at)).where(DecisionRow.log_partition.in_(partitions)))


def _read_windows(session: Session, known: Known, query: Select[*tuple[object, ...]]) -> None:
    for row in session.execute(query):
        window = Window(**row._asdict())
        known.windows[window.key] = window


def _read_in_time(session: Session, known: Known) -> None:
    """Fills the windows that are not closed yet."""
    unclosed = (window.key for window in known.windows.values() if not window.is_closed)
    for loop, ids in _grouped(((tenant, loop_id), decision_id) for tenant, loop_id, decision_id in unclosed).items():
        query = select(FeedbackRow).where(*_among(session, FeedbackRow, loop, ids), ~FeedbackRow.late)
        for row in session.scalars(query):
            known.windows[*loop, row.decision_id].in_time.append(feedback_of(row))


def _read_waiting(session: Session, known: Known, loop: LoopKey, decision_ids: list[str]) -> None:
    """Feedback and activations that came before their decision."""
    for row in session.scalars(
        select(DanglingFeedbackRow).where(*_among(session, DanglingFeedbackRow, loop, decision_ids))
    ):
        known.dangling.setdefault((*loop, row.decision_id), []).append(feedback_of(row))
    found = session.scalars(
        select(DanglingActivationRow).where(*_among(session, DanglingActivationRow, loop, decision_ids))
    )
    for one in found:
        activation = Activation(*loop, one.decision_id, one.activated_at, one.served_action_id)
        known.activations[*loop, one.decision_id] = activation


def _read_feedback_ids(session: Session, events: Sequence[Joinable]) -> set[FeedbackKey]:
    found: set[FeedbackKey] = set()
    came = [event for event in events if isinstance(event, Feedback)]
    came += chain.from_iterable(event.feedback for event in events if isinstance(event, ImportedExperience))
    for loop, ids in _grouped(((event.tenant, event.loop_id), event.feedback_id) for event in came).items():
        for row in (FeedbackRow, DanglingFeedbackRow):
            mine = (row.tenant == loop[0], row.loop_id == loop[1], is_among(session, row.feedback_id, ids))
            found |= {(*loop, feedback_id) for feedback_id in session.scalars(select(row.feedback_id).where(*mine))}
    return found


def _among(
    session: Session, row: OfLoop, loop: LoopKey, decision_ids: Sequence[str]
) -> tuple[ColumnElement[bool], ...]:
    # One loop at a time: SQLite has no index for (tenant, loop_id, decision_id) IN (...).
    return row.tenant == loop[0], row.loop_id == loop[1], is_among(session, row.decision_id, decision_ids)


def _grouped(pairs: Iterable[tuple[GroupT, str]]) -> dict[GroupT, list[str]]:
    groups: dict[GroupT, dict[str, None]] = defaultdict(dict)
    for group, name in pairs:
        groups[group][name] = None
    return {group: list(names) for group, names in groups.items()}
