"""Off-policy evaluations: asked for here, done by the trainer."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit
from services.gateway.training import acknowledged, tell_trainer
from shared.db.engine import read_session, write_session
from shared.domain import Clock, Evaluation, EvaluationRef, ModelRef
from shared.evaluation.settings import ConstantTarget, EvaluationSettings, ModelVersionTarget, TableTarget
from shared.eventlog import EventLog
from shared.loop_settings import Loop
from shared.registry.evaluations import read_evaluation, read_evaluations, request_evaluation
from shared.registry.versions import read_version
from shared.security import ApiKey

EnqueueEvaluation = Callable[[EvaluationRef], None]


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Every call blocks on the database."""

    engine: Engine
    event_log: EventLog
    enqueue: EnqueueEvaluation
    clock: Clock

    def request(self, caller: ApiKey, loop: Loop, settings: EvaluationSettings) -> Evaluation:
        """A new one, which covers all that was acknowledged before this call.

        Raises:
            Problem: the target is of an action, a modality or a version that the loop does not have.
        """
        _check_target(loop, settings)
        covers = acknowledged(self.event_log)
        now = self.clock()
        with write_session(self.engine) as session:
            _check_version(session, loop, settings)
            body = settings.model_dump(mode="json")
            evaluation = request_evaluation(session, loop.tenant, loop.loop_id, body, covers, now)
            subject = f"loops/{loop.loop_id}/evaluations/{evaluation.evaluation_id}"
            add_audit(session, caller.tenant, caller.key_id, "request", subject, now)
        tell_trainer(self.enqueue, evaluation.ref)
        return evaluation

    def read(self, loop: Loop, evaluation_id: str) -> Evaluation | None:
        with read_session(self.engine) as session:
            return read_evaluation(session, EvaluationRef(loop.tenant, loop.loop_id, evaluation_id))

    def read_page(self, loop: Loop, limit: int, before: str | None) -> list[Evaluation]:
        """Newest first."""
        with read_session(self.engine) as session:
            return read_evaluations(session, loop.tenant, loop.loop_id, limit, before)


def _check_target(loop: Loop, settings: EvaluationSettings) -> None:
    listed = [action.id for action in loop.settings.actions]
    match settings.target:
        case ConstantTarget(constant=action_id) if listed and action_id not in listed:
            raise Problem(ProblemType.UNKNOWN_ACTION, f"The loop does not list {action_id!r}.", "target.constant")
        case TableTarget(table=table):
            key = table.context_key
            texts = [name for name, modality in loop.settings.modalities.items() if modality.kind == "text"]
            if key is not None and key not in texts and loop.settings.segment_field(key) is None:
                detail = "It is `<modality>.<field>` of one of the loop's tables, or the name of a text modality."
                raise Problem(ProblemType.UNKNOWN_MODALITY, detail, "target.table.context_key")
            for name, shares in table.rows.items():
                at = f"target.table.by_key.{name}" if name else "target.table.probabilities"
                _check_shares(listed, shares.keys(), at)
        case _:
            pass


def _check_shares(listed: list[str], named: Collection[str], field: str) -> None:
    if not listed:
        return
    missing = [action_id for action_id in listed if action_id not in named]
    if missing:
        raise Problem(ProblemType.INVALID_FIELD, f"It lacks {missing[0]!r}: give it 0, or a share.", field)
    unknown = [action_id for action_id in named if action_id not in listed]
    if unknown:
        raise Problem(ProblemType.UNKNOWN_ACTION, f"The loop does not list {unknown[0]!r}.", field)


def _check_version(session: Session, loop: Loop, settings: EvaluationSettings) -> None:
    if isinstance(settings.target, ModelVersionTarget):
        number = settings.target.model_version
        if read_version(session, ModelRef(loop.tenant, loop.loop_id, int(number))) is None:
            raise Problem(
                ProblemType.UNKNOWN_MODEL_VERSION, f"The loop has no version {number}.", "target.model_version"
            )
