"""Lines of a Personalizer log: what becomes of them, and what is told of those that are left out."""

from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from services.gateway.dsjson import row_of_event
from shared.events import DECISIONS
from shared.loop_settings import LoopSettings
from tests.unit.services.gateway.fakes import Gateway
from tests.unit.services.gateway.test_importing import HEADERS, URL, imported, ndjson


def event(event_id: str = "e-1", **more: object) -> dict[str, Any]:
    """As VW's wiki has them: the second of three candidates was shown, and clicked."""
    of: dict[str, Any] = {
        "_label_cost": -1.0,
        "_label_probability": 0.8,
        "_label_Action": 2,
        "_labelIndex": 1,
        "Timestamp": "2021-02-04T16:31:29.2460000Z",
        "Version": "1",
        "EventId": event_id,
        "a": [2, 1, 3],
        "p": [0.8, 0.15, 0.05],
        "c": {
            "FromUrl": [{"weather": "Sunny", "_hidden": 1, "scores": [0.5, 2]}],
            "Title": "Red shoe",
            "_multi": [
                {"_tag": "a", "i": {"constant": 1, "id": "a"}, "j": [{"hot": True, "Tags": {"Jazz": 0.2}}]},
                {"_tag": "b", "j": [{"hot": False}, {"_title": "hidden"}], "Maker": {"name": "Ada"}},
                {"i": {"id": "c"}},
            ],
        },
    }
    return of | more


async def send(http: httpx.AsyncClient, *rows: object) -> dict[str, Any]:
    answer = await http.post(URL, params={"format": "dsjson"}, content=ndjson(rows), headers=HEADERS)
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


async def test_a_line_is_a_decision_with_its_whole_distribution(gateway: Gateway, http: httpx.AsyncClient) -> None:
    assert (await send(http, event()))["accepted"] == 1
    (one,) = imported(gateway)
    decision = one.decision
    assert (decision.decision_id, decision.action_id, one.reward) == ("e-1", "b", 1.0)
    assert decision.decided_at == 1_612_456_289_246_000
    assert decision.probabilities == pytest.approx(np.array([0.15, 0.8, 0.05]))
    assert decision.probability == 0.8
    assert decision.context == {
        "title": "Red shoe",
        "user": {"weather": "Sunny", "scores.0": 0.5, "scores.1": 2.0},
    }
    features = {action.id: action.features for action in decision.actions}
    assert features == {"a": {"hot": True, "Tags.Jazz": 0.2}, "b": {"hot": False, "Maker.name": "Ada"}, "c": None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"RewardValue": 1.0, "EventId": "e"}, "c: A field is not valid. A dangling observation"),
        ({"ActionTaken": True}, "EventId: "),
        (event("bad", _skipLearn=True), "_skipLearn: A field is not valid. Never shown"),
        (event("bad", _label_cost=None), "_label_cost: "),
        (event("bad", _labelIndex=3), "_labelIndex: A field is not valid. It is the place of one of the 3"),
        (event("bad", a=[1, 2, 2]), "a: A field is not valid. It ranks each"),
        (event("bad", p=[0.5, 0.5]), "p: A field is not valid. It has a probability of each"),
        (event("bad", p=[0.0, 0.5, 0.5]), "probabilities: A field is not valid. That of 'b' is 0"),
        (event("bad", p=[0.8, 0.8, 0.05]), "probabilities: A field is not valid. They sum to 1.65"),
        (event("bad", p=[1.8, 0.1, 0.1]), "probabilities.b: A field is not valid."),
        (event("bad", c={"_multi": []}), "c._multi: "),
        (event("no id!"), "decision_id: A field is not valid."),
        (event("bad", c={"_multi": [{"_tag": "a"}, {"_tag": "a"}, {}]}), "actions.1.id: Two actions have the same id."),
    ],
)
async def test_what_is_left_out_is_told_and_the_rest_taken(
    gateway: Gateway, http: httpx.AsyncClient, line: object, reason: str
) -> None:
    report = await send(http, event("e-1"), line, event("e-2"))
    assert (report["accepted"], report["skipped_total"]) == (2, 1)
    (skipped,) = report["skipped"]
    assert skipped["line"] == 2
    assert skipped["reason"].startswith(reason), skipped["reason"]
    assert [one.decision_id for one in imported(gateway)] == ["e-1", "e-2"]


async def test_the_same_line_twice_is_one_and_has_one_identity(gateway: Gateway, http: httpx.AsyncClient) -> None:
    report = await send(http, event(), event())
    assert (report["accepted"], report["duplicates"]) == (1, 1)
    await send(http, event())
    first, again = imported(gateway)
    assert first.decision.request_sha256 == again.decision.request_sha256


async def test_what_broke_off_half_way_is_repeated_whole(gateway: Gateway, http: httpx.AsyncClient) -> None:
    gateway.log.broken = True
    answer = await http.post(URL, params={"format": "dsjson"}, content=ndjson([event()]), headers=HEADERS)
    assert answer.status_code == 503
    assert gateway.log.events(DECISIONS) == []
    gateway.log.broken = False
    assert (await send(http, event()))["accepted"] == 1


async def test_an_unknown_format_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(URL, params={"format": "csv"}, content=b"", headers=HEADERS)
    assert (answer.status_code, answer.json()["field"]) == (422, "format")


@pytest.mark.parametrize(
    ("modalities", "context"),
    [
        ({"context": "tabular", "user": "tabular"}, {"context": {"weather": "Sunny", "Geo.city": "Rome"}}),
        ({"geo": "tabular", "fromurl": "tabular"}, {"geo": {"city": "Rome"}, "fromurl": {"weather": "Sunny"}}),
        ({"geo": "text"}, {"geo": "Rome"}),
        ({"one": "tabular", "two": "tabular"}, {}),
    ],
)
def test_namespaces_find_their_modalities(modalities: dict[str, str], context: dict[str, object]) -> None:
    of = {name: {"kind": kind} for name, kind in modalities.items()}
    settings = LoopSettings.model_validate({"modalities": of})
    line = orjson.loads(orjson.dumps(event()))
    line["c"] |= {"FromUrl": [{"weather": "Sunny"}], "Geo": {"city": "Rome", "_cf": "5"}}
    del line["c"]["Title"]
    assert row_of_event(settings, line)["context"] == context


async def test_rows_of_our_own_may_tell_the_whole_distribution(gateway: Gateway, http: httpx.AsyncClient) -> None:
    row = {"decision_id": "d", "action_id": "b", "reward": 1, "probabilities": {"a": 0.5, "b": 0.25, "c": 0.25}}
    lacking = row | {"decision_id": "l", "probabilities": {"a": 0.5, "b": 0.5}}
    twice = row | {"decision_id": "t", "probability": 0.25}
    answer = await http.post(URL, content=ndjson([row, lacking, twice]), headers=HEADERS)
    report = answer.raise_for_status().json()
    assert [one["line"] for one in report["skipped"]] == [2, 3]
    (one,) = imported(gateway)
    assert one.decision.probabilities.tolist() == [0.5, 0.25, 0.25]
    assert one.decision.probability == 0.25
