"""Reports of loops: what the champion makes of the newest experiences, kept so that statistics can tell it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import Engine

from services.trainer.bootstrapping import targets
from services.trainer.candidates import load_networks
from services.trainer.correlation import correlate
from services.trainer.examples import Examples, examples_of
from services.trainer.experiences import PreparedExperience, Replay
from services.trainer.importance import Measured, importance_of, measure
from services.trainer.networks import Networks
from services.trainer.segments import segment_of
from shared.db.engine import read_session, write_session
from shared.db.loops import keep_loop, read_loop
from shared.db.reports import StoredReport, add_report, read_newest_report
from shared.domain import Clock
from shared.loop_report import Fairness, LoopReport, ModalityCorrelation
from shared.loop_settings import LearningSettings, Loop
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import Architecture, Manifest
from shared.registry.versions import read_champion

log: Final = structlog.get_logger(__name__)

# The newest of a loop that a report is about, and the fewest that make one.
EXPERIENCES: Final = 1000
LEAST_EXPERIENCES: Final = 50


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes reports; blocks. Its replay is its own, so that a fine-tune's is not cut down to what a report reads."""

    engine: Engine
    artifacts: ArtifactStore
    replay: Replay
    clock: Clock

    def report(self, tenant: str, loop_id: str) -> StoredReport | None:
        """A loop's report, stored; None where there is no version, too little to tell, or nothing new.

        Raises:
            ArtifactError: the champion cannot be read.
            TrunkError: a pretrained encoder is not the one that it was made with.
        """
        with read_session(self.engine) as session:
            loop = read_loop(session, tenant, loop_id)
            champion = read_champion(session, tenant, loop_id)
            newest = read_newest_report(session, tenant, loop_id)
        if loop is None or champion is None:
            return None
        manifest = Manifest.model_validate_json(self.artifacts.get(champion.manifest_sha256))
        # Of another encoder of the same name its networks know nothing.
        self.replay.trunks.of(manifest.architecture)
        # The champion reads contexts, and learned rewards, as its own settings say: the loop's may have changed since.
        experiences = self.replay.read(replace(loop, settings=manifest.settings), EXPERIENCES, _nothing)
        learning = manifest.settings.learning
        known = [one for one in experiences if one.is_whole] if learning.bootstraps else experiences
        examples = examples_of(known, manifest.architecture, manifest.settings.reward.range)
        if len(examples) < LEAST_EXPERIENCES:
            return None
        # A restated experience keeps its place among the others, and has a sequence of its own.
        covered = champion.version, max(one.row.sequence for one in experiences)
        if newest is not None and covered == (newest.model_version, newest.sequence):
            return None
        networks = load_networks(manifest, self.artifacts)
        measured = measure(networks, _valued(networks, examples, learning))
        report = _report(networks.architecture, examples, measured, learning.seed, self._fairness(loop, experiences))
        stored = StoredReport(tenant, loop_id, *covered, self.clock(), report)
        with write_session(self.engine) as session:
            # The loop may have been deleted meanwhile.
            if keep_loop(session, tenant, loop_id):
                add_report(session, stored)
        log.info("loop_reported", loop_id=loop_id, version=champion.version, sequence=stored.sequence)
        return stored

    def _fairness(self, loop: Loop, experiences: Sequence[PreparedExperience]) -> dict[str, Fairness]:
        asked = loop.settings.fairness
        if not asked.segments:
            return {}
        from services.trainer.fairness import fairness_of

        decisions = self.replay.read_decisions(loop, experiences)
        actions = [one.row.action_id for one in experiences]
        rewards = [one.row.reward for one in experiences]
        found = {}
        for segment in asked.segments:
            field = loop.settings.segment_field(segment)
            assert field is not None
            of = [segment_of(decisions[one.row.decision_id], *field) for one in experiences]
            found[segment] = fairness_of(of, actions, rewards, asked.min_decisions)
        return found


def _valued(networks: Networks, examples: Examples, learning: LearningSettings) -> Examples:
    """The examples with what the estimate was taught in place of their rewards."""
    if not learning.bootstraps:
        return examples
    of = (examples.experiences, examples.rewards, examples.zero)
    return replace(examples, rewards=targets(networks, *of, learning.discount, _nothing))


def _report(
    architecture: Architecture, examples: Examples, measured: Measured, seed: int, fairness: dict[str, Fairness]
) -> LoopReport:
    taken = [one.row.action_id for one in examples.experiences]
    columns = zip(architecture.modalities, measured.embeddings.unbind(1), strict=True)
    return LoopReport(
        experiences=len(examples),
        modality_importance=importance_of(measured, list(architecture.modalities)),
        modality_correlation=ModalityCorrelation(
            state=correlate(taken, measured.states, seed),
            modalities={name: correlate(taken, encoded_NE, seed) for name, encoded_NE in columns},
        ),
        fairness=fairness,
    )


def _nothing() -> None:
    """A report holds no lease."""
