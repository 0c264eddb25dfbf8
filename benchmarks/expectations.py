"""Progressive validation: what each decision's version expected of the action that was taken, and what it earned.

Both are read from the platform's own rows after a stream: expectations were logged before anything of the decision
could be learned.
"""

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sqlalchemy import select

from shared import wire
from shared.db.decisions import OF_ITS_DECISION
from shared.db.engine import open_engine, read_session
from shared.db.tables import DecisionRow, ExperienceRow, LoopRow
from shared.pb.events.v1 import events_pb2
from shared.settings import PlatformSettings

BINS: Final = 10
LEAST: Final = 20
# Versions whose lines a legend can name.
TOLD_APART: Final = 10

# [N, 3]: version, expected and joined reward.
Told = NDArray[np.float64]


def read_newest_loop(home: Path) -> Told:
    """Of the loop that was made last, in order of its experiences; decisions without a version are left out."""
    of, engine = ExperienceRow, open_engine(PlatformSettings(home=home).database)
    with read_session(engine) as session:
        loop_id = session.scalars(select(LoopRow.loop_id).order_by(LoopRow.created_at.desc()).limit(1)).one()
        query = (
            select(of.action_id, of.reward, DecisionRow.payload)
            .join(DecisionRow, OF_ITS_DECISION)
            .where(of.loop_id == loop_id, of.model_version.is_not(None))
            .order_by(of.sequence)
        )
        rows = [_told(*row) for row in session.execute(query)]
    engine.dispose()
    return np.array(rows).reshape(-1, 3)


def by_version(told: Told) -> dict[int, dict[str, float]]:
    """Decisions, mean squared error, and mean expected and joined reward of each version."""
    found = {}
    for version in np.unique(told[:, 0]):
        _, expected, reward = told[told[:, 0] == version].T
        found[int(version)] = {
            "decisions": len(reward),
            "squared_error": round(float(np.mean((expected - reward) ** 2)), 4),
            "expected": round(float(expected.mean()), 3),
            "reward": round(float(reward.mean()), 3),
        }
    return found


def plot_calibration(axes: Axes, told: Told) -> None:
    """Mean reward against expected reward, a line a version; on the diagonal what was expected came."""
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for version in np.unique(told[:, 0]):
        _, expected, reward = told[told[:, 0] == version].T
        bins = np.clip((expected * BINS).astype(int), 0, BINS - 1)
        kept = [one for one in range(BINS) if (bins == one).sum() >= LEAST]
        means = [(expected[bins == one].mean(), reward[bins == one].mean()) for one in kept]
        axes.plot(*np.array(means).reshape(-1, 2).T, marker="o", markersize=3, label=f"version {int(version)}")
    axes.set(xlabel="expected reward", ylabel="reward", xlim=(0, 1), ylim=(0, 1))
    if len(np.unique(told[:, 0])) <= TOLD_APART:
        axes.legend(loc="upper left", fontsize="x-small")


def _told(action_id: str, reward: float, payload: bytes) -> tuple[float, float, float]:
    logged = events_pb2.DecisionMade.FromString(payload)
    expected = wire.expected_reward(logged, action_id)
    assert expected is not None
    return logged.model_version, expected, reward
