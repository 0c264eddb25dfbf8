from dataclasses import replace

import numpy as np
import pytest

from services.trainer.experiences import PreparedExperience
from services.trainer.gate import TOLERANCE, Verdict, judge, judge_by_agreement
from services.trainer.repository import JoinedRow
from services.trainer.scoring import HeldOutRow, VersionScores
from shared.domain import Action, Doubles
from shared.networks.preprocessing import action_features

ACTIONS = [Action("good"), Action("bad")]
BAGS = [action_features(action) for action in ACTIONS]
GOOD, BAD, EVEN = [0.95, 0.05], [0.05, 0.95], [0.5, 0.5]
TRUE_REWARDS = [0.8, 0.2]


def rows(count: int, logging: list[float] = EVEN, seed: int = 0) -> list[HeldOutRow]:
    """Decisions by a known distribution, rewarded by chance."""
    generator = np.random.default_rng(seed)
    taken = generator.choice(2, size=count, p=logging)
    rewards = generator.random(count) < np.array(TRUE_REWARDS)[taken]
    return [_row(int(action), float(reward), np.array(logging)) for action, reward in zip(taken, rewards, strict=True)]


def _row(taken: int, reward: float, logging: Doubles) -> HeldOutRow:
    joined = JoinedRow(1, 1, "decision", ACTIONS[taken].id, float(logging[taken]), reward)
    return HeldOutRow(PreparedExperience(joined, {}, BAGS[taken]), ACTIONS, BAGS, [], taken, logging, reward)


def version(policy: list[float], expects: list[float], count: int) -> VersionScores:
    return VersionScores(np.tile(expects, (count, 1)), np.tile(policy, (count, 1)))


def held(candidate: list[float], champion: list[float], held_out: list[HeldOutRow], **expects: list[float]) -> Verdict:
    count = len(held_out)
    return judge(
        version(candidate, expects.get("candidate_expects", TRUE_REWARDS), count),
        version(champion, expects.get("champion_expects", TRUE_REWARDS), count),
        held_out,
    )


def test_a_better_policy_passes() -> None:
    verdict = held(GOOD, BAD, rows(1000))
    assert (verdict.finding, verdict.takes_over) == ("passed", True)
    # .9 of the difference between the two actions.
    assert verdict.figures["difference"] == pytest.approx(0.54, abs=0.05)


def test_a_worse_policy_fails_however_well_it_predicts() -> None:
    verdict = held(BAD, GOOD, rows(1000), champion_expects=[0.2, 0.8])
    assert verdict.figures["loss"] < verdict.figures["champion_loss"]
    assert (verdict.finding, verdict.takes_over) == ("failed", False)


def test_a_policy_that_is_worse_by_less_than_the_tolerance_passes() -> None:
    verdict = held([0.93, 0.07], GOOD, rows(1000))
    assert -TOLERANCE < verdict.figures["difference_lower"] < 0
    assert verdict.finding == "passed"


# The loss of the third is larger by 7e-5, less than anyone would notice.
@pytest.mark.parametrize(("expects", "takes_over"), [(TRUE_REWARDS, True), ([0.3, 0.7], False), ([0.799, 0.199], True)])
def test_without_evidence_the_progressive_loss_decides(expects: list[float], takes_over: bool) -> None:
    verdict = held(EVEN, EVEN, rows(40), candidate_expects=expects)
    assert (verdict.finding, verdict.takes_over) == ("insufficient_evidence", takes_over)
    assert verdict.figures["effective_sample_size"] == pytest.approx(40)


def test_a_small_effective_sample_is_no_evidence() -> None:
    verdict = held(GOOD, BAD, rows(1000, logging=[0.02, 0.98]))
    assert verdict.figures["effective_sample_size"] < 100
    assert verdict.finding == "insufficient_evidence"


def test_decisions_that_could_not_have_shown_the_target_are_no_evidence() -> None:
    blind = [replace(row, taken=0, probabilities=np.array([1.0, 0.0])) for row in rows(100)]
    verdict = held(GOOD, BAD, [*rows(900), *blind])
    assert verdict.figures["unsupported"] == pytest.approx(0.1)
    assert verdict.finding == "insufficient_evidence"


def test_overridden_decisions_count_in_the_loss_alone() -> None:
    overridden = [
        replace(row, experience=replace(row.experience, row=replace(row.experience.row, probability=None)))
        for row in rows(100, seed=1)
    ]
    drawn = rows(100)
    verdict = held(GOOD, BAD, [*drawn, *overridden])
    assert verdict.figures["difference"] == held(GOOD, BAD, drawn).figures["difference"]
    assert verdict.figures["held_out"] == 200


def test_with_nothing_drawn_the_loss_decides() -> None:
    row = rows(1)[0]
    overridden = replace(row, experience=replace(row.experience, row=replace(row.experience.row, probability=None)))
    verdict = held(GOOD, BAD, [overridden] * 20)
    assert (verdict.finding, verdict.takes_over) == ("insufficient_evidence", True)
    assert all(np.isfinite(value) for value in verdict.figures.values())


def imitating(count: int, right: int) -> VersionScores:
    """Of decisions that all took the first action, so many it would have made the same."""
    expects = np.tile([0.2, 0.8], (count, 1))
    expects[:right] = [0.8, 0.2]
    return VersionScores(expects, np.tile(EVEN, (count, 1)))


@pytest.mark.parametrize(
    ("count", "ours", "theirs", "finding", "takes_over"),
    [
        (40, 36, 37, "insufficient_evidence", True),
        (40, 33, 36, "failed", False),
        (40, 20, 36, "failed", False),
        (400, 380, 380, "passed", True),
        (400, 340, 380, "failed", False),
    ],
)
def test_an_apprentice_is_judged_by_how_often_it_agrees(
    count: int, ours: int, theirs: int, finding: str, takes_over: bool
) -> None:
    taken = [_row(0, 0.0, np.array(EVEN)) for _ in range(count)]
    verdict = judge_by_agreement(imitating(count, ours), imitating(count, theirs), taken)
    assert verdict.figures["agreement"] == pytest.approx(ours / count)
    assert (verdict.finding, verdict.takes_over) == (finding, takes_over), verdict.detail
