"""What a decision logs is enough to make it again, to the tolerances of the design (section 6.2)."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, islice

import httpx
import numpy as np
import pytest
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
from shared.loop_settings import ExplorationSettings
from shared.networks.media_decoder import decode_all
from shared.networks.policy import Candidates, CandidateScores, distribution
from shared.pb.events.v1 import events_pb2
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import Loaded
from shared.registry.manifest import Manifest, Part
from shared.registry.versions import read_version
from tests.e2e import product
from tests.e2e.conftest import Platform

STRATEGIES: list[dict[str, object]] = [
    {"strategy": "thompson", "scale": 1.0, "floor": 0.01},
    {"strategy": "ucb", "scale": 0.5, "floor": 0.1},
    {"strategy": "squarecb", "gamma": 5.0},
    {"strategy": "epsilon_greedy", "epsilon": 0.3, "floor": 0.0},
    {"strategy": "boltzmann", "temperature": 0.2},
]


def test_every_decision_replays(http: httpx.Client, shared_platform: Platform) -> None:
    stream = product.visits()
    product.put_loop(http, "pictures")
    visits = product.learn_until_a_version_takes_over(http, "pictures", stream, 150)
    for visit in islice(stream, 50):
        product.tell(http, "pictures", product.decide(http, "pictures", visit), visit)
    product.wait_for_experiences(http, "pictures", visits + 50)
    versions = replayed(shared_platform, "pictures", {1: ExplorationSettings()})
    assert sorted(versions) == [1, max(versions)]
    assert max(versions) > 1
    assert all(version.sequence > version.manifest.covers_sequence for version in versions.values())


def test_every_strategy_replays(http: httpx.Client, shared_platform: Platform) -> None:
    revisions = {}
    for exploration in STRATEGIES:
        revision = put(http, "strategies", exploration=exploration)
        revisions[revision] = ExplorationSettings.model_validate(exploration)
        visit(http, "strategies", 15, [] if len(revisions) % 2 else ["other"])
    assert set(replayed(shared_platform, "strategies", revisions)) == {1}


def test_a_policy_that_was_learned_itself_replays(http: httpx.Client, shared_platform: Platform) -> None:
    learning = {"objective": "reward_guided", "learning_rate": 5e-3, "max_steps": 100}
    exploration = {"strategy": "epsilon_greedy", "epsilon": 1.0, "floor": 0.02, "seed": 1}
    revision = put(http, "logits", learning=learning, exploration=exploration)
    visit(http, "logits", 200, [])
    run = product.fine_tune(http, "logits")
    assert run["status"] == "succeeded", run
    decision_id = visit(http, "logits", 30, ["other"])
    detail = http.get(f"/v1/loops/logits/decisions/{decision_id}").raise_for_status().json()
    told = {row["id"]: (row["policy_logit"], row["probability"]) for row in detail["ranking"]}
    likelihood = np.exp([told["left"][0], told["right"][0]])
    assert told["left"][1] == pytest.approx(0.98 * likelihood[0] / likelihood.sum() + 0.01)
    versions = replayed(shared_platform, "logits", {revision: ExplorationSettings.model_validate(exploration)})
    assert sorted(versions) == [1, 2]


def test_decisions_replay_across_promotions_a_kill_and_a_way_back(platform: Platform) -> None:
    with platform.client() as http:
        revision = put(http, "kept", learning={"max_steps": 50})
        for _ in range(2):
            visit(http, "kept", 40, [])
            if (run := product.fine_tune(http, "kept"))["status"] != "succeeded":
                # The gate has turned it down.
                bring_out(http, "kept", run["model_version"])
        visit(http, "kept", 20, [])
    platform.kill()
    platform.start()
    with platform.client() as http:
        visit(http, "kept", 20, [])
        bring_out(http, "kept", "2")
        visit(http, "kept", 40, [])
    assert sorted(replayed(platform, "kept", {revision: ExplorationSettings()})) == [1, 2, 3]


def bring_out(http: httpx.Client, loop_id: str, version: str) -> None:
    rollout = {"model_version": version, "strategy": "immediate"}
    http.post(f"/v1/loops/{loop_id}/rollouts", json=rollout).raise_for_status()


def put(http: httpx.Client, loop_id: str, **settings: object) -> int:
    """A small loop; the revision of its settings."""
    modalities = {"user": {"kind": "tabular"}, "words": {"kind": "text"}}
    body = {"modalities": modalities, "actions": [{"id": name} for name in ("left", "right", "other")]}
    answer = product.put(http, loop_id, body | settings)
    return int(answer["settings_revision"])


def visit(http: httpx.Client, loop_id: str, count: int, excluded: list[str]) -> str:
    """Decisions for red and blue, each with its own best action, and their feedback; the last one's id once joined."""
    before = product.statistics(http, loop_id)["experiences"]
    colours = [("red", "blue")[number % 2] for number in range(count)]
    rows = [
        {
            "decision_id": f"{loop_id}-{before + number}",
            "context": {"user": {"colour": colour}, "words": f"a {colour} shoe"},
            "excluded_action_ids": excluded,
        }
        for number, colour in enumerate(colours)
    ]
    url = f"/v1/loops/{loop_id}/decisions:batch"
    decided = http.post(url, json={"decisions": rows}).raise_for_status().json()["decisions"]
    events = [
        {
            "decision_id": one["decision_id"],
            "metric": "reward",
            "value": (colour == "red") == (one["action_id"] == "left"),
        }
        for one, colour in zip(decided, colours, strict=True)
    ]
    http.post(f"/v1/loops/{loop_id}/feedback", json=events).raise_for_status()
    product.wait_for_experiences(http, loop_id, before + count)
    return str(decided[-1]["decision_id"])


def replayed(platform: Platform, loop_id: str, revisions: Mapping[int, ExplorationSettings]) -> dict[int, "Replay"]:
    """Makes every decision of a loop again that a version made; the versions, as far as they have learned then."""
    store = ArtifactStore(platform.home / "artifacts")
    with read_session(open_engine(f"sqlite:///{platform.home / 'rewardloop.db'}")) as session:
        rows = session.scalars(select(DecisionRow).where(DecisionRow.loop_id == loop_id)).all()
        decisions = [wire.decision_from_pb(events_pb2.DecisionMade.FromString(row.payload)) for row in rows]
        by_id = {decision.decision_id: decision for decision in decisions}
        of = ExperienceRow
        joined = session.scalars(select(of).where(of.loop_id == loop_id).order_by(of.sequence)).all()
        experiences = [(by_id[row.decision_id], row.reward) for row in joined]
        versions: dict[int, Replay] = {}
        for decision in sorted(decisions, key=lambda one: one.head_sequence):
            number = decision.model_version
            if number is not None:
                version = versions.get(number) or Replay(session, store, decision, number, experiences)
                versions[number] = version
                version.check(decision, revisions[decision.settings_revision])
        assert {one.settings_revision for one in decisions if one.model_version is not None} == set(revisions)
    return versions


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

    def check(self, decision: Decision, exploration: ExplorationSettings) -> None:
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
        assert (decision.scores.policy_logits is None) == (again.policy_logits is None)
        if again.policy_logits is not None:
            np.testing.assert_allclose(decision.scores.policy_logits, again.policy_logits, atol=1e-6)
        np.testing.assert_allclose(decision.probabilities, _distribution(decision, exploration), atol=1e-9)
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


def _distribution(decision: Decision, exploration: ExplorationSettings) -> Doubles:
    """From what is logged alone: scores, logits where there are any, and what was excluded."""
    scores = decision.scores
    assert scores is not None
    columns = (scores.expected_rewards, scores.variances, scores.outcome_variances, scores.policy_logits)
    tensors = [None if column is None else torch.from_numpy(column.copy())[None] for column in columns]
    allowed = torch.tensor([[action.id not in decision.excluded_action_ids for action in decision.actions]])
    drawn_from = distribution(CandidateScores(*tensors), allowed, exploration, (0.0, 1.0))
    probabilities: Doubles = drawn_from[0].numpy()
    return probabilities


def _drawn(decision: Decision) -> int:
    """From the logged distribution and seed alone."""
    uniform = (decision.seed >> 11) / 2**53
    return next(position for position, total in enumerate(accumulate(decision.probabilities)) if total > uniform)
