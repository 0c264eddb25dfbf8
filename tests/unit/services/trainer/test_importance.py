"""What the estimate rests on, held against captum and against contexts that really lack a modality."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.experiences import PreparedExperience
from services.trainer.importance import importance_of, measure
from services.trainer.networks import Networks
from services.trainer.repository import JoinedRow
from shared.domain import Action
from shared.loop_settings import LoopSettings
from shared.networks.batches import collate_bags
from shared.networks.preparation import Row
from shared.networks.preprocessing import action_features, embedding_features
from shared.registry.manifest import Architecture

N, DIMENSION = 300, 4
MODALITIES = ["left", "right", "rare"]


def networks(*, features: bool = False, trained: bool = True) -> Networks:
    modalities = {name: {"kind": "embedding", "dimension": DIMENSION} for name in MODALITIES}
    actions = [] if features else [{"id": "a"}, {"id": "b"}]
    settings = LoopSettings.model_validate({"modalities": modalities, "actions": actions})
    seeded = Networks.seeded(Architecture.of(settings), 3)
    seeded.q_network.trained.fill_(trained)
    return seeded.frozen()


def examples(*, features: bool = False) -> Examples:
    """Every third row has all modalities, the others all but the last."""
    generator = np.random.default_rng(0)
    bags = [action_features(Action("a")), action_features(Action("b"))]
    experiences = []
    for index in range(N):
        names = MODALITIES if index % 3 == 0 else MODALITIES[:2]
        row: Row = {name: embedding_features(generator.normal(size=4).astype(np.float32), 4) for name in names}
        experiences.append(PreparedExperience(JoinedRow(index, index, str(index), "a", 0.5, 0.0), row, bags[index % 2]))
    slots = torch.zeros(N, dtype=torch.int64) if features else torch.arange(N) % 2
    return Examples(experiences, slots, torch.rand(N, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("features", [False, True], ids=["by id", "by features"])
def test_shares_are_those_of_captum(features: bool) -> None:
    learned, of = networks(features=features), examples(features=features)
    measured = measure(learned, of)
    actions = torch.zeros(N, 0)
    if features:
        actions = learned.encoder.encode_actions(collate_bags([one.action for one in of.experiences]))

    def loss(embeddings: Tensor) -> Tensor:
        inputs = torch.cat([learned.fusion(embeddings, measured.present), actions], 1)
        mean = learned.q_network(inputs).mean.gather(1, of.slots[:, None])[:, 0]
        squared: Tensor = (mean - of.rewards) ** 2
        return squared

    torch.testing.assert_close(measured.loss, loss(measured.embeddings), atol=1e-5, rtol=1e-5)
    norms = InputXGradient(loss).attribute(measured.embeddings.clone().requires_grad_()).norm(dim=-1).double()
    torch.testing.assert_close(measured.shares, norms / norms.sum(1, keepdim=True), atol=1e-4, rtol=1e-3)


def test_masking_a_modality_is_as_if_it_had_not_come() -> None:
    learned, of = networks(), examples()
    masked_loss = measure(learned, of).masked_loss
    for m, name in enumerate(MODALITIES):
        rows = [replace(one, features={k: v for k, v in one.features.items() if k != name}) for one in of.experiences]
        without = measure(learned, replace(of, experiences=rows)).loss
        torch.testing.assert_close(masked_loss[:, m], without, atol=1e-5, rtol=1e-5)


def test_figures_are_means_over_the_experiences() -> None:
    measured = measure(networks(), examples())
    told = importance_of(measured, MODALITIES)
    assert told.loss == pytest.approx(float(measured.loss.mean()))
    assert sum(one.share or 0 for one in told.modalities.values()) == pytest.approx(1)
    assert [one.missing_rate for one in told.modalities.values()] == pytest.approx([0, 0, 2 / 3])
    rise = float((measured.masked_loss[:, 0] - measured.loss).mean())
    assert told.modalities["left"].loss_rise == pytest.approx(rise, abs=1e-6)


def test_a_version_that_has_learned_nothing_looks_at_nothing() -> None:
    told = importance_of(measure(networks(trained=False), examples()), MODALITIES)
    assert told.loss is None
    assert {(one.share, one.loss_rise) for one in told.modalities.values()} == {(None, None)}
    assert told.modalities["rare"].missing_rate == pytest.approx(2 / 3)
