"""The networks learn what neither modality tells alone, from the reward of the chosen action only."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from shared.loop_settings import ActionSettings, LoopSettings, ModalitySettings
from shared.networks.batches import collate
from shared.networks.parts import build_encoder, build_fusion, build_q_network
from shared.networks.preparation import Row
from shared.networks.preprocessing import text_features
from shared.registry.manifest import Architecture

QUESTIONS = (text_features("is it a one?"), text_features("is it anything else?"))
ROWS, TRAINED, STEPS, BATCH = 700, 500, 150, 64


def test_a_picture_and_a_question_are_understood_together() -> None:
    rng = np.random.default_rng(0)
    digits = load_digits(n_class=2)
    pictures = np.kron(digits.images * 16 - 1, np.ones((1, 4, 4))).clip(0, 255).astype(np.uint8)
    digit, question = rng.integers(0, len(pictures), ROWS), rng.integers(0, 2, ROWS)
    rows: list[Row] = [
        {"photo": np.stack([pictures[d]] * 3), "question": QUESTIONS[q]} for d, q in zip(digit, question, strict=True)
    ]
    # An exclusive or: either modality alone is worth one half.
    right = torch.from_numpy(digits.target[digit] ^ question)
    taken = torch.from_numpy(rng.integers(0, 2, ROWS))
    rewards = (taken == right).float()

    modalities = {"photo": ModalitySettings(kind="image"), "question": ModalitySettings(kind="text")}
    settings = LoopSettings(modalities=modalities, actions=[ActionSettings(id="yes"), ActionSettings(id="no")])
    architecture = Architecture.of(settings)
    parts = build_encoder(architecture), build_fusion(architecture), build_q_network(architecture)
    encoder, fusion, q_network = parts

    def estimates(of: list[Row]) -> torch.Tensor:
        mean: torch.Tensor = q_network(fusion(*encoder(collate(of, list(modalities))))).mean
        return mean

    optimizer = torch.optim.Adam([parameter for part in parts for parameter in part.parameters()], lr=2e-3)
    for _ in range(STEPS):
        chosen = rng.integers(0, TRAINED, BATCH)
        mean = estimates([rows[index] for index in chosen])[torch.arange(BATCH), taken[chosen]]
        optimizer.zero_grad()
        (mean - rewards[chosen]).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        found = estimates(rows[TRAINED:]).argmax(1) == right[TRAINED:]
    assert found.double().mean() > 0.9
