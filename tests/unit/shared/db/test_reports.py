"""Reports are kept, replaced, dropped and due as their module says."""

from sqlalchemy import Engine

from shared.db.engine import read_session, write_session
from shared.db.reports import KEPT, StoredReport, add_report, loops_to_report, read_correlations, read_newest_report
from shared.db.tables import LoopRow
from shared.loop_report import CorrelationFigures, LoopReport, ModalityCorrelation, ModalityFigures, ModalityImportance


def report(correlation: float | None = 0.5) -> LoopReport:
    figures = CorrelationFigures(correlation=correlation, permuted=None, by_action={"a": correlation})
    title = ModalityFigures(share=1.0, loss_rise=0.25, missing_rate=0.0)
    return LoopReport(
        experiences=60,
        modality_importance=ModalityImportance(loss=0.1, modalities={"title": title}),
        modality_correlation=ModalityCorrelation(state=figures, modalities={"title": figures}),
        fairness={},
    )


def stored(sequence: int, version: int = 1, correlation: float | None = 0.5, loop_id: str = "news") -> StoredReport:
    return StoredReport("acme", loop_id, version, sequence, 1000 + sequence, report(correlation))


def add(engine: Engine, *these: StoredReport, kept: int = KEPT) -> None:
    for one in these:
        with write_session(engine) as session:
            add_report(session, one, kept)


def test_the_newest_is_read_and_the_correlation_over_time(engine: Engine) -> None:
    add(engine, stored(60), stored(110, 2, None), stored(90, loop_id="other"))
    with read_session(engine) as session:
        assert read_newest_report(session, "acme", "news") == stored(110, 2, None)
        assert read_newest_report(session, "acme", "nothing") is None
        points = read_correlations(session, "acme", "news", 10)
    assert [(one.sequence, one.model_version, one.correlation) for one in points] == [(60, 1, 0.5), (110, 2, None)]


def test_a_report_made_twice_is_one(engine: Engine) -> None:
    add(engine, stored(60), stored(60, correlation=0.7))
    with read_session(engine) as session:
        assert [one.correlation for one in read_correlations(session, "acme", "news", 10)] == [0.7]


def test_the_oldest_are_dropped(engine: Engine) -> None:
    add(engine, *(stored(sequence) for sequence in range(60, 65)), stored(1, loop_id="other"), kept=3)
    with read_session(engine) as session:
        assert [one.sequence for one in read_correlations(session, "acme", "news", 10)] == [62, 63, 64]
        assert read_newest_report(session, "acme", "other") is not None


def test_loops_with_enough_that_is_new_are_due(engine: Engine) -> None:
    with write_session(engine) as session:
        for loop_id, last in (("few", 49), ("never", 50), ("lately", 109), ("again", 110)):
            row = LoopRow(tenant="acme", loop_id=loop_id, settings={}, settings_revision=1, created_at=0)
            row.last_sequence = last
            session.add(row)
    add(engine, *(stored(60, loop_id=loop_id) for loop_id in ("lately", "again")), stored(10, loop_id="again"))
    with read_session(engine) as session:
        assert loops_to_report(session, 50) == [("acme", "again"), ("acme", "never")]
