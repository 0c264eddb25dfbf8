"""Is a count spread over the arms as it should be? Tests that hold at every look.

Source: Lindon and Malek (2022), "Anytime-valid inference for multinomial count data", for two arms whose shares may
change from one draw to the next: the likelihood ratio of a Beta mixture of tilted shares to the known ones is a
martingale where the shares are right, so that it exceeds 1/α with probability α at most (Ville). The mixture stands on
a grid of odds ratios.
"""

import math
from typing import Final

# Odds by which the version's arm may be over- or underrepresented.
TILTS: Final = tuple(math.exp(0.25 * step) for step in range(-16, 17) if step)
# What a probability may be off by.
ROUNDING: Final = 1e-9


class ShareTest:
    """Counts that fall on the version's arm or on the champion's, by known shares where nothing is wrong.

    One that is `one_sided` looks for too many on the version's arm alone.
    """

    def __init__(self, *, one_sided: bool = False) -> None:
        self.count = 0
        self.expected = 0.0
        self.total = 0
        self._tilts = [tilt for tilt in TILTS if tilt > 1 or not one_sided]
        self._logs = [0.0] * len(self._tilts)

    def add(self, in_version: bool, share: float) -> None:
        """One more; `share` is the version's when the arm was drawn, above 0 and below 1."""
        self.total += 1
        self.count += in_version
        self.expected += share
        for place, tilt in enumerate(self._tilts):
            tilted = share * tilt
            self._logs[place] += math.log((tilt if in_version else 1.0) / (tilted + 1 - share))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the e-value: above log(1/α) the shares are refuted at α."""
        most = max(self._logs)
        return most + math.log(sum(math.exp(one - most) for one in self._logs) / len(self._logs))

    def refuted(self, alpha: float) -> bool:
        return self.log_evidence >= math.log(1 / alpha)


class DrawTest:
    """Were actions drawn by the probabilities that were logged? Looks at the likeliest action of each distribution.

    Its draw is a Bernoulli of known probability: tilted odds make a martingale as above.
    """

    def __init__(self) -> None:
        self._test = ShareTest()

    def add(self, drew_likeliest: bool, probability: float) -> None:
        """One draw; a distribution that leaves nothing to chance tells nothing, unless it was not followed."""
        self._test.add(drew_likeliest, min(max(probability, ROUNDING), 1 - ROUNDING))

    def refuted(self, alpha: float) -> bool:
        return self._test.refuted(alpha)
