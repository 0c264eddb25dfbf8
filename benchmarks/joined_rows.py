"""A decision with its experience as rows, for benchmarks and tests that need many without a joiner."""

from shared import wire
from shared.db.tables import DecisionRow, ExperienceRow
from shared.domain import Decision


def rows_of(decision: Decision, sequence: int, reward: float) -> tuple[DecisionRow, ExperienceRow]:
    """As the joiner leaves them once the decision's feedback has come, at the moment of the decision."""
    row = DecisionRow(
        tenant=decision.tenant,
        loop_id=decision.loop_id,
        decision_id=decision.decision_id,
        decided_at=decision.decided_at,
        action_id=decision.action_id,
        probability=decision.probability,
        model_version=decision.model_version,
        deferred=False,
        request_sha256=decision.request_sha256,
        payload=wire.decision_bytes(decision),
    )
    experience = ExperienceRow(
        tenant=decision.tenant,
        loop_id=decision.loop_id,
        sequence=sequence,
        decision_id=decision.decision_id,
        decided_at=decision.decided_at,
        closed_at=decision.decided_at,
        closed_by="feedback",
        action_id=decision.action_id,
        probability=decision.probability,
        reward=reward,
    )
    return row, experience
