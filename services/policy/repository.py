"""What a version has to learn, as the database has it."""

from sqlalchemy import Engine

from shared.db.engine import read_session
from shared.db.version_states import read_stateless, read_under
from shared.domain import Experience, ModelRef
from shared.networks.policy import Policy
from shared.registry.loading import Loaded


def read_unlearned(engine: Engine, version: Loaded[Policy], after: int, limit: int) -> list[Experience]:
    """Experiences of its loop beyond a sequence, in order, under the version; up to the first that it was not fed yet.

    Raises:
        SQLAlchemyError: the database is away.
    """
    manifest = version.manifest
    ref = ModelRef(manifest.tenant, manifest.loop_id, manifest.version)
    with read_session(engine) as session:
        if manifest.settings.learning.bootstraps:
            return read_stateless(session, ref, after, limit)
        # An action's embedding is in what it was fed only.
        return read_under(session, ref, after, limit, decided_too=not manifest.architecture.action_features)
