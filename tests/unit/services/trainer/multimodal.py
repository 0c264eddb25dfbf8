"""Experiences of three kinds of modality, each of which some rows lack; what is right shows in the embedding alone."""

import numpy as np

from services.trainer.experiences import NextState, PreparedExperience
from services.trainer.repository import JoinedRow
from shared.domain import Action, End
from shared.loop_settings import LoopSettings
from shared.networks.preparation import Row
from shared.networks.preprocessing import action_features, embedding_features, text_features

ACTIONS = ("left", "middle", "right")
DIMENSION = 6
MISSING = 0.2
WORDS = ("red", "green", "blue", "old", "new")


def settings(**changes: object) -> LoopSettings:
    modalities = {
        "photo": {"kind": "image"},
        "title": {"kind": "text"},
        "place": {"kind": "embedding", "dimension": DIMENSION},
    }
    body = {"modalities": modalities, "actions": [{"id": action} for action in ACTIONS]}
    return LoopSettings.model_validate(body | changes)


def experiences(count: int) -> list[PreparedExperience]:
    """A reward of 1 if the action is that of the embedding's largest number; every third goes on to the one before."""
    generator = np.random.default_rng(0)
    made: list[PreparedExperience] = []
    for sequence in range(count):
        place = generator.normal(size=DIMENSION).astype(np.float32)
        row: Row = {
            "photo": generator.integers(0, 256, (3, 32, 32), np.uint8),
            "title": text_features(" ".join(generator.choice(WORDS, 2))),
            "place": embedding_features(place, DIMENSION),
        }
        kept = {name: value for name, value in row.items() if name == "place" or generator.random() > MISSING}
        action = ACTIONS[int(generator.integers(len(ACTIONS)))]
        reward = float(action == ACTIONS[int(place[: len(ACTIONS)].argmax())])
        joined = JoinedRow(sequence, sequence, str(sequence), action, None if sequence % 5 == 4 else 0.5, reward)
        next_state, end = _following(made[-1] if made else None, sequence)
        made.append(PreparedExperience(joined, kept, action_features(Action(action)), next_state, end))
    return made


def _following(last: PreparedExperience | None, sequence: int) -> tuple[NextState | None, End | None]:
    if last is None or sequence % 3:
        return None, "terminated" if sequence % 3 == 1 else None
    allowed = ACTIONS[: 1 + sequence % 2]
    return NextState(last.features, allowed, [action_features(Action(action)) for action in allowed]), None
