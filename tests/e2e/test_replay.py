"""What a decision logs is enough to make it again, to the tolerances of the design (section 6.2)."""

from itertools import islice

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.encoding.encoding import encode, load_encoder
from services.fusion.server import load_fusion
from services.policy.deciding import decide, load_version_policy
from shared import wire
from shared.db.engine import open_engine, read_session
from shared.db.tables import DecisionRow
from shared.domain import Decision, ModelRef
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
    stream = product.visits(1000)
    with platform.client() as http:
        product.put_loop(http, LOOP)
        for visit in islice(stream, 250):
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        assert product.fine_tune(http, LOOP)["status"] == "succeeded"
        for visit in islice(stream, 50):
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        product.wait_for_experiences(http, LOOP, 300)
    store = ArtifactStore(platform.home / "artifacts")
    with read_session(open_engine(f"sqlite:///{platform.home / 'rewardloop.db'}")) as session:
        rows = session.scalars(select(DecisionRow).where(DecisionRow.loop_id == LOOP)).all()
        decisions = [wire.decision_from_pb(events_pb2.DecisionMade.FromString(row.payload)) for row in rows]
        made = [decision for decision in decisions if decision.model_version is not None]
        assert {decision.model_version for decision in made} == {1, 2}
        versions = {number: Replay(session, store, made[0], number) for number in (1, 2)}
        for decision in made:
            assert decision.model_version is not None
            versions[decision.model_version].check(decision)


class Replay:
    """One model version, read from the registry as the services read it."""

    def __init__(self, session: Session, store: ArtifactStore, of: Decision, number: int) -> None:
        version = read_version(session, ModelRef(of.tenant, of.loop_id, number))
        assert version is not None
        self.manifest = Manifest.model_validate_json(store.get(version.manifest_sha256))
        self.store = store
        architecture = self.manifest.architecture
        self.encoder = Loaded(self.manifest, load_encoder(architecture, self._part("encoding")))
        self.fusion = load_fusion(architecture, self._part("fusion"))
        self.policy = Loaded(self.manifest, load_version_policy(architecture, self._part("policy")))

    def _part(self, part: Part) -> bytes:
        return self.store.get(self.manifest.parts[part])

    def check(self, decision: Decision) -> None:
        assert decision.state is not None
        assert decision.scores is not None
        encoded = encode(self.encoder, [decision.context], [], decode_all, self.store.get)
        with torch.inference_mode():
            state = self.fusion(encoded.embeddings, encoded.present)[0].numpy()
        np.testing.assert_allclose(decision.state, state, atol=1e-4)
        again = decide(
            self.policy,
            torch.from_numpy(decision.state.copy())[None],
            Candidates.of([[action.id for action in decision.actions]], [[]]),
            None,
            ExplorationSettings(),
            (0.0, 1.0),
            [decision.seed],
        )
        np.testing.assert_allclose(decision.scores.expected_rewards, again.expected_rewards, atol=1e-6)
        np.testing.assert_allclose(decision.scores.variances, again.variances, atol=1e-6)
        np.testing.assert_allclose(decision.probabilities, again.probabilities, atol=1e-9)
        drawn = int(again.position[0])
        assert decision.action_id == decision.actions[drawn].id
        assert decision.probability == decision.probabilities[drawn]
