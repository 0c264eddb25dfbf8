"""What the client makes of the gateway's answers; the fake's answers are held against the gateway's own models."""

import httpx
import pytest
from pydantic import BaseModel

from services.dashboard import answers, lifecycle_answers
from services.dashboard.calling import (
    GatewayAwayError,
    GatewayError,
    KeyRefusedError,
    NotFoundError,
    RefusedError,
)
from services.dashboard.gateway import GatewayClient
from services.gateway import answers as gateway_answers
from services.gateway import rollout_answers
from services.gateway import statistics as gateway_statistics
from shared.evaluation import evaluation
from shared.loop_settings import ExplorationSettings, RolloutSettings
from shared.registry import manifest
from tests.unit.services.dashboard.fake_gateway import DECIDE_KEY, KEY, LOOP_ID, FakeGateway


def client_of(fake: FakeGateway, key: str = KEY) -> GatewayClient:
    transport = httpx.ASGITransport(fake.app())
    return GatewayClient(httpx.AsyncClient(transport=transport, base_url="http://gateway"), key)


def client_answered(response: httpx.Response) -> GatewayClient:
    transport = httpx.MockTransport(lambda _: response)
    return GatewayClient(httpx.AsyncClient(transport=transport, base_url="http://gateway"), KEY)


@pytest.mark.parametrize(
    ("shown", "answered"),
    [
        (answers.Statistics, gateway_statistics.StatisticsAnswer),
        (answers.RewardEstimate, gateway_statistics.RewardEstimate),
        (answers.VersionReward, gateway_statistics.VersionReward),
        (answers.RewardBucket, gateway_statistics.RewardBucket),
        (answers.Loop, gateway_answers.LoopAnswer),
        (answers.DecisionSummary, gateway_answers.DecisionSummary),
        (answers.Decision, gateway_answers.DecisionDetail),
        (answers.RankedAction, gateway_answers.RankedAction),
        (answers.StoredFeedback, gateway_answers.StoredFeedback),
        (answers.Reported, gateway_statistics.Reported),
        (answers.CorrelationPoint, gateway_statistics.CorrelationPoint),
        (answers.Key, gateway_answers.KeyAnswer),
        (answers.DeadLetter, gateway_answers.DeadLetterAnswer),
        (answers.Exploration, ExplorationSettings),
        (lifecycle_answers.ModelVersion, gateway_answers.ModelVersionAnswer),
        (lifecycle_answers.ModelVersionDetail, gateway_answers.ModelVersionDetail),
        (lifecycle_answers.CurvePoint, manifest.CurvePoint),
        (lifecycle_answers.Part, gateway_answers.PartAnswer),
        (lifecycle_answers.TrainingRun, gateway_answers.TrainingRunAnswer),
        (lifecycle_answers.Evaluation, gateway_answers.EvaluationAnswer),
        (lifecycle_answers.EvaluationResult, evaluation.EvaluationResult),
        (lifecycle_answers.PolicyValue, evaluation.Estimate),
        (lifecycle_answers.Rollout, rollout_answers.RolloutAnswer),
        (lifecycle_answers.RolloutDetail, rollout_answers.RolloutDetail),
        (lifecycle_answers.RolloutEvent, rollout_answers.RolloutEventAnswer),
        (lifecycle_answers.ImportReport, gateway_answers.ImportAnswer),
    ],
)
def test_everything_that_is_shown_is_answered(shown: type[BaseModel], answered: type[BaseModel]) -> None:
    assert shown.model_fields.keys() <= answered.model_fields.keys()


def test_the_fake_answers_as_the_gateway_does() -> None:
    fake = FakeGateway(experiences=700, rollout_status="running")
    gateway_statistics.StatisticsAnswer.model_validate(fake.statistics())
    gateway_answers.EvaluationAnswer.model_validate(fake.evaluation("uniform"))
    gateway_answers.ModelVersionDetail.model_validate(fake.model("2"))
    told = fake.whole_rollout("r")
    settings = RolloutSettings(strategy="progressive").model_dump(mode="json")
    rollout_answers.RolloutDetail.model_validate(told | {"settings": settings})


async def test_overview_holds_each_loop_with_its_statistics() -> None:
    (view,) = await client_of(FakeGateway(experiences=700)).read_overview()
    assert (view.loop.loop_id, view.loop.champion) == (LOOP_ID, "3")
    assert view.statistics.experiences == 700
    assert [bucket.model_version for bucket in view.statistics.reward_curve][:2] == [None, "1"]


async def test_a_loop_deleted_meanwhile_is_left_out_of_the_overview() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/loops":
            return httpx.Response(200, json={"items": [FakeGateway().loop()], "next_cursor": None})
        return httpx.Response(404, json={"title": "There is no such loop"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway")
    assert await GatewayClient(http, KEY).read_overview() == []


async def test_a_loop_is_read_with_its_lists_newest_first() -> None:
    detail = await client_of(FakeGateway(experiences=700)).read_loop(LOOP_ID)
    assert detail.decisions[0].reward is None
    assert detail.decisions[1].reward == 0.0
    assert detail.versions[0].version == "3"
    assert detail.evaluations == []


async def test_a_context_has_media_and_other_values() -> None:
    _, decision = await client_of(FakeGateway(experiences=700)).read_decision(LOOP_ID, "0" * 9 + "123")
    picture = decision.media("digit")
    assert picture is not None
    assert picture.data is not None
    assert picture.content_type == "image/png"
    assert decision.context["question"] == "is it greater than four?"
    assert decision.media("question") is decision.media("visitor") is None


@pytest.mark.parametrize(
    ("response", "error", "text"),
    [
        (httpx.Response(401, json={"title": "The key is not known"}), KeyRefusedError, "does not know this key"),
        (httpx.Response(404, json={"title": "There is no such loop"}), NotFoundError, "There is no such loop."),
        (httpx.Response(422, json={"title": "Wrong", "detail": "So."}), RefusedError, "Wrong. So."),
        (httpx.Response(503, json={"title": "No database"}), GatewayAwayError, "does not answer"),
        (httpx.Response(200, text="<html>not a gateway</html>"), GatewayAwayError, "does not answer"),
        (httpx.Response(418, text="no JSON"), GatewayAwayError, "does not answer"),
    ],
)
async def test_errors_say_what_happened(response: httpx.Response, error: type[GatewayError], text: str) -> None:
    with pytest.raises(error, match=text):
        await client_answered(response).read_loop("any")


async def test_a_gateway_that_cannot_be_reached_is_away() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    http = httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://gateway")
    with pytest.raises(GatewayAwayError):
        await GatewayClient(http, KEY).list_loops()


async def test_a_role_that_may_not_read_is_told_so() -> None:
    with pytest.raises(RefusedError, match="role does not allow"):
        await client_of(FakeGateway(), DECIDE_KEY).list_loops()


async def test_names_in_addresses_are_escaped() -> None:
    asked: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(202, json={})

    http = httpx.AsyncClient(transport=httpx.MockTransport(note), base_url="http://gateway")
    await GatewayClient(http, KEY).fine_tune("../keys?x#y")
    assert asked == ["/v1/loops/..%2Fkeys%3Fx%23y/training-runs"]
