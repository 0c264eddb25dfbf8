"""Does something befall the version's decisions more often than the champion's?

Second by second, since what befalls one decision often befalls all that go with it: they share a call, or a moment in
which a machine stalls.
"""

from collections import defaultdict
from typing import Final

from shared.evaluation.arm_counts import ShareTest

EVEN: Final = 0.5


class PairedSeconds:
    """Of each second as many decisions of either arm are looked at, and which arm something befell.

    Where it befell exactly one of them, that is the version's with probability ½ at most if it is no worse, whether
    decisions are befallen one by one or all of a call together.
    """

    def __init__(self) -> None:
        self.count = 0
        self.champion_count = 0
        self._test = ShareTest(one_sided=True)
        self._open: defaultdict[int, tuple[list[bool], list[bool]]] = defaultdict(lambda: ([], []))
        self._closed = 0

    def add(self, second: int, in_version: bool, befallen: bool) -> None:
        """One decision; one that comes after its second was closed is counted, and not judged by."""
        self.count += befallen and in_version
        self.champion_count += befallen and not in_version
        if second >= self._closed:
            self._open[second][in_version].append(befallen)

    def close(self, before: int) -> None:
        """Judges by all seconds before that one."""
        self._closed = max(self._closed, before)
        for second in sorted(one for one in self._open if one < before):
            champion, version = self._open.pop(second)
            pairs = min(len(champion), len(version))
            of_version, of_champion = any(version[:pairs]), any(champion[:pairs])
            if of_version != of_champion:
                self._test.add(of_version, EVEN)

    def refuted(self, alpha: float) -> bool:
        """Whether it befalls the version more often."""
        return self._test.refuted(alpha)
