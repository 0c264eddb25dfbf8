"""The calls on empty pages, taken apart as a shell would and held against the gateway's own models."""

import json
import shlex

from services.dashboard import examples
from services.dashboard.answers import Loop
from services.gateway.bodies import DecisionRequest, FeedbackRequest
from shared.loop_settings import LoopSettings
from tests.unit.services.dashboard.fake_gateway import FakeGateway

URL = "http://127.0.0.1:8000"
LOOP = Loop.model_validate(FakeGateway().loop())


def call(command: str) -> tuple[str, str, object]:
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:2] == ["curl", "-X"]
    assert words[4:6] == ["-H", "Authorization: Bearer $REWARDLOOP_KEY"]
    return words[2], words[3], json.loads(words[words.index("--json") + 1])


def test_create_loop() -> None:
    method, url, body = call(examples.create_loop(URL))
    assert (method, url) == ("PUT", f"{URL}/v1/loops/my-loop")
    LoopSettings.model_validate(body)


def test_decide() -> None:
    method, url, body = call(examples.decide(URL, LOOP))
    assert (method, url) == ("POST", f"{URL}/v1/loops/{LOOP.loop_id}/decisions")
    assert list(DecisionRequest.model_validate(body).context) == ["question", "visitor"]


def test_decide_brings_actions_where_the_loop_has_none() -> None:
    _, _, body = call(examples.decide(URL, LOOP.model_copy(update={"actions": []})))
    assert len(DecisionRequest.model_validate(body).actions or []) == 2


def test_give_feedback() -> None:
    method, url, body = call(examples.give_feedback(URL, LOOP, "some-decision"))
    assert (method, url) == ("POST", f"{URL}/v1/loops/{LOOP.loop_id}/feedback")
    assert FeedbackRequest.model_validate(body).metric == "correct"
