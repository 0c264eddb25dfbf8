"""Whose decision it is: the holdout's, the champion's, or that of the version that is rolled out.

By a keyed hash of the subject, else of the episode, so that both keep their arm; else of the decision. A share that
grows takes subjects from the champion, and none from the version.
"""

from dataclasses import dataclass
from typing import Final

from services.gateway.serving import Serving
from shared.loop_settings import Loop
from shared.rollouts import HOLDOUT, Assignment
from shared.security import draw_seed

PERCENT: Final = 100
# A seed's highest 53 bits, as a number from 0 to below 1.
SEED_SHIFT: Final = 11
UNIT: Final = 2.0**-53


@dataclass(frozen=True, slots=True)
class Arms:
    """Assigns decisions; `secret` is the one that keys draws, so that all gateways assign alike."""

    serving: Serving
    secret: bytes

    def assign(self, loop: Loop, unit: str) -> Assignment:
        """The arm of a subject, an episode or a decision; nothing is assigned where all are the champion's."""
        holdout = loop.settings.holdout.share
        if holdout > 0 and self._place(loop, HOLDOUT, unit) < holdout:
            return Assignment(HOLDOUT, holdout)
        # A frozen loop's champion serves all, or none.
        rollout = None if loop.frozen_to is not None else self.serving.rollout(loop)
        champion = None if rollout is None or rollout.percent == 0 else self.serving.champion(loop)
        if rollout is None or champion is None or champion.version == rollout.version:
            return Assignment("champion", 1 - holdout) if holdout > 0 else Assignment()
        share = rollout.percent / PERCENT
        place = (rollout.rollout_id, rollout.step)
        if self._place(loop, rollout.rollout_id, unit) < share:
            return Assignment("canary", share, rollout.version, *place)
        return Assignment("champion", 1 - share, champion.version, *place)

    def _place(self, loop: Loop, salt: str, unit: str) -> float:
        return (draw_seed(self.secret, loop.tenant, f"{loop.loop_id}/{salt}", unit) >> SEED_SHIFT) * UNIT
