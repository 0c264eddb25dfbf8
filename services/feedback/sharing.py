"""Which partitions a joiner reads: all of them, or its share among the joiners that live.

A joiner shows that it lives by a beat in its row. Whether another one's beat goes on is judged by the own monotonic
clock, so no two clocks are ever compared. Two that see different members for a moment may both claim a partition: the
epoch of its offset lets only the last one commit.
"""

from collections.abc import Set
from typing import Final, Protocol

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from shared.db.dialects import insert_on_conflict, table_of
from shared.db.engine import end_sessions, write_session
from shared.db.tables import JoinerMemberRow
from shared.domain import Clock

# In one lease, so that a beat that comes late does no harm.
BEATS: Final = 4


class Share(Protocol):
    """Partition numbers, each meant in every topic that is keyed by decision."""

    # Whether to go on when another joiner has taken over; one that is alone ends instead.
    yields: bool

    def of(self, partitions: Set[int]) -> Set[int]:
        """Those that are this joiner's now."""
        ...

    def look_again(self) -> None:
        """Before the next answer, since somebody has taken a partition."""
        ...

    def leave(self) -> None:
        """Gives all of them back."""
        ...


class Alone:
    """Everything, at once: the profile that runs one joiner."""

    yields = False

    def of(self, partitions: Set[int]) -> Set[int]:
        return partitions

    def look_again(self) -> None: ...

    def leave(self) -> None: ...


class Shared:
    """Each partition number goes to the joiner whose turn it is among those that live, in order of their names."""

    yields = True

    def __init__(self, engine: Engine, member: str, lease: int, monotonic: Clock) -> None:
        """`lease` in microseconds: how long a joiner counts as living after its last beat.

        `member` is the name of its engine too: what a silent one has open is ended, locks and all.
        """
        self._engine = engine
        self._member = member
        self._lease = lease
        self._monotonic = monotonic
        self._beat = 0
        self._look_at: int | None = None
        # Member → its last beat, and when that was first seen.
        self._seen: dict[str, tuple[int, int]] = {}

    def of(self, partitions: Set[int]) -> Set[int]:
        """Raises SQLAlchemyError where the members cannot be told."""
        now = self._monotonic()
        if self._look_at is None or now >= self._look_at:
            self._look(now)
            self._look_at = now + self._lease // BEATS
        members = sorted(self._seen)
        return {number for number in partitions if members[number % len(members)] == self._member}

    def look_again(self) -> None:
        self._look_at = None

    def leave(self) -> None:
        with write_session(self._engine) as session:
            session.execute(delete(JoinerMemberRow).where(JoinerMemberRow.member == self._member))

    def _look(self, now: int) -> None:
        self._beat += 1
        with write_session(self._engine) as session:
            beats = _beat(session, self._member, self._beat)
            seen = {
                member: self._seen[member] if self._seen.get(member, (None,))[0] == beat else (beat, now)
                for member, beat in beats.items()
            }
            silent = [member for member, (_, since) in seen.items() if now - since > self._lease]
            session.execute(delete(JoinerMemberRow).where(JoinerMemberRow.member.in_(silent)))
            # One that was frozen in mid-transaction would keep its locks from the others for good.
            end_sessions(session, silent)
        self._seen = {member: at for member, at in seen.items() if member not in silent}


def _beat(session: Session, member: str, beat: int) -> dict[str, int]:
    """Each member's last beat, this one's included."""
    mine = insert_on_conflict(session, JoinerMemberRow).values(member=member, beat=beat)
    session.execute(mine.on_conflict_do_update(index_elements=["member"], set_={"beat": beat}))
    table = table_of(JoinerMemberRow)
    return {row.member: row.beat for row in session.execute(select(table.c.member, table.c.beat))}
