"""What a client, and a decision, may be told besides."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from rewardloop.answers import Decision
from rewardloop.errors import ProblemError
from rewardloop.problems_log import log_problem
from rewardloop.retrying import Retry
from rewardloop.values import Action


@dataclass(frozen=True, slots=True)
class Options:
    """How a client behaves; times in seconds.

    `decide_timeout` is all that a decision may take, repeats included: afterwards the product's own choice stands,
    unless `fallback` is off. Below about 3 s it cuts off a platform that is about to fall back by itself. What is told
    in the background goes out each `flush_interval`; at most `outbox_limit` things wait, and closing tries for
    `close_timeout`. `on_error` is told what the platform refuses of them; else it is logged.
    """

    timeout: float = 10.0
    decide_timeout: float = 5.0
    retry: Retry = field(default_factory=Retry)
    fallback: bool = True
    flush_interval: float = 0.2
    outbox_limit: int = 100_000
    close_timeout: float = 5.0
    on_error: Callable[[ProblemError], None] = log_problem
    clock: Callable[[], float] = time.monotonic


class DecideOptions(TypedDict, total=False):
    """What a decision may say besides its context.

    actions: the candidates, ids or `{"id", "features"}`; left out where the loop lists them.
    excluded: candidates that may not be chosen now.
    baseline: what the product would do by itself; it is chosen where the platform is away.
    subject_id: whom it is decided for. episode_id, previous: the episode, and the decision before this one in it.
    deferred: the reward's window starts when the decision is activated.
    explain: say how much each modality had to do with the choice.
    decision_id: an id of your own, 1 to 128 letters, digits, `.`, `_`, `:` or `-`.
    """

    actions: Sequence[Action]
    excluded: Sequence[str]
    baseline: str | None
    subject_id: str | None
    episode_id: str | None
    previous: Decision | str | None
    deferred: bool
    explain: bool
    decision_id: str
