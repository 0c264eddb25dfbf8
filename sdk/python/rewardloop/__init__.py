"""Client of Rewardloop: decide from everything you know of the moment, and tell what came of it."""

from rewardloop.answers import Decision, RankedAction
from rewardloop.async_client import AsyncRewardloop
from rewardloop.client import Rewardloop
from rewardloop.errors import OutboxFullError, ProblemError, RewardloopError, UnreachableError
from rewardloop.options import Options
from rewardloop.retrying import Retry
from rewardloop.values import Sound

__all__ = [
    "AsyncRewardloop",
    "Decision",
    "Options",
    "OutboxFullError",
    "ProblemError",
    "RankedAction",
    "Retry",
    "Rewardloop",
    "RewardloopError",
    "Sound",
    "UnreachableError",
]
