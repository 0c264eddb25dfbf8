"""Decisions over HTTP: what is answered, what is logged, what is repeated."""

import asyncio
import base64
import io
from collections import Counter
from collections.abc import Callable

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

from services.gateway.spooling import SpoolError
from shared.db.engine import write_session
from shared.db.tables import DecisionRow
from shared.domain import INLINE_BYTES, Decision, Media
from shared.events import DECISIONS
from shared.security import draw_seed
from shared.wire import decision_to_pb
from tests.unit.services.gateway.fakes import (
    EXPECTED,
    HEAD_SEQUENCE,
    OUTCOME_VARIANCE,
    VARIANCE,
    Gateway,
)

URL = "/v1/loops/shoes/decisions"


def decisions(gateway: Gateway) -> list[Decision]:
    return [event for event in gateway.log.events(DECISIONS) if isinstance(event, Decision)]


def png(width: int = 8, height: int = 8, noise: bool = False) -> bytes:
    file = io.BytesIO()
    image = Image.effect_noise((width, height), 100) if noise else Image.new("L", (width, height))
    image.save(file, "PNG")
    return file.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_without_a_version_the_answer_is_uniform_and_logged(gateway: Gateway, http: httpx.AsyncClient) -> None:
    answer = (await http.post(URL, json={"context": {"title": "Red shoe"}, "subject_id": "u-17"})).raise_for_status()
    decision = answer.json()
    assert decision["probability"] == pytest.approx(1 / 3)
    assert decision["model_version"] is None
    assert decision["fallback_reason"] == "no_model_yet"
    assert decision["modalities_missing"] == ["photo", "user", "voice", "clip", "vector"]
    assert [row["expected_reward"] for row in decision["ranking"]] == [None] * 3
    (logged,) = decisions(gateway)
    assert logged.decision_id == decision["decision_id"]
    assert logged.action_id == decision["action_id"]
    assert logged.probabilities.tolist() == pytest.approx([1 / 3] * 3)
    assert logged.seed == draw_seed(b"secret", "default", "shoes", logged.decision_id)
    assert logged.subject_id == "u-17"
    assert logged.context == {"title": "Red shoe"}
    assert logged.settings_revision == 1


async def test_a_packed_request_is_answered_and_logged_like_the_same_in_json(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    picture, vector = png(), np.array([1, 2, 3], np.float32)
    same = {"decision_id": "d-1", "subject_id": "u-17"}
    values = {"title": "Red shoe", "user": {"age": 31, "new": True}}
    text = {"photo": {"data": as_base64(picture)}, "vector": vector.tolist()}
    packed = {"photo": {"data": picture}, "vector": {"data": vector.tobytes()}}
    first = await http.post(URL, json=same | {"context": values | text})
    body = msgspec.msgpack.encode(same | {"context": values | packed})
    second = await http.post(URL, content=body, headers={"Content-Type": "application/msgpack"})
    assert first.raise_for_status().content == second.raise_for_status().content
    event = {"decision_id": "d-1", "metric": "click", "value": 1}
    answer = await http.post(
        "/v1/loops/shoes/feedback",
        content=msgspec.msgpack.encode([event, event]),
        headers={"Content-Type": "application/msgpack"},
    )
    assert answer.raise_for_status().json()["accepted"] == 2
    (logged,) = decisions(gateway)
    assert logged.context["user"] == {"age": 31.0, "new": True}


async def test_a_version_decides_and_its_scores_are_told(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    body = {"context": {"title": "Red shoe"}, "excluded_action_ids": ["c"]}
    decision = (await http.post(URL, json=body)).raise_for_status().json()
    assert decision["model_version"] == "1"
    assert decision["fallback_reason"] is None
    assert decision["modalities_used"] == ["title"]
    assert [row["id"] for row in decision["ranking"]] == ["b", "a", "c"]
    best, _, excluded = decision["ranking"]
    assert excluded["probability"] == 0
    assert best["expected_reward"] == pytest.approx(EXPECTED)
    half, outcome_half = 1.96 * VARIANCE**0.5, 1.96 * OUTCOME_VARIANCE**0.5
    assert best["interval"] == pytest.approx([EXPECTED - half, EXPECTED + half], abs=1e-4)
    assert best["outcome_interval"] == pytest.approx([EXPECTED - outcome_half, EXPECTED + outcome_half], abs=1e-4)
    (logged,) = decisions(gateway)
    assert logged.model_version == 1
    assert logged.head_sequence == HEAD_SEQUENCE
    assert logged.state is not None
    assert logged.state.tolist() == [0.5] * 4
    assert logged.scores is not None
    assert logged.excluded_action_ids == ["c"]
    assert logged.probabilities[2] == 0
    assert logged.scores.policy_logits is None
    assert {row["policy_logit"] for row in decision["ranking"]} == {None}


async def test_the_logits_of_a_policy_that_was_learned_are_logged_and_told(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.policy_logits = [0.5, -1.0, 2.0]
    decision = (await http.post(URL, json={})).raise_for_status().json()
    assert {row["id"]: row["policy_logit"] for row in decision["ranking"]} == {"a": 0.5, "b": -1.0, "c": 2.0}
    (logged,) = decisions(gateway)
    assert logged.scores is not None
    assert logged.scores.policy_logits is not None
    assert logged.scores.policy_logits.tolist() == [0.5, -1.0, 2.0]
    gateway.models.policy_logits = [0.5]
    refused = (await http.post(URL, json={})).raise_for_status().json()
    assert (refused["fallback_reason"], refused["ranking"][0]["policy_logit"]) == ("model_unavailable", None)


async def test_each_action_is_drawn_as_often_as_its_probability_says(gateway: Gateway, http: httpx.AsyncClient) -> None:
    rows = [{"decision_id": f"d-{index}"} for index in range(256)]
    answers = (await http.post(f"{URL}:batch", json={"decisions": rows})).raise_for_status().json()["decisions"]
    counts = Counter(answer["action_id"] for answer in answers)
    assert set(counts) == {"a", "b", "c"}
    # Four standard deviations of a binomial with 256 draws and p = 1/3.
    assert all(abs(count - 256 / 3) < 4 * (256 * 2 / 9) ** 0.5 for count in counts.values())


async def test_the_draw_rests_on_the_loops_seed_where_it_sets_one(gateway: Gateway, http: httpx.AsyncClient) -> None:
    settings = (await http.get("/v1/loops/shoes")).json() | {"exploration": {"seed": 3}}
    (await http.put("/v1/loops/seeded", json=settings)).raise_for_status()
    (await http.post("/v1/loops/seeded/decisions", json={"decision_id": "d"})).raise_for_status()
    assert decisions(gateway)[0].seed == draw_seed(b"3", "default", "seeded", "d")


async def test_large_values_are_stored_and_the_event_holds_their_hash(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    await gateway.publish("shoes", 1)
    large, small, words = png(256, 256, noise=True), png(), "é" * INLINE_BYTES
    assert len(large) > INLINE_BYTES
    context = {"photo": {"data": as_base64(large)}, "title": words}
    (await http.post(URL, json={"context": context})).raise_for_status()
    (await http.post(URL, json={"context": {"photo": {"data": as_base64(small)}}})).raise_for_status()
    first, second = decisions(gateway)
    photo, title = first.context["photo"], first.context["title"]
    assert isinstance(photo, Media)
    assert isinstance(title, Media)
    assert (photo.data, photo.content_type) == (None, "image/png")
    assert gateway.ports.artifacts.get(photo.sha256) == large
    assert (title.data, title.content_type) == (None, "text/plain")
    assert gateway.ports.artifacts.get(title.sha256) == words.encode()
    kept = second.context["photo"]
    assert isinstance(kept, Media)
    assert kept.data == small
    assert kept.sha256 not in gateway.ports.artifacts


async def test_an_embedding_may_come_as_bytes(gateway: Gateway, http: httpx.AsyncClient) -> None:
    numbers = np.array([0.5, -1.25, 3e38], np.float32)
    for value in (numbers.tolist(), {"data": as_base64(numbers.astype("<f4").tobytes())}):
        (await http.post(URL, json={"context": {"vector": value}})).raise_for_status()
    for decision in decisions(gateway):
        np.testing.assert_array_equal(np.asarray(decision.context["vector"]), numbers, strict=True)


async def test_stored_media_is_referred_to_by_its_id(gateway: Gateway, http: httpx.AsyncClient) -> None:
    stored = await http.post("/v1/media", content=png(), headers={"Content-Type": "image/png"})
    media_id = stored.raise_for_status().json()["media_id"]
    (await http.post(URL, json={"context": {"photo": {"media_id": media_id}}})).raise_for_status()
    assert decisions(gateway)[0].context["photo"] == Media("image/png", media_id)
    back = (await http.get(f"/v1/media/{media_id}")).raise_for_status()
    assert back.content == png()
    assert back.headers["content-type"] == "image/png"
    assert back.headers["x-content-type-options"] == "nosniff"


class TestRepeats:
    async def test_the_same_body_gets_the_same_answer_and_one_event(
        self, gateway: Gateway, http: httpx.AsyncClient
    ) -> None:
        body = {"decision_id": "d-1", "context": {"title": "x"}}
        answers = [(await http.post(URL, json=body)).raise_for_status().content for _ in range(3)]
        reordered = {"context": {"title": "x"}, "decision_id": "d-1"}
        answers.append((await http.post(URL, json=reordered)).raise_for_status().content)
        assert len(set(answers)) == 1
        assert len(decisions(gateway)) == 1

    async def test_another_body_is_a_conflict(self, gateway: Gateway, http: httpx.AsyncClient) -> None:
        (await http.post(URL, json={"decision_id": "d-1"})).raise_for_status()
        answer = await http.post(URL, json={"decision_id": "d-1", "context": {"title": "x"}})
        assert answer.status_code == 409
        assert answer.json()["type"].endswith("decision-conflict")
        assert len(decisions(gateway)) == 1

    async def test_repeats_at_the_same_time_share_one_flight(self, gateway: Gateway, http: httpx.AsyncClient) -> None:
        body = {"decision_id": "d-1", "context": {"title": "x"}}
        answers = await asyncio.gather(*(http.post(URL, json=body) for _ in range(20)))
        assert {answer.content for answer in answers} == {answers[0].raise_for_status().content}
        assert len(decisions(gateway)) == 1

    async def test_an_id_the_gateway_made_may_be_repeated_too(self, gateway: Gateway, http: httpx.AsyncClient) -> None:
        first = (await http.post(URL, json={"context": {"title": "x"}})).raise_for_status()
        again = {"context": {"title": "x"}, "decision_id": first.json()["decision_id"]}
        assert (await http.post(URL, json=again)).content == first.content
        assert len(decisions(gateway)) == 1

    async def test_after_a_restart_the_database_knows_the_answer(
        self, gateway: Gateway, http: httpx.AsyncClient, make_gateway: Callable[..., Gateway]
    ) -> None:
        await gateway.publish("shoes", 1)
        body = {"decision_id": "d-1", "context": {"title": "x"}}
        first = (await http.post(URL, json=body)).raise_for_status().content
        join(gateway)
        restarted = make_gateway()
        async with restarted.client() as again:
            # No version is loaded there: a new decision would be another one.
            assert (await again.post(URL, json=body)).raise_for_status().content == first
            other = await again.post(URL, json=body | {"deferred": True})
            assert other.status_code == 409

    async def test_a_refused_request_leaves_its_id_free(self, http: httpx.AsyncClient) -> None:
        refused = await http.post(URL, json={"decision_id": "d-1", "context": {"colour": "red"}})
        assert refused.status_code == 422
        assert (await http.post(URL, json={"decision_id": "d-1"})).status_code == 200

    async def test_little_memory_forgets_the_oldest(
        self, make_gateway: Callable[..., Gateway], http: httpx.AsyncClient
    ) -> None:
        forgetful = make_gateway(recent_answers_bytes=1)
        async with forgetful.client() as client:
            for _ in range(2):
                (await client.post(URL, json={"decision_id": "d-1"})).raise_for_status()
        # The joiner has not written it yet either, and drops the second one by its id.
        assert [decision.action_id for decision in decisions(forgetful)] == [decisions(forgetful)[0].action_id] * 2


class TestBatch:
    async def test_rows_are_answered_in_order_each_with_its_own_problem(
        self, gateway: Gateway, http: httpx.AsyncClient
    ) -> None:
        rows = [
            {"decision_id": "d-0"},
            {"context": {"colour": "red"}},
            "nothing",
            {"decision_id": "d-3"},
            {"decision_id": "d-0"},
        ]
        answer = (await http.post(f"{URL}:batch", json={"decisions": rows})).raise_for_status()
        first, unknown, nothing, last, repeated = answer.json()["decisions"]
        assert (first["decision_id"], last["decision_id"]) == ("d-0", "d-3")
        assert repeated == first
        assert (unknown["status"], unknown["field"]) == (422, "context.colour")
        assert (nothing["status"], nothing["field"]) == (422, None)
        assert len(decisions(gateway)) == 2

    async def test_a_batch_goes_through_each_service_in_few_calls(
        self, gateway: Gateway, http: httpx.AsyncClient
    ) -> None:
        ref = await gateway.publish("shoes", 1)
        rows = [{"context": {"title": str(index)}} for index in range(100)]
        (await http.post(f"{URL}:batch", json={"decisions": rows})).raise_for_status()
        for stage in ("encoding", "fusion", "policy"):
            assert [(at, size) for name, at, size in gateway.models.batches if name == stage] == [(ref, 64), (ref, 36)]
        assert sum(gateway.log.appends) == 100
        assert len(gateway.log.appends) <= 3

    @pytest.mark.parametrize("rows", [[], [{}] * 257])
    async def test_a_batch_has_1_to_256_rows(self, http: httpx.AsyncClient, rows: list[object]) -> None:
        answer = await http.post(f"{URL}:batch", json={"decisions": rows})
        assert (answer.status_code, answer.json()["field"]) == (422, "decisions")


async def test_an_event_that_cannot_be_stored_is_not_answered(gateway: Gateway, http: httpx.AsyncClient) -> None:
    gateway.log.broken = True
    answer = await http.post(URL, json={"decision_id": "d-1"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "disk" not in answer.text
    gateway.log.broken = False
    assert (await http.post(URL, json={"decision_id": "d-1"})).status_code == 200


async def test_a_decision_that_nothing_can_keep_is_answered_and_says_so(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    gateway.log.broken, gateway.log.error = True, SpoolError
    unlogged = (await http.post(URL, json={"decision_id": "d-1"})).raise_for_status().json()
    assert unlogged["logged"] is False
    assert "rewardloop_gateway_unlogged_decisions_total 1.0" in (await http.get("/metrics")).text
    refused = await http.post("/v1/loops/shoes/feedback", json={"decision_id": "d-1", "metric": "click", "value": 1})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    gateway.log.broken = False
    # It is not remembered: sent again, it is logged, and drawn as before.
    assert (await http.post(URL, json={"decision_id": "d-1"})).json() == unlogged | {"logged": True}
    assert len(decisions(gateway)) == 1


async def test_the_database_is_not_needed_to_decide(gateway: Gateway, http: httpx.AsyncClient) -> None:
    with gateway.ports.engine.begin() as connection:
        connection.execute(text("DROP TABLE decisions"))
    assert (await http.post(URL, json={"decision_id": "d-1"})).status_code == 200
    assert (await http.get(f"{URL}/d-1")).status_code == 503


async def test_an_activation_is_logged(gateway: Gateway, http: httpx.AsyncClient) -> None:
    (await http.post(URL, json={"decision_id": "d-1", "deferred": True})).raise_for_status()
    assert (await http.post(f"{URL}/d-1/activate")).status_code == 202
    answer = await http.post(f"{URL}/d-2/activate", json={"served_action_id": "c"})
    assert answer.json()["activated_at"].startswith("2025-11-23T")
    decision, first, second = gateway.log.events(DECISIONS)
    assert isinstance(decision, Decision)
    assert decision.deferred
    assert (first.decision_id, first.served_action_id) == ("d-1", None)  # type: ignore[union-attr] # an Activation
    assert (second.decision_id, second.served_action_id) == ("d-2", "c")  # type: ignore[union-attr]


def join(gateway: Gateway) -> None:
    """Writes the logged decisions where the joiner would."""
    with write_session(gateway.ports.engine) as session:
        for decision in decisions(gateway):
            session.add(
                DecisionRow(
                    tenant=decision.tenant,
                    loop_id=decision.loop_id,
                    decision_id=decision.decision_id,
                    decided_at=decision.decided_at,
                    action_id=decision.action_id,
                    probability=decision.probability,
                    model_version=decision.model_version,
                    fallback_reason=decision.fallback_reason,
                    deferred=decision.deferred,
                    request_sha256=decision.request_sha256,
                    payload=decision_to_pb(decision).SerializeToString(),
                )
            )
