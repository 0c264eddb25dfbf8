"""What each candidate can be expected to earn, learned from the log itself: for `dm`, `dr` and `switch_dr`.

A row's estimate rests on rows before it alone, so that its own reward has no part in it, and so that a log of a policy
that learned meanwhile gives no bias.

Shapes: N rows in the order of their decisions, A candidates of the longest.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np

from shared.domain import Doubles

# So many rows like the mean of all before them are what is believed of an action at first.
PRIOR_ROWS: Final = 10.0


def progressive_means(
    keys: Sequence[Hashable],
    actions: Sequence[Sequence[str]],
    taken: Sequence[int],
    rewards_N: Doubles,
    first: float,
) -> Doubles:
    """[N, A]: the mean reward of each candidate in rows before, of the same key, drawn to the mean of all.

    Args:
        keys: what tells contexts apart; one key for all: contexts do not count.
        actions: each row's candidates by id.
        taken: the position of what was chosen among them.
        first: what is expected where nothing came before.
    """
    estimates_NA = np.zeros((len(keys), max(map(len, actions), default=0)))
    sums: defaultdict[tuple[Hashable, str], float] = defaultdict(float)
    counts: defaultdict[tuple[Hashable, str], int] = defaultdict(int)
    total, count = first, 1
    for row, (key, ids) in enumerate(zip(keys, actions, strict=True)):
        believed = PRIOR_ROWS * total / count
        estimates_NA[row, : len(ids)] = [(sums[key, one] + believed) / (counts[key, one] + PRIOR_ROWS) for one in ids]
        chosen = key, ids[taken[row]]
        sums[chosen] += rewards_N[row]
        counts[chosen] += 1
        total, count = total + rewards_N[row], count + 1
    return estimates_NA
