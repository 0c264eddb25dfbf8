"""Rows of an import, and ends of episodes: what is logged of them, and what is told of what is not."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import orjson
import pytest

from services.gateway import importing
from services.gateway.importing import CHUNK_LINES, lines_of
from shared.domain import EpisodeEnd, ImportedExperience
from shared.events import DECISIONS, FEEDBACK
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import START, Gateway

URL = "/v1/loops/shoes/experiences:import"
HEADERS = {"Content-Type": "application/x-ndjson"}
TIME = "2025-11-23T12:13:20Z"


def row(decision_id: str, **more: object) -> dict[str, object]:
    of = {"decision_id": decision_id, "time": TIME, "context": {"title": "Red"}, "action_id": "b", "probability": 0.5}
    return of | ({} if "feedback" in more else {"reward": 1.0}) | more


def ndjson(rows: Iterable[object]) -> bytes:
    return b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in rows)


async def send(http: httpx.AsyncClient, *rows: object) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.post(URL, content=ndjson(rows), headers=HEADERS)).raise_for_status().json()
    return answer


def imported(gateway: Gateway) -> list[ImportedExperience]:
    return [event for event in gateway.log.events(DECISIONS) if isinstance(event, ImportedExperience)]


async def test_a_row_is_one_event(gateway: Gateway, http: httpx.AsyncClient) -> None:
    more = {"episode_id": "e-1", "previous_decision_id": "d-0", "end": "terminated"}
    assert await send(http, row("d-1", **more)) == {
        "accepted": 1,
        "duplicates": 0,
        "skipped": [],
        "skipped_total": 0,
    }
    (event,) = imported(gateway)
    decision = event.decision
    assert (decision.decided_at, decision.model_version, decision.state) == (START, None, None)
    assert (decision.context, decision.action_id, decision.probability) == ({"title": "Red"}, "b", 0.5)
    assert decision.probabilities.tolist() == [0.25, 0.5, 0.25]
    assert (decision.episode_id, decision.previous_decision_id) == ("e-1", "d-0")
    assert (event.reward, event.end, event.feedback) == (1.0, "terminated", [])
    assert event.episode_end == EpisodeEnd("default", "shoes", "e-1", "d-1", "terminated", START)


async def test_feedback_keeps_its_order_and_its_ids(gateway: Gateway, http: httpx.AsyncClient) -> None:
    feedback = [{"metric": "click", "value": True}, {"metric": "dwell", "value": 3, "feedback_id": "f-2"}]
    for _ in range(2):
        await send(http, row("d-1", feedback=feedback))
    first, again = imported(gateway)
    assert first.reward is None
    assert [(one.metric, one.value, one.received_at) for one in first.feedback] == [
        ("click", 1.0, START),
        ("dwell", 3.0, START + 1),
    ]
    assert first.feedback[1].feedback_id == "f-2"
    assert first.feedback == again.feedback


async def test_without_a_probability_none_is_made_up(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await send(http, row("d-1", probability=None))
    (event,) = imported(gateway)
    assert (event.decision.probability, event.decision.probabilities.tolist()) == (0.0, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "The body is not JSON that can be read. Line 1"),
        (b"[1]", "A field is not valid."),
        (row("d", action_id="z"), "action_id: There is no such action."),
        (row("d", reward=None), "A field is not valid. A row has either a `reward` or `feedback`"),
        (row("d", feedback=[{"metric": "none", "value": 1}]), "feedback.0.metric: The loop's reward has no such"),
        (row("d", context={"title": 3}), "context.title: The value is not of the modality's kind."),
        (row("d", previous_decision_id="c"), "previous_decision_id: A field is not valid. A decision that follows"),
        (row("d", end="truncated"), "end: A field is not valid. An end needs the `episode_id`"),
        (row("d", end="lost", episode_id="e"), "end: A field is not valid."),
        (row("d", probability=0), "probability: A field is not valid."),
        (row("d", time="2999-01-01T00:00:00Z"), "time: A field is not valid. It lies"),
        (row("d", time="1960-01-01T00:00:00Z"), "time: A field is not valid. It lies"),
        (row("d", surprise=1), "surprise: A field is not valid."),
    ],
)
async def test_a_bad_line_is_told_and_the_rest_taken(
    gateway: Gateway, http: httpx.AsyncClient, line: object, reason: str
) -> None:
    report = await send(http, row("d-1"), b"", line, row("d-2"))
    assert (report["accepted"], report["skipped_total"]) == (2, 1)
    (skipped,) = report["skipped"]
    assert skipped["line"] == 3
    assert skipped["reason"].startswith(reason)
    assert [event.decision_id for event in imported(gateway)] == ["d-1", "d-2"]


async def test_an_id_counts_once(gateway: Gateway, http: httpx.AsyncClient) -> None:
    rows = [row(f"d-{index % 600}") for index in range(1200)]
    assert await send(http, *rows) == {"accepted": 600, "duplicates": 600, "skipped": [], "skipped_total": 0}
    assert gateway.log.appends == [CHUNK_LINES, 100]


async def test_reasons_are_bounded(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_REASONS", 2)
    report = await send(http, *[b"{"] * 5)
    assert ([one["line"] for one in report["skipped"]], report["skipped_total"]) == ([1, 2], 5)


async def test_what_is_not_durable_is_not_accepted(gateway: Gateway, http: httpx.AsyncClient) -> None:
    gateway.log.broken = True
    answer = await http.post(URL, content=ndjson([row("d-1")]), headers=HEADERS)
    assert answer.status_code == 503


async def test_other_content_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post(URL, json=row("d-1"))).status_code == 415


async def test_lines_are_split_wherever_the_parts_of_a_body_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "LINE_BYTES", 4)

    async def lines(*parts: bytes) -> list[tuple[int, bytes | None]]:
        async def body() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return [line async for line in lines_of(body())]

    assert await lines(b"ab\nc", b"d\n", b"\n", b"ef") == [(1, b"ab"), (2, b"cd"), (4, b"ef")]
    assert await lines(b"abc", b"def", b"ghi\nok\n") == [(1, None), (2, b"ok")]
    assert await lines(b"ok\nabcdefgh", b"i") == [(1, b"ok"), (2, None)]
    assert await lines(b"abcde\nok") == [(1, None), (2, b"ok")]
    assert await lines() == []


async def test_an_episode_ends(gateway: Gateway, http: httpx.AsyncClient) -> None:
    url, body = "/v1/loops/shoes/episodes/e-1/end", {"end": "truncated", "decision_id": "d-9"}
    refused = await http.post(url, json=body)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:rewardloop:problem:not-episodic")
    (await http.put("/v1/loops/shoes", json=LOOP | {"problem_type": "episodic"})).raise_for_status()
    answer = (await http.post(url, json=body)).json()
    assert (answer["episode_id"], answer["end"]) == ("e-1", "truncated")
    (end,) = gateway.log.events(FEEDBACK)
    assert isinstance(end, EpisodeEnd)
    assert (end.episode_id, end.decision_id, end.end) == ("e-1", "d-9", "truncated")


async def test_a_decision_that_follows_needs_its_episode(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/loops/shoes/decisions", json={"previous_decision_id": "d-1"})
    assert (answer.status_code, answer.json()["field"]) == (422, "previous_decision_id")


async def test_q_learning_needs_episodes(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/loops/shoes", json=LOOP | {"learning": {"objective": "q_learning"}})
    assert answer.status_code == 422
    assert "`episodic`" in answer.json()["detail"]
