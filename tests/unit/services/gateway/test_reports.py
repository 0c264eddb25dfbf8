"""What statistics tell of the trainer's reports, and the settings that they follow."""

import httpx
import pytest

from shared.db.engine import write_session
from shared.db.reports import StoredReport, add_report
from shared.loop_report import (
    CorrelationFigures,
    Estimate,
    Fairness,
    LoopReport,
    ModalityCorrelation,
    ModalityFigures,
    ModalityImportance,
    SegmentFigures,
)
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import START, Gateway

URL = "/v1/loops/shoes"
SEGMENTS = {"fairness": {"segments": ["user.country", "user.is.new"]}}


def report(correlation: float) -> LoopReport:
    figures = CorrelationFigures(correlation=correlation, permuted=0.01, by_action={"a": correlation, "b": None})
    even = Estimate(value=0.5, interval=(0.4, 0.6))
    fairness = Fairness(
        segments={"NL": SegmentFigures(decisions=40, selection_rates={"a": even}, reward=even)},
        left_out=20,
        demographic_parity_difference=None,
        reward_difference=None,
    )
    title = ModalityFigures(share=1.0, loss_rise=0.2, missing_rate=0.1)
    return LoopReport(
        experiences=60,
        modality_importance=ModalityImportance(loss=0.1, modalities={"title": title}),
        modality_correlation=ModalityCorrelation(state=figures, modalities={"title": figures}),
        fairness=dict.fromkeys(SEGMENTS["fairness"]["segments"], fairness),
    )


@pytest.fixture
async def reported(gateway: Gateway, http: httpx.AsyncClient) -> None:
    (await http.put(URL, json=LOOP | SEGMENTS)).raise_for_status()
    for number in (1, 2):
        with write_session(gateway.ports.engine) as session:
            add_report(
                session, StoredReport("default", "shoes", number, 60 * number, START + number, report(number / 4))
            )


async def test_before_the_first_report_there_is_nothing_to_tell(http: httpx.AsyncClient) -> None:
    told = (await http.get(f"{URL}/statistics")).raise_for_status().json()
    assert (told["reported"], told["modality_importance"], told["modality_correlation"]) == (None, None, None)
    assert (told["modality_correlation_history"], told["fairness"]) == ([], {})


@pytest.mark.usefixtures("reported")
async def test_the_newest_report_is_told_and_the_correlation_over_time(http: httpx.AsyncClient) -> None:
    told = (await http.get(f"{URL}/statistics")).raise_for_status().json()
    reported = told["reported"]
    assert (reported["model_version"], reported["sequence"], reported["experiences"]) == ("2", 120, 60)
    assert told["modality_importance"]["modalities"]["title"] == {"share": 1.0, "loss_rise": 0.2, "missing_rate": 0.1}
    assert told["modality_correlation"]["state"]["by_action"] == {"a": 0.5, "b": None}
    history = told["modality_correlation_history"]
    assert [(one["sequence"], one["correlation"]) for one in history] == [(60, 0.25), (120, 0.5)]
    assert set(told["fairness"]) == {"user.country", "user.is.new"}


@pytest.mark.usefixtures("reported")
async def test_fairness_is_told_by_one_segment_field(http: httpx.AsyncClient) -> None:
    told = (await http.get(f"{URL}/statistics", params={"segment": "user.country"})).raise_for_status().json()
    assert set(told["fairness"]) == {"user.country"}
    assert told["fairness"]["user.country"]["segments"]["NL"]["decisions"] == 40
    problem = await http.get(f"{URL}/statistics", params={"segment": "user.age"})
    assert (problem.status_code, problem.json()["field"]) == (422, "segment")
    assert problem.json()["type"].endswith("unknown-segment")


@pytest.mark.parametrize("segment", ["nobody.country", "title.length", "user", "user."])
async def test_a_segment_is_a_field_of_a_table_of_the_loop(http: httpx.AsyncClient, segment: str) -> None:
    body = LOOP | {"fairness": {"segments": ["user.country", segment]}}
    problem = await http.put(URL, json=body)
    assert (problem.status_code, problem.json()["field"]) == (422, "fairness.segments.1")
    assert (await http.get(URL)).json()["fairness"] == {"segments": [], "min_decisions": 30}
