"""What a batch changes in the tables."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import bindparam, delete, update
from sqlalchemy.orm import Session

from services.feedback.intake import DeadLetter
from services.feedback.windows import Changes, Closing, DecisionKey, FeedbackKey, LoopKey, Window
from shared.db.dialects import insert_on_conflict, insert_rows, table_of, update_rows
from shared.db.tables import (
    REWARD_CHUNK,
    Base,
    DanglingActivationRow,
    DanglingFeedbackRow,
    DeadLetterRow,
    DecisionRow,
    EpisodeEndRow,
    ExperienceRow,
    FeedbackRow,
    JoinerCountRow,
    LoopRow,
    RewardSumRow,
)
from shared.domain import Activation, Decision, EpisodeEnd, Feedback
from shared.eventlog.envelopes import packed

Row = dict[str, object]


def write(session: Session, changes: Changes, windows: Mapping[DecisionKey, Window], now: int) -> None:
    """Everything that a batch changes; experiences get their sequence here."""
    decisions = [_decision(*new, windows[key]) for key, new in changes.decisions.items()]
    insert_rows(session, DecisionRow, decisions)
    _update_windows(session, [windows[key] for key in changes.windows - changes.decisions.keys()])
    feedback = [_feedback(one.feedback) | {"late": one.late} for one in changes.feedback.values()]
    insert_rows(session, FeedbackRow, feedback)
    _turn_late(session, changes.late_after_all)
    insert_rows(session, DanglingFeedbackRow, [_feedback(one) for one in changes.dangling.values()])
    _delete(session, DanglingFeedbackRow, changes.found)
    insert_rows(session, DanglingActivationRow, [_activation(one) for one in changes.activations.values()])
    _delete(session, DanglingActivationRow, changes.activated)
    _insert_experiences(session, changes.closings)
    _insert_first(session, EpisodeEndRow, [_episode_end(end) for end in changes.episode_ends])
    counts = [
        {"tenant": tenant, "loop_id": loop_id, "name": name, "count": count}
        for (tenant, loop_id, name), count in sorted(changes.counts.items())
    ]
    add_numbers(session, JoinerCountRow, counts)
    insert_rows(session, DeadLetterRow, [_dead_letter(letter, now) for letter in changes.dead])


def _insert_first(session: Session, row: type[Base], rows: Sequence[Row]) -> None:
    """Leaves alone what stands under the same key."""
    if rows:
        session.execute(insert_on_conflict(session, row).on_conflict_do_nothing(), rows)


def _delete(session: Session, row: type[Base], keys: Iterable[tuple[str, ...]]) -> None:
    columns = list(table_of(row).primary_key)
    rows = [{column.name: part for column, part in zip(columns, key, strict=True)} for key in keys]
    if rows:
        session.execute(delete(table_of(row)).where(*(column == bindparam(column.name) for column in columns)), rows)


def _update_windows(session: Session, windows: Sequence[Window]) -> None:
    rows = [
        {
            "tenant": window.tenant,
            "loop_id": window.loop_id,
            "decision_id": window.decision_id,
            "activated_at": window.activated_at,
            "served_action_id": window.served_action_id,
            "closes_at": window.closes_at,
        }
        for window in windows
    ]
    update_rows(session, DecisionRow, rows)


def _turn_late(session: Session, identities: Iterable[FeedbackKey]) -> None:
    for identity in identities:
        session.get_one(FeedbackRow, identity).late = True
    session.flush()


def _insert_experiences(session: Session, closings: Sequence[Closing]) -> None:
    numbered = list(_numbered(session, closings))
    insert_rows(session, ExperienceRow, [_experience(closing, sequence) for closing, sequence in numbered])
    add_numbers(session, RewardSumRow, _reward_sums(numbered))


def _numbered(session: Session, closings: Sequence[Closing]) -> Iterator[tuple[Closing, int]]:
    """Gives each loop's closings, in order, the sequences after its last one."""
    by_loop: dict[LoopKey, list[Closing]] = defaultdict(list)
    for closing in closings:
        by_loop[closing.window.tenant, closing.window.loop_id].append(closing)
    # In order, so that no two joiners wait for each other.
    for loop, closed in sorted(by_loop.items(), key=lambda entry: entry[0]):
        yield from zip(closed, take_sequences(session, loop, len(closed)), strict=True)


def take_sequences(session: Session, loop: LoopKey, count: int) -> Iterator[int]:
    """So many sequences after the loop's last one."""
    loops = table_of(LoopRow)
    taken = update(loops).where(loops.c.tenant == loop[0], loops.c.loop_id == loop[1])
    taken = taken.values(last_sequence=loops.c.last_sequence + count)
    last = session.execute(taken.returning(loops.c.last_sequence)).scalar_one()
    return iter(range(last - count + 1, last + 1))


def add_numbers(session: Session, row: type[Base], rows: Sequence[Row]) -> None:
    """Adds numbers to those that stand under the same key; a time takes the place of the one before."""
    new = insert_on_conflict(session, row)
    columns = [column for column in table_of(row).columns if not column.primary_key]
    sums = {
        column.name: new.excluded[column.name] + (0 if column.name.endswith("_at") else column) for column in columns
    }
    if rows:
        session.execute(new.on_conflict_do_update(index_elements=table_of(row).primary_key, set_=sums), rows)


def _decision(decision: Decision, payload: bytes, window: Window) -> Row:
    return {
        "tenant": decision.tenant,
        "loop_id": decision.loop_id,
        "decision_id": decision.decision_id,
        "decided_at": decision.decided_at,
        "action_id": decision.action_id,
        "probability": decision.probability,
        "model_version": decision.model_version,
        "fallback_reason": decision.fallback_reason,
        "deferred": decision.deferred,
        "request_sha256": decision.request_sha256,
        "activated_at": window.activated_at,
        "served_action_id": window.served_action_id,
        "closes_at": window.closes_at,
        "log_partition": window.log_partition,
        "previous_decision_id": decision.previous_decision_id,
        "traceparent": decision.traceparent,
        "payload": payload,
    }


def _feedback(feedback: Feedback) -> Row:
    is_text = isinstance(feedback.value, str)
    return {
        "tenant": feedback.tenant,
        "loop_id": feedback.loop_id,
        "feedback_id": feedback.feedback_id,
        "decision_id": feedback.decision_id,
        "metric": feedback.metric,
        "number": None if is_text else feedback.value,
        "text": feedback.value if is_text else None,
        "received_at": feedback.received_at,
        "occurred_at": feedback.occurred_at,
    }


def _activation(activation: Activation) -> Row:
    return {
        "tenant": activation.tenant,
        "loop_id": activation.loop_id,
        "decision_id": activation.decision_id,
        "activated_at": activation.activated_at,
        "served_action_id": activation.served_action_id,
    }


def _episode_end(end: EpisodeEnd) -> Row:
    return {
        "tenant": end.tenant,
        "loop_id": end.loop_id,
        "episode_id": end.episode_id,
        "decision_id": end.decision_id,
        "end": end.end,
        "ended_at": end.ended_at,
    }


def _experience(closing: Closing, sequence: int) -> Row:
    window = closing.window
    action_id, probability = window.served
    return {
        "tenant": window.tenant,
        "loop_id": window.loop_id,
        "sequence": sequence,
        "decision_id": window.decision_id,
        "decided_at": window.decided_at,
        "closed_at": closing.closed_at,
        "closed_by": closing.closed_by,
        "action_id": action_id,
        "probability": probability,
        "reward": closing.reward,
        "model_version": window.model_version,
        "revision": 1,
        "superseded": False,
        "traceparent": window.traceparent,
    }


def _reward_sums(numbered: Iterable[tuple[Closing, int]]) -> list[Row]:
    """What the closings add, a row for each loop, chunk and version."""
    together: dict[tuple[str, str, int, int], list[Closing]] = defaultdict(list)
    for closing, sequence in numbered:
        window = closing.window
        chunk = (sequence - 1) // REWARD_CHUNK
        together[window.tenant, window.loop_id, chunk, window.model_version or 0].append(closing)
    return [
        {
            "tenant": tenant,
            "loop_id": loop_id,
            "chunk": chunk,
            "model_version": model_version,
            "experiences": len(closings),
            "closed_by_timeout": sum(one.closed_by == "timeout" for one in closings),
            "reward_sum": math.fsum(one.reward for one in closings),
            "reward_square_sum": math.fsum(one.reward * one.reward for one in closings),
            "last_decided_at": closings[-1].window.decided_at,
        }
        for (tenant, loop_id, chunk, model_version), closings in together.items()
    ]


def _dead_letter(letter: DeadLetter, now: int) -> Row:
    position = letter.stored.position
    return {
        "topic": position.topic,
        "partition": position.partition,
        "offset": position.offset,
        "tenant": letter.tenant,
        # PostgreSQL holds no NUL in a text.
        "reason": letter.reason.replace("\0", "\\0"),
        "payload": letter.stored.record.value,
        "envelope": packed(letter.stored.record),
        "appended_at": letter.stored.appended_at,
        "dead_at": now,
    }
