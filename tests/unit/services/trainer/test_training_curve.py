import math

import pytest

from services.trainer.training_curve import TrainingCurve


def test_every_step_is_a_point_while_they_are_few() -> None:
    curve = TrainingCurve(learning_rate=0.01)
    curve.note(0, 4, None)
    for step in range(1, 5):
        curve.note(step, 4, 1 / step)
    points = curve.points()
    assert [(one.step, one.loss) for one in points] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    # Half a cosine from the full rate down, by its definition: a step is made before the schedule moves on.
    assert [one.learning_rate for one in points] == pytest.approx(
        [0.005 * (1 + math.cos(math.pi * done / 4)) for done in range(4)]
    )


def test_many_steps_are_told_by_a_hundred_means() -> None:
    curve = TrainingCurve(learning_rate=0.01)
    for step in range(1, 601):
        curve.note(step, 600, float(step % 2))
    points = curve.points()
    assert len(points) == 100
    assert {one.loss for one in points} == {0.5}
    assert points[-1].step == 600


def test_without_a_step_there_is_no_point() -> None:
    assert TrainingCurve(learning_rate=0.01).points() == []
