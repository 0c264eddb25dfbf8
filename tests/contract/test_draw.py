"""Policy and the gateway's fallback draw alike: the same seed and distribution give the same action."""

import numpy as np
import torch

from services.gateway.fallback import draw
from shared.functional.exploration import draw_action


def test_the_gateway_draws_as_policy_does() -> None:
    generator = np.random.default_rng(7)
    for _ in range(2000):
        weights = generator.exponential(size=generator.integers(1, 40)) ** generator.integers(1, 6)
        weights[generator.random(len(weights)) < 0.3] = 0
        weights[generator.integers(len(weights))] += 1e-3
        probabilities = weights / weights.sum()
        seed = int(generator.integers(0, 2**64, dtype=np.uint64))
        uniform = torch.tensor([(seed >> 11) / 2**53], dtype=torch.float64)
        theirs = draw_action(torch.from_numpy(probabilities)[None], uniform)
        assert draw(probabilities.tolist(), seed) == int(theirs)


def test_they_agree_at_the_edges_of_the_unit_interval() -> None:
    for probabilities in ([0.1] * 10, [0.0, 1.0, 0.0], [1.0], [0.5, 0.25, 0.25, 0.0]):
        for seed in (0, 2**11 - 1, 2**63, 2**64 - 1):
            uniform = torch.tensor([(seed >> 11) / 2**53], dtype=torch.float64)
            theirs = draw_action(torch.tensor([probabilities], dtype=torch.float64), uniform)
            assert draw(probabilities, seed) == int(theirs)
