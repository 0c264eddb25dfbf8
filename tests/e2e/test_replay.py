"""What a decision logs is enough to make it again, to the tolerances of the design (section 6.2)."""

from collections.abc import Sequence
from itertools import accumulate, islice

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.encoding.encoding import encode, load_encoder
from services.fusion.server import load_fusion
from services.policy.deciding import decide, load_version_policy
from shared import wire
from shared.db.engine import open_engine, read_session
from shared.db.tables import DecisionRow, ExperienceRow
from shared.domain import Decision, Doubles, Floats, ModelRef
from shared.functional.exploration import thompson_probabilities, with_floor
from shared.loop_settings import ExplorationSettings
from shared.networks.media_decoder import decode_all
from shared.networks.policy import Candidates
from shared.pb.events.v1 import events_pb2
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import Loaded
from shared.registry.manifest import Manifest, Part
from shared.registry.versions import read_version
from tests.e2e import product
from tests.e2e.conftest import Platform

LOOP = "replay"


def test_every_decision_replays(platform: Platform) -> None:
    stream = product.visits()
    with platform.client() as http:
        product.put_loop(http, LOOP)
        visits = product.learn_until_a_version_takes_over(http, LOOP, stream, 150)
        for visit in islice(stream, 50):
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        product.wait_for_experiences(http, LOOP, visits + 50)
    store = ArtifactStore(platform.home / "artifacts")
    with read_session(open_engine(f"sqlite:///{platform.home / 'rewardloop.db'}")) as session:
        rows = session.scalars(select(DecisionRow).where(DecisionRow.loop_id == LOOP)).all()
        decisions = [wire.decision_from_pb(events_pb2.DecisionMade.FromString(row.payload)) for row in rows]
        by_id = {decision.decision_id: decision for decision in decisions}
        joined = session.scalars(select(ExperienceRow).order_by(ExperienceRow.sequence)).all()
        experiences = [(by_id[row.decision_id], row.reward) for row in joined]
        made = sorted((one for one in decisions if one.model_version is not None), key=lambda one: one.head_sequence)
        numbers = sorted({decision.model_version for decision in made if decision.model_version is not None})
        assert numbers[0] == 1
        assert len(numbers) == 2
        versions = {number: Replay(session, store, made[0], number, experiences) for number in numbers}
        for decision in made:
            assert decision.model_version is not None
            versions[decision.model_version].check(decision)
        assert all(version.sequence > version.manifest.covers_sequence for version in versions.values())


class Replay:
    """One model version, read from the registry as the services read it; its head learns as far as it is asked."""

    def __init__(
        self,
        session: Session,
        store: ArtifactStore,
        of: Decision,
        number: int,
        experiences: Sequence[tuple[Decision, float]],
    ) -> None:
        version = read_version(session, ModelRef(of.tenant, of.loop_id, number))
        assert version is not None
        self.manifest = Manifest.model_validate_json(store.get(version.manifest_sha256))
        self.store = store
        self.experiences = experiences
        architecture = self.manifest.architecture
        self.encoder = Loaded(self.manifest, load_encoder(architecture, self._part("encoding")))
        self.fusion = load_fusion(architecture, self._part("fusion"))
        self.policy = load_version_policy(architecture, self._part("policy"))
        self.sequence = self.manifest.covers_sequence

    def _part(self, part: Part) -> bytes:
        return self.store.get(self.manifest.parts[part])

    def check(self, decision: Decision) -> None:
        assert decision.state is not None
        assert decision.scores is not None
        self._learn(decision.head_sequence)
        np.testing.assert_allclose(decision.state, self._state(decision), atol=1e-4)
        again = decide(
            self.policy,
            (0.0, 1.0),
            torch.from_numpy(decision.state.copy())[None],
            Candidates.of([[action.id for action in decision.actions]], [[]]),
            None,
            ExplorationSettings(),
            (0.0, 1.0),
            [decision.seed],
            [None],
        )
        np.testing.assert_allclose(decision.scores.expected_rewards, again.expected_rewards, atol=1e-6)
        np.testing.assert_allclose(decision.scores.variances, again.variances, atol=1e-6)
        np.testing.assert_allclose(decision.probabilities, _distribution(decision), atol=1e-9)
        drawn = _drawn(decision)
        assert decision.action_id == decision.actions[drawn].id
        assert decision.probability == decision.probabilities[drawn]

    def _learn(self, head_sequence: int) -> None:
        """Takes the experiences up to a sequence, each with its state under this version."""
        new = self.experiences[self.sequence : head_sequence]
        if new:
            states = [self._known_state(one) for one, _ in new]
            rewards = torch.tensor([reward for _, reward in new], dtype=torch.float64)
            actions = [one.action_id for one, _ in new]
            times = torch.tensor([one.decided_at for one, _ in new])
            self.policy = self.policy.learned(torch.from_numpy(np.stack(states)), actions, None, rewards, times)
            self.sequence = head_sequence

    def _known_state(self, decision: Decision) -> Floats:
        decided = decision.state if decision.model_version == self.manifest.version else None
        return self._state(decision) if decided is None else decided

    def _state(self, decision: Decision) -> Floats:
        encoded = encode(self.encoder, [decision.context], [], decode_all, self.store.get)
        with torch.inference_mode():
            state: Floats = self.fusion(encoded.embeddings, encoded.present)[0].numpy()
        return state


def _distribution(decision: Decision) -> Doubles:
    """From the logged scores alone."""
    assert decision.scores is not None
    mean, variance = decision.scores.expected_rewards, decision.scores.variances
    explored = ExplorationSettings().scale ** 2 * variance
    thompson = thompson_probabilities(torch.from_numpy(mean.copy())[None], torch.from_numpy(explored)[None])
    probabilities: Doubles = with_floor(thompson, ExplorationSettings().floor)[0].numpy()
    return probabilities


def _drawn(decision: Decision) -> int:
    """From the logged distribution and seed alone."""
    uniform = (decision.seed >> 11) / 2**53
    return next(position for position, total in enumerate(accumulate(decision.probabilities)) if total > uniform)
