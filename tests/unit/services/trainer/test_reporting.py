"""Reports of a loop: made from what is stored, under the version that serves, once for the same experiences."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from services.trainer.experiences import NextState, PreparedExperience, Replay
from services.trainer.reporting import Reporter
from services.trainer.segments import segment_of
from shared.db.engine import read_session, write_session
from shared.db.reports import read_correlations, read_newest_report
from shared.db.tables import LoopRow
from shared.domain import Decision
from shared.loop_settings import Loop
from shared.networks.media_decoder import decode_all
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace


@pytest.fixture
def reporter(workplace: Workplace) -> Reporter:
    bandit.add_loop(workplace.engine, bandit.settings())
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    return Reporter(
        workplace.engine,
        workplace.artifacts,
        Replay(workplace.engine, decode_all, workplace.artifacts.get),
        workplace.clock,
    )


def test_a_report_tells_of_the_newest_under_the_champion(workplace: Workplace, reporter: Reporter) -> None:
    bandit.add_experiences(workplace.engine, 300)
    first = reporter.report(bandit.TENANT, bandit.LOOP_ID)
    assert first is not None
    assert (first.model_version, first.sequence, first.report.experiences) == (1, 300, 300)
    # Version 1 has learned nothing, and its actions were drawn evenly.
    assert first.report.modality_importance.loss is None
    assert abs(first.report.modality_correlation.state.correlation or 1) < 0.2
    assert workplace.do(bandit.add_run(workplace.engine, "fine_tune")).status == "succeeded"
    second = reporter.report(bandit.TENANT, bandit.LOOP_ID)
    assert second is not None
    assert (second.model_version, second.sequence) == (2, 300)
    place = second.report.modality_importance.modalities["place"]
    assert place.share == pytest.approx(1)
    assert (place.loss_rise or 0) > 0
    with read_session(workplace.engine) as session:
        assert read_newest_report(session, bandit.TENANT, bandit.LOOP_ID) == second
        assert len(read_correlations(session, bandit.TENANT, bandit.LOOP_ID, 10)) == 2


def test_without_anything_new_there_is_no_report(workplace: Workplace, reporter: Reporter) -> None:
    assert reporter.report("nobody", bandit.LOOP_ID) is None
    bandit.add_experiences(workplace.engine, 49)
    assert reporter.report(bandit.TENANT, bandit.LOOP_ID) is None
    bandit.add_experiences(workplace.engine, 1)
    assert reporter.report(bandit.TENANT, bandit.LOOP_ID) is not None
    assert reporter.report(bandit.TENANT, bandit.LOOP_ID) is None


def test_a_changed_loop_is_read_as_its_champion_reads_it(workplace: Workplace, reporter: Reporter) -> None:
    bandit.add_experiences(workplace.engine, 60)
    with write_session(workplace.engine) as session:
        row = session.get_one(LoopRow, (bandit.TENANT, bandit.LOOP_ID))
        row.settings = bandit.settings(modalities={"place": {"kind": "text"}}).model_dump(mode="json")
    made = reporter.report(bandit.TENANT, bandit.LOOP_ID)
    assert made is not None
    assert made.report.modality_importance.modalities["place"].missing_rate == 0


def test_a_segment_is_the_value_of_a_field(workplace: Workplace, reporter: Reporter) -> None:
    bandit.add_experiences(workplace.engine, 1)
    (experience,) = reporter.replay.read(bandit.read_loop_of(workplace.engine), 1, lambda: None)
    decisions = reporter.replay.read_decisions(bandit.read_loop_of(workplace.engine), [experience])
    plain = decisions[experience.row.decision_id]

    def of(context: dict[str, object]) -> str | None:
        decision: Decision = replace(plain, context=context)  # type: ignore[arg-type] # any value will do
        return segment_of(decision, "user", "is.new")

    assert of({"user": {"is.new": True}}) == "true"
    assert of({"user": {"is.new": 31.0}}) == "31"
    assert of({"user": {"is.new": "NL"}}) == "NL"
    assert [of({"user": {}}), of({}), of({"user": np.zeros(2)})] == [None] * 3


class EpisodicReplay(Replay):
    """Every experience is followed by its own context again, but for the last, which ends the episode."""

    def read(self, loop: Loop, limit: int, keep_lease: Callable[[], None]) -> list[PreparedExperience]:
        found = super().read(loop, limit, keep_lease)
        going_on = [replace(one, next_state=NextState(one.features, bandit.ACTIONS, [])) for one in found[:-1]]
        return [*going_on, replace(found[-1], end="terminated")]


def test_q_learning_is_reported_of_what_is_known_to_follow(workplace: Workplace) -> None:
    episodic = bandit.settings(problem_type="episodic", learning={"objective": "q_learning", "discount": 0.5})
    bandit.add_loop(workplace.engine, episodic)
    workplace.do(bandit.add_run(workplace.engine, "initialise"))
    bandit.add_experiences(workplace.engine, 60)
    made = []
    for kind in (Replay, EpisodicReplay):
        replay = kind(workplace.engine, decode_all, workplace.artifacts.get)
        reporter = Reporter(workplace.engine, workplace.artifacts, replay, workplace.clock)
        made.append(reporter.report(bandit.TENANT, bandit.LOOP_ID))
    assert made[0] is None
    assert made[1] is not None
    assert made[1].report.experiences == 60
