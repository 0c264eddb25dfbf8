"""Gradients of the served estimate, held against finite differences of what the policy scores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from services.policy.attributing import state_gradients
from shared.loop_settings import LoopSettings
from shared.networks.policy import Candidates, Policy
from shared.wire import WireError
from tests.unit.services.policy.test_learning import FEATURED, LISTED, Served, experiences

STEP = 1e-3


def served_policy(folder: Path, settings: LoopSettings) -> Policy:
    """One whose head has learned while it served."""
    served = Served(folder, settings)
    heads = served.heads()
    served.tell(experiences(40, embedding=settings is FEATURED))
    assert heads.step()
    assert served.sequence(heads) == 40
    return served.policy(heads)


def inputs(policy: Policy) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    architecture = policy.architecture
    states = torch.randn(3, architecture.state_width, generator=generator)
    actions = torch.randn(3, architecture.encoded_width, generator=generator)
    return states, actions if architecture.action_features else None


@pytest.mark.parametrize("settings", [LISTED, FEATURED], ids=["by id", "by features"])
def test_gradients_are_those_of_finite_differences(tmp_path: Path, settings: LoopSettings) -> None:
    policy = served_policy(tmp_path, settings)
    states, actions = inputs(policy)
    ids = ["left", "right", "never seen"]

    def loss(at: Tensor) -> Tensor:
        candidates = Candidates.of([[one] for one in ids], [[]] * 3)
        return -policy.score(at, candidates, actions).expected_reward[:, 0]

    found = state_gradients(policy, states.clone(), ids, actions)
    assert found.dtype == torch.float32
    assert found.abs().sum() > 0
    exact = states.double()
    for number in range(0, states.shape[1], 7):
        step = torch.zeros_like(exact)
        step[:, number] = STEP
        slope = (loss(exact + step) - loss(exact - step)) / (2 * STEP)
        np.testing.assert_allclose(found[:, number], slope, atol=1e-5)


def test_shapes_that_are_not_the_versions_are_refused(tmp_path: Path) -> None:
    policy = served_policy(tmp_path, LISTED)
    states, _ = inputs(policy)
    for wrong in (states[:, 1:], states[:2]):
        with pytest.raises(WireError, match="states are"):
            state_gradients(policy, wrong.clone(), ["left"] * 3, None)
    with pytest.raises(WireError, match="action embeddings"):
        state_gradients(policy, states, ["left"] * 3, torch.zeros(3, 4))
