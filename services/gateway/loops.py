"""Loops: created, changed and deleted in the database, and at once in this gateway's memory."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.directory import Directory
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit, delete_loop, freeze_loop, save_loop
from services.gateway.training import Enqueue, tell_trainer
from shared.db.engine import read_session, write_session
from shared.domain import Clock
from shared.loop_settings import FrozenTo, Loop, LoopSettings
from shared.networks.trunk_files import TrunkError
from shared.registry.training_runs import read_runs, request_run, skip_fine_tunes
from shared.security import ApiKey


@dataclass(frozen=True, slots=True)
class Loops:
    """Every call blocks on the database. `find_encoder` raises TrunkError where a pretrained encoder is not here; None
    where that cannot be told."""

    engine: Engine
    directory: Directory
    enqueue: Enqueue
    clock: Clock
    find_encoder: Callable[[str], object] | None = None

    def put(self, caller: ApiKey, loop_id: str, settings: LoopSettings) -> tuple[Loop, bool]:
        """The loop, and whether it is new; a new one gets its first version made.

        One that goes online from apprentice mode gets a version that expects rewards.

        Raises:
            Problem: a pretrained encoder that it names is not here.
        """
        self._refuse_missing_encoders(settings)
        now, run = self.clock(), None
        with write_session(self.engine) as session:
            loop, created = save_loop(session, caller.tenant, loop_id, settings, now)
            if created:
                run = request_run(session, caller.tenant, loop_id, "initialise", {}, now)
            elif loop.online_at == now:
                # What it learned as an apprentice is whom to imitate: from now on rewards count.
                run = request_run(session, caller.tenant, loop_id, "fine_tune", {}, now, "online")
            verb = "create" if created else "change"
            add_audit(session, caller.tenant, caller.key_id, verb, f"loops/{loop_id}", now)
        if run is not None:
            tell_trainer(self.enqueue, run.ref)
        self.directory.refresh()
        return loop, created

    def _refuse_missing_encoders(self, settings: LoopSettings) -> None:
        for name, modality in settings.modalities.items():
            if modality.encoder is not None and self.find_encoder is not None:
                try:
                    self.find_encoder(modality.encoder)
                except TrunkError as error:
                    field = f"modalities.{name}.encoder"
                    raise Problem(ProblemType.ENCODER_NOT_FOUND, f"There are {error}.", field) from error

    def has_failed(self, loop: Loop) -> bool:
        """Whether the loop's newest training run could not make a version; no where the database cannot tell."""
        try:
            with read_session(self.engine) as session:
                newest = read_runs(session, loop.tenant, loop.loop_id, 1)
        except SQLAlchemyError:
            return False
        return any(run.status == "failed" for run in newest)

    def freeze(self, caller: ApiKey, loop_id: str, frozen_to: FrozenTo | None) -> Loop:
        """Stops the loop's learning, fine-tunes that are under way with it, or at None lets it go on.

        Raises:
            Problem: it was deleted meanwhile.
        """
        now, verb = self.clock(), "unfreeze" if frozen_to is None else "freeze"
        with write_session(self.engine) as session:
            loop = freeze_loop(session, caller.tenant, loop_id, frozen_to)
            if loop is None:
                raise Problem(ProblemType.UNKNOWN_LOOP, "It was deleted.", "loop_id")
            if frozen_to is not None:
                skip_fine_tunes(session, caller.tenant, loop_id, now, "the loop was frozen")
            add_audit(session, caller.tenant, caller.key_id, verb, f"loops/{loop_id}", now)
        self.directory.refresh()
        return loop

    def delete(self, caller: ApiKey, loop_id: str) -> None:
        """Removes the loop with all its decisions, feedback, experiences and versions."""
        with write_session(self.engine) as session:
            delete_loop(session, caller.tenant, loop_id)
            add_audit(session, caller.tenant, caller.key_id, "delete", f"loops/{loop_id}", self.clock())
        self.directory.refresh()
