"""Bad input: each gets a problem of its own that names the field at fault, and leaves no trace."""

import base64
import io
import math
import struct
import wave
import zlib

import httpx
import msgspec
import orjson
import pytest
from PIL import Image

from tests.unit.services.gateway.fakes import Gateway

URL = "/v1/loops/shoes/decisions"
FEEDBACK = "/v1/loops/shoes/feedback"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises these dimensions; what follows is a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def wav_of(seconds: float, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(rate)
        sound.writeframes(bytes(round(seconds * rate)))
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    return file.getvalue()


def assert_problem(answer: httpx.Response, status: int, kind: str, field: str | None) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "field"}
    assert (answer.status_code, problem["status"]) == (status, status)
    assert (problem["type"], problem["field"]) == (f"urn:rewardloop:problem:{kind}", field)
    assert problem["title"]
    assert problem["detail"]


CONTEXTS = {
    "unknown modality": ({"colour": "red"}, "unknown-modality", "context.colour"),
    "number for text": ({"title": 7}, "wrong-kind", "context.title"),
    "text for image": ({"photo": "cat.png"}, "wrong-kind", "context.photo"),
    "unknown member": ({"photo": {"url": "http://x"}}, "wrong-kind", "context.photo"),
    "list for table": ({"user": [1]}, "wrong-kind", "context.user"),
    "nested table": ({"user": {"age": {"years": 3}}}, "wrong-kind", "context.user.age"),
    "257 fields": ({"user": dict.fromkeys(map(str, range(257)), 1)}, "value-too-large", "context.user"),
    "large table": ({"user": {str(i): "x" * 4000 for i in range(9)}}, "value-too-large", "context.user"),
    "long word": ({"user": {"name": "x" * 4097}}, "value-too-large", "context.user.name"),
    "text for embedding": ({"vector": "1,2,3"}, "wrong-kind", "context.vector"),
    "flags in embedding": ({"vector": [True, 0, 1]}, "wrong-kind", "context.vector"),
    "wrong dimension": ({"vector": [1, 2]}, "wrong-dimension", "context.vector"),
    "beyond float32": ({"vector": [1e39, 0, 0]}, "wrong-kind", "context.vector"),
    "cut embedding": ({"vector": {"data": encoded(bytes(11))}}, "wrong-kind", "context.vector"),
    "short embedding": ({"vector": {"data": encoded(bytes(8))}}, "wrong-dimension", "context.vector"),
    "endless embedding": ({"vector": {"data": encoded(b"\0\0\x80\x7f" * 3)}}, "wrong-kind", "context.vector"),
    "garbled embedding": ({"vector": {"data": "%%%"}}, "invalid-field", "context.vector.data"),
    "not base64": ({"photo": {"data": "%%%"}}, "invalid-field", "context.photo.data"),
    "not an image": ({"photo": {"data": encoded(b"hello")}}, "not-an-image", "context.photo"),
    "empty image": ({"photo": {"data": ""}}, "not-an-image", "context.photo"),
    "cut image": ({"photo": {"data": encoded(jpeg()[:20])}}, "not-an-image", "context.photo"),
    "image bomb": ({"photo": {"data": encoded(png_of(4001, 4000))}}, "image-too-large", "context.photo"),
    "huge image bomb": ({"photo": {"data": encoded(png_of(10**5, 10**5))}}, "image-too-large", "context.photo"),
    "lying image": (
        {"photo": {"data": encoded(jpeg()), "content_type": "image/png"}},
        "wrong-content-type",
        "context.photo",
    ),
    "sound for image": ({"photo": {"data": encoded(wav_of(1))}}, "not-an-image", "context.photo"),
    "not a sound": ({"voice": {"data": encoded(b"hello")}}, "not-a-sound", "context.voice"),
    "long sound": ({"voice": {"data": encoded(wav_of(61))}}, "sound-too-long", "context.voice"),
    "not a video": ({"clip": {"data": encoded(b"#EXTM3U\nhttp://x/y.ts")}}, "not-a-video", "context.clip"),
    "unknown media": ({"photo": {"media_id": "a" * 64}}, "unknown-media", "context.photo.media_id"),
}


@pytest.mark.parametrize(("context", "kind", "field"), CONTEXTS.values(), ids=CONTEXTS)
async def test_context(http: httpx.AsyncClient, gateway: Gateway, context: object, kind: str, field: str) -> None:
    assert_problem(await http.post(URL, json={"context": context}), 422, kind, field)
    assert gateway.log.topics == {}


@pytest.mark.parametrize("data", [png_of(4000, 4000), wav_of(60)], ids=["16 megapixels", "60 seconds"])
async def test_media_at_the_limit_is_taken(http: httpx.AsyncClient, data: bytes) -> None:
    modality = "photo" if data.startswith(b"\x89PNG") else "voice"
    assert (await http.post(URL, json={"context": {modality: {"data": encoded(data)}}})).status_code == 200


DECISIONS = {
    "no actions": ({"actions": []}, "no-actions", "actions"),
    "duplicate action": ({"actions": [{"id": "a"}, {"id": "a"}]}, "duplicate-action", "actions.1.id"),
    "1,001 actions": ({"actions": [{"id": str(i)} for i in range(1001)]}, "invalid-field", "actions"),
    "action without id": ({"actions": [{}]}, "invalid-field", "actions.0.id"),
    "nested feature": (
        {"actions": [{"id": "a", "features": {"x": [1]}}]},
        "invalid-field",
        "actions.0.features.x",
    ),
    "all excluded": ({"excluded_action_ids": ["a", "b", "c"]}, "every-action-excluded", "excluded_action_ids"),
    "unknown excluded": ({"excluded_action_ids": ["a", "z"]}, "unknown-action", "excluded_action_ids.1"),
    "unknown baseline": ({"baseline_action_id": "z"}, "unknown-action", "baseline_action_id"),
    "unknown field": ({"contexts": {}}, "invalid-field", "contexts"),
    "unsafe id": ({"decision_id": "../x"}, "invalid-field", "decision_id"),
    "long id": ({"decision_id": "x" * 129}, "invalid-field", "decision_id"),
    "text for flag": ({"deferred": "yes"}, "invalid-field", "deferred"),
    "not an object": ([1], "invalid-field", None),
    "nothing": (None, "invalid-field", None),
    "text for explain": ({"explain": "yes"}, "invalid-field", "explain"),
}


@pytest.mark.parametrize(("body", "kind", "field"), DECISIONS.values(), ids=DECISIONS)
async def test_decision(http: httpx.AsyncClient, gateway: Gateway, body: object, kind: str, field: str) -> None:
    assert_problem(await http.post(URL, content=orjson.dumps(body)), 422, kind, field)
    assert gateway.log.topics == {}


async def test_a_loop_without_actions_needs_them_in_each_decision(http: httpx.AsyncClient) -> None:
    (await http.put("/v1/loops/open", json={"modalities": {"title": {"kind": "text"}}})).raise_for_status()
    assert_problem(await http.post("/v1/loops/open/decisions", json={}), 422, "no-actions", "actions")
    assert (await http.post("/v1/loops/open/decisions", json={"actions": [{"id": "a"}]})).status_code == 200


JSON = {
    "cut": b'{"context": {"title": "x"',
    "NaN": b'{"context": {"vector": [NaN, 0, 0]}}',
    "infinity": b'{"context": {"vector": [Infinity, 0, 0]}}',
    "10^400": b'{"context": {"vector": [1e400, 0, 0]}}',
    "lone surrogate": b'{"context": {"title": "\\ud800"}}',
    "not UTF-8": b'{"context": {"title": "\xff"}}',
    "deep": b'{"context": ' + b"[" * 500 + b"]" * 500 + b"}",
    "deeper": b"[" * 100_000,
}


@pytest.mark.parametrize("raw", JSON.values(), ids=JSON)
async def test_json(http: httpx.AsyncClient, gateway: Gateway, raw: bytes) -> None:
    assert_problem(await http.post(URL, content=raw), 400, "invalid-json", None)
    assert gateway.log.topics == {}


PACKED = {"Content-Type": "application/msgpack"}
MESSAGEPACK = {
    "nothing but a length": b"\xdd\xff\xff\xff\xff",
    "cut": msgspec.msgpack.encode({"context": {"title": "x"}})[:-1],
    "more behind it": msgspec.msgpack.encode({}) + b"\xc0",
    "a key that is no text": msgspec.msgpack.encode({"context": {1: "x"}}),
    "an extension": msgspec.msgpack.encode({"context": {"title": msgspec.msgpack.Ext(5, b"x")}}),
    "not UTF-8": b"\x81\xa1\xff\xc0",
    "deep": b"\x81\xa7context" + b"\x91" * 500 + b"\xc0",
    "deeper": b"\x91" * 100_000,
    "NaN in a feature": msgspec.msgpack.encode({"actions": [{"id": "a", "features": {"x": math.nan}}]}),
    "JSON": b'{"context": {}}',
}


@pytest.mark.parametrize("raw", MESSAGEPACK.values(), ids=MESSAGEPACK)
async def test_messagepack(http: httpx.AsyncClient, gateway: Gateway, raw: bytes) -> None:
    assert_problem(await http.post(URL, content=raw, headers=PACKED), 400, "invalid-messagepack", None)
    events = f"{URL.removesuffix('decisions')}feedback"
    assert (await http.post(events, content=raw, headers=PACKED)).status_code in (400, 422)
    assert gateway.log.topics == {}


@pytest.mark.parametrize(
    ("context", "kind", "field"),
    [
        ({"vector": [math.nan, 0.0, 0.0]}, "wrong-kind", "context.vector"),
        ({"vector": {"data": bytes(11)}}, "wrong-kind", "context.vector"),
        ({"user": {"age": math.inf}}, "wrong-kind", "context.user.age"),
        ({"user": {"photo": b"x"}}, "wrong-kind", "context.user.photo"),
        ({"photo": {"data": b"x"}}, "not-an-image", "context.photo"),
    ],
)
async def test_packed_context(
    http: httpx.AsyncClient, gateway: Gateway, context: object, kind: str, field: str
) -> None:
    raw = msgspec.msgpack.encode({"context": context})
    assert_problem(await http.post(URL, content=raw, headers=PACKED), 422, kind, field)
    assert gateway.log.topics == {}


async def test_a_packed_body_is_bounded(http: httpx.AsyncClient) -> None:
    raw = msgspec.msgpack.encode({"context": {"title": "x" * (9 * 2**20)}})
    assert_problem(await http.post(URL, content=raw, headers=PACKED), 413, "body-too-large", None)


async def test_duplicate_keys_are_refused_by_name(http: httpx.AsyncClient) -> None:
    raw = b'{"context": {"title": "x", "title": "y"}}'
    assert_problem(await http.post(URL, content=raw), 400, "invalid-json", "title")
    colons = b'{"context": {"title": "a:b:c", "user": {"name": "d:e"}}}'
    assert (await http.post(URL, content=colons)).status_code == 200


async def test_bodies_are_bounded_while_they_stream(http: httpx.AsyncClient) -> None:
    taken = 0

    async def endless() -> object:
        nonlocal taken
        while True:
            taken += 2**20
            yield bytes(2**20)

    announced = {"Content-Length": str(9 * 2**20)}
    assert_problem(await http.post(URL, content=b"{}", headers=announced), 413, "body-too-large", None)
    assert_problem(await http.post(URL, content=endless()), 413, "body-too-large", None)  # type: ignore[arg-type]
    assert taken == 9 * 2**20
    assert_problem(await http.post(f"{URL}:batch", content=endless()), 413, "body-too-large", None)  # type: ignore[arg-type]
    assert taken == (9 + 33) * 2**20


async def test_an_event_over_2_mib_is_refused(http: httpx.AsyncClient, gateway: Gateway) -> None:
    features = {f"feature-{index}": "x" * 4000 for index in range(250)}
    body = {"actions": [{"id": str(index), "features": features} for index in range(3)]}
    assert_problem(await http.post(URL, json=body), 413, "event-too-large", None)
    assert gateway.log.topics == {}


async def test_another_content_type_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(URL, content=b"{}", headers={"Content-Type": "text/xml"})
    assert_problem(answer, 415, "unsupported-content-type", None)
    answer = await http.post("/v1/media", content=b"{}", headers={"Content-Type": "application/pdf"})
    assert_problem(answer, 415, "unsupported-content-type", None)


async def test_media_that_lies_is_refused(http: httpx.AsyncClient) -> None:
    for content_type, data, kind in (
        ("image/png", jpeg(), "wrong-content-type"),
        ("audio/wav", jpeg(), "not-a-sound"),
        ("video/mp4", jpeg(), "not-a-video"),
        ("video/webm", b"\0\0\0\x20ftypisom", "wrong-content-type"),
        ("text/plain", b"\xff", "not-a-text"),
    ):
        answer = await http.post("/v1/media", content=data, headers={"Content-Type": content_type})
        assert_problem(answer, 422, kind, None)
    assert (await http.get("/v1/audit")).json()["items"][0]["object"] == "loops/shoes"


FEEDBACKS = {
    "unknown metric": ({"metric": "likes"}, "unknown-metric", "metric"),
    "no metric": ({"metric": None}, "invalid-field", "metric"),
    "text for a number": ({"value": "lovely"}, "invalid-field", "value"),
    "number for a text": ({"metric": "caption"}, "invalid-field", "value"),
    "flag for a text": ({"metric": "caption", "value": True}, "invalid-field", "value"),
    "empty text": ({"metric": "caption", "value": ""}, "invalid-field", "value"),
    "no words": ({"metric": "caption", "value": "?!"}, "invalid-field", "value"),
    "NUL": ({"metric": "caption", "value": "a\0b"}, "invalid-field", "value"),
    "long text": ({"metric": "caption", "value": "x" * 4097}, "invalid-field", "value"),
    "a list": ({"value": ["lovely"]}, "invalid-field", "value"),
    "null": ({"value": None}, "invalid-field", "value"),
    "out of range": ({"value": 1e300}, "invalid-field", "value"),
    "unsafe id": ({"feedback_id": "a b"}, "invalid-field", "feedback_id"),
    "far ahead": ({"occurred_at": "2125-11-23T12:00:00Z"}, "invalid-field", "occurred_at"),
    "no offset": ({"occurred_at": "2025-11-23T12:00:00"}, "invalid-field", "occurred_at"),
    "number for a time": ({"occurred_at": 1763900000}, "invalid-field", "occurred_at"),
    "unknown field": ({"reward": 1}, "invalid-field", "reward"),
}


@pytest.mark.parametrize(("change", "kind", "field"), FEEDBACKS.values(), ids=FEEDBACKS)
async def test_feedback(
    http: httpx.AsyncClient, gateway: Gateway, change: dict[str, object], kind: str, field: str
) -> None:
    good = {"decision_id": "d-1", "metric": "click", "value": 1}
    assert_problem(await http.post(FEEDBACK, json=good | change), 422, kind, field)
    assert_problem(await http.post(FEEDBACK, json=[good, good | change]), 422, kind, f"1.{field}")
    assert gateway.log.topics == {}


@pytest.mark.parametrize("events", [0, 1001])
async def test_a_list_of_feedback_has_1_to_1000_events(http: httpx.AsyncClient, events: int) -> None:
    body = [{"decision_id": "d-1", "metric": "click", "value": 1}] * events
    assert_problem(await http.post(FEEDBACK, json=body), 422, "invalid-field", None)


def judged(metric: dict[str, object]) -> dict[str, object]:
    return {"modalities": {"x": {"kind": "text"}}, "reward": {"metrics": {"m": metric}}}


def learns(**learning: object) -> dict[str, object]:
    return {"modalities": {"x": {"kind": "text"}}, "learning": learning}


LOOPS = {
    "q_learning without episodes": (learns(objective="q_learning"), "learning.objective"),
    "reward_guided without actions": (learns(objective="reward_guided"), "learning.objective"),
    "rank of nothing": (learns(tune="adapters", adapter_rank=0), "learning.adapter_rank"),
    "twice the same action": (
        {"modalities": {"x": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "a"}]},
        "actions",
    ),
    "segment of no table": (
        {"modalities": {"x": {"kind": "text"}}, "fairness": {"segments": ["x.country"]}},
        "fairness.segments.0",
    ),
    "no modalities": ({}, "modalities"),
    "unknown kind": ({"modalities": {"x": {"kind": "smell"}}}, "modalities.x.kind"),
    "no dimension": ({"modalities": {"x": {"kind": "embedding"}}}, "modalities.x"),
    "bad name": ({"modalities": {"X": {"kind": "text"}}}, "modalities.X"),
    "negative floor": ({"modalities": {"x": {"kind": "text"}}, "exploration": {"floor": -1}}, "exploration.floor"),
    "range": ({"modalities": {"x": {"kind": "text"}}, "reward": {"range": [1, 0]}}, "reward"),
    "unknown field": ({"modalities": {"x": {"kind": "text"}}, "colour": 1}, "colour"),
    "metric of no modality": (judged({"modality": "y"}), "reward.metrics.m.modality"),
    "unknown scorer": (judged({"scorer": {"kind": "taste"}}), "reward.metrics.m.scorer.kind"),
    "negative weight": (judged({"scorer": {"kind": "captioning", "beta": -1}}), "reward.metrics.m.scorer.beta"),
    "scores nothing": (judged({"scorer": {"kind": "captioning", "alpha": 0, "beta": 0, "gamma": 0}}), "reward"),
}


@pytest.mark.parametrize(("body", "field"), LOOPS.values(), ids=LOOPS)
async def test_loop(http: httpx.AsyncClient, body: object, field: str) -> None:
    assert_problem(await http.put("/v1/loops/other", json=body), 422, "invalid-field", field)
    assert (await http.get("/v1/loops/other")).status_code == 404


async def test_a_loop_needs_a_safe_name(http: httpx.AsyncClient) -> None:
    body = {"modalities": {"x": {"kind": "text"}}}
    for name in ("Shoes", "_shoes", "x" * 65, "sh%20oes", "..%2Fx"):
        answer = await http.put(f"/v1/loops/{name}", json=body)
        assert answer.status_code in (404, 422), name


async def test_keys(gateway: Gateway, http: httpx.AsyncClient) -> None:
    for key, status, kind, field in (
        ("", 401, "no-key", None),
        ("wrong", 401, "unknown-key", None),
        (gateway.add_key("feedback"), 403, "role-not-allowed", None),
        (gateway.add_key("decide", tenant="rival"), 404, "unknown-loop", "loop_id"),
    ):
        async with gateway.client(key) as client:
            assert_problem(await client.post(URL, json={}), status, kind, field)
    assert gateway.log.topics == {}


QUERIES = [("limit=0", "limit"), ("limit=501", "limit"), ("cursor=x", "cursor"), ("since=now", "since")]


@pytest.mark.parametrize(("query", "field"), QUERIES)
async def test_queries(http: httpx.AsyncClient, query: str, field: str) -> None:
    assert_problem(await http.get(f"{URL}?{query}"), 422, "invalid-field", field)


async def test_unknown_objects_are_404(http: httpx.AsyncClient) -> None:
    for path, kind, field in (
        ("/v1/loops/none", "unknown-loop", "loop_id"),
        ("/v1/loops/none/decisions", "unknown-loop", "loop_id"),
        (f"{URL}/none", "unknown-decision", "decision_id"),
        (f"{URL}/%00", "unknown-decision", "decision_id"),
        ("/v1/loops/shoes/training-runs/none", "unknown-training-run", "training_run_id"),
        ("/v1/loops/shoes/models/7", "unknown-model-version", "version"),
        ("/v1/loops/shoes/models/x", "unknown-model-version", "version"),
        ("/v1/media/none", "not-found", "media_id"),
        ("/v2", "not-found", None),
    ):
        assert_problem(await http.get(path), 404, kind, field)


@pytest.mark.parametrize(
    "path", ["freeze", "decisions/d1/activate", "training-runs", "models:collect", "rollouts", "decisions"]
)
async def test_null_is_no_body_that_was_left_out(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(f"/v1/loops/shoes/{path}", content=b"null")
    assert_problem(answer, 422, "invalid-field", None)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/loops", "GET"), ("/v1/loops/shoes", "DELETE, GET, PUT"), ("/v1/loops/shoes/decisions", "GET, POST")],
)
async def test_a_method_that_an_address_does_not_take(http: httpx.AsyncClient, path: str, methods: str) -> None:
    answer = await http.patch(path)
    assert_problem(answer, 405, "method-not-allowed", None)
    assert answer.headers["allow"] == methods


async def test_feedback_for_a_decision_nobody_made_is_accepted(http: httpx.AsyncClient) -> None:
    answer = await http.post(FEEDBACK, json={"decision_id": "nobodys", "metric": "click", "value": True})
    assert answer.status_code == 202


async def test_what_nobody_foresaw_is_told_as_a_fixed_text(
    http: httpx.AsyncClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret feature value")

    monkeypatch.setattr(gateway.parts.models, "encode", broken)
    await gateway.publish("shoes", 1)
    answer = await http.post(URL, json={"context": {"title": "x"}})
    assert_problem(answer, 500, "internal-error", None)
    assert "secret" not in answer.text
    logged = capsys.readouterr().out
    assert "KeyError" in logged
    assert "secret" not in logged
