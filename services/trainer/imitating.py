"""What an apprentice learns: the action that the product chose is right, the others that it could have chosen are not.

No reward is looked at: of what the baseline does not choose there is none.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from services.trainer.experiences import PreparedExperience
from shared.loop_settings import Loop
from shared.networks.preprocessing import Bag

# Of the actions that were not chosen, so many are shown with one that was: more take time, and tell little more.
OTHERS: Final = 4


def as_learned(loop: Loop, experiences: Sequence[PreparedExperience]) -> list[PreparedExperience]:
    """The experiences that a fine-tune learns from: all as they are, but for what an apprentice imitates.

    An action that was served for certain is the baseline's: it is rewarded with the most that the reward's range holds,
    and followed by some that were not chosen, rewarded with the least.
    """
    if loop.settings.learning_mode != "apprentice":
        return list(experiences)
    return list(chain.from_iterable(_imitated(loop, one) for one in experiences))


def _imitated(loop: Loop, experience: PreparedExperience) -> list[PreparedExperience]:
    if experience.row.probability != 1.0:
        return [experience]
    low, high = loop.settings.reward.range
    chosen = replace(experience, row=replace(experience.row, reward=high))
    others = [(action_id, bag) for action_id, bag in _candidates(experience) if action_id != experience.row.action_id]
    # Every so many, from another one on each time, so that all get their turn.
    first, step = experience.row.sequence % max(1, len(others)), max(1, len(others) // OTHERS)
    turned = (others[first:] + others[:first])[::step][:OTHERS]
    return [
        chosen,
        *(
            replace(experience, row=replace(experience.row, action_id=action_id, reward=low), action=bag)
            for action_id, bag in turned
        ),
    ]


def _candidates(experience: PreparedExperience) -> list[tuple[str, Bag]]:
    """With their bags; where nothing reads those, that of the action taken stands for all."""
    state = experience.state
    if state is None:
        return []
    return list(zip(state.action_ids, state.actions or [experience.action] * len(state.action_ids), strict=True))
