"""Dead letters over HTTP: listed with where and why, replayed as they were, deleted; each tenant its own."""

import base64

import httpx
import pytest

from services.gateway.dead_letters import SHOWN_BYTES
from services.gateway.moments import iso
from shared.db.engine import write_session
from shared.db.tables import DeadLetterRow
from shared.eventlog import MAX_RECORD_BYTES, Record
from shared.eventlog.envelopes import packed
from shared.events import FEEDBACK
from tests.unit.services.gateway.fakes import Gateway

RECEIVED_AT = 1_763_900_000_000_000
RECORD = Record("default/shoes/d-1", b"\x00cut", {"ce_type": b"\xfe", "ce_id": b"f-1"})


def put_aside(gateway: Gateway, offset: int, tenant: str | None, record: Record = RECORD) -> str:
    """Its id."""
    with write_session(gateway.parts.engine) as session:
        row = DeadLetterRow(
            topic=FEEDBACK,
            partition=3,
            offset=offset,
            tenant=tenant,
            reason="payload is cut",
            payload=record.value,
            envelope=packed(record),
            appended_at=RECEIVED_AT,
            dead_at=RECEIVED_AT + 1,
        )
        session.add(row)
    return f"{FEEDBACK}.3.{offset}"


async def test_they_are_listed_with_their_places_and_reasons(gateway: Gateway, http: httpx.AsyncClient) -> None:
    put_aside(gateway, 10, "default")
    put_aside(gateway, 9, "default", Record("", b"x" * (SHOWN_BYTES + 1)))
    put_aside(gateway, 11, "rival")
    first = (await http.get("/v1/dead-letters", params={"limit": 1})).raise_for_status().json()
    (large,) = first["items"]
    assert (large["position"], large["size"]) == (9, SHOWN_BYTES + 1)
    assert base64.b64decode(large["payload"]) == b"x" * SHOWN_BYTES
    second = (await http.get("/v1/dead-letters", params={"cursor": first["next_cursor"]})).raise_for_status().json()
    assert second == {
        "items": [
            {
                "dead_letter_id": "rewardloop.feedback.3.10",
                "topic": "rewardloop.feedback",
                "partition": 3,
                "position": 10,
                "reason": "payload is cut",
                "received_at": iso(RECEIVED_AT),
                "dead_at": iso(RECEIVED_AT + 1),
                "replayed_at": None,
                "size": 4,
                "payload": base64.b64encode(RECORD.value).decode(),
            }
        ],
        "next_cursor": None,
    }


async def test_one_that_is_replayed_stands_in_its_topic_again_as_it_was(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    letter = put_aside(gateway, 10, "default")
    assert (await http.get("/v1/loops/shoes/statistics")).json()["tenant_dead_letters"] == 1
    for _ in range(2):
        assert (await http.post(f"/v1/dead-letters/{letter}/replay")).status_code == 204
    assert gateway.log.topics[FEEDBACK] == [RECORD, RECORD]
    (told,) = (await http.get("/v1/dead-letters")).json()["items"]
    assert told["replayed_at"] is not None
    assert (await http.get("/v1/loops/shoes/statistics")).json()["tenant_dead_letters"] == 0
    entries = (await http.get("/v1/audit")).json()["items"]
    assert [(one["verb"], one["object"]) for one in entries[:2]] == [("replay", f"dead-letters/{letter}")] * 2


async def test_one_that_the_log_does_not_take_stays_as_it_is(gateway: Gateway, http: httpx.AsyncClient) -> None:
    huge = put_aside(gateway, 1, "default", Record("", b"x" * (MAX_RECORD_BYTES + 1)))
    assert (await http.post(f"/v1/dead-letters/{huge}/replay")).status_code == 413
    letter = put_aside(gateway, 2, "default")
    gateway.log.broken = True
    assert (await http.post(f"/v1/dead-letters/{letter}/replay")).status_code == 503
    assert [one["replayed_at"] for one in (await http.get("/v1/dead-letters")).json()["items"]] == [None, None]
    assert all(one["object"] != f"dead-letters/{letter}" for one in (await http.get("/v1/audit")).json()["items"])


async def test_one_that_is_deleted_is_gone(gateway: Gateway, http: httpx.AsyncClient) -> None:
    letter = put_aside(gateway, 10, "default")
    assert (await http.delete(f"/v1/dead-letters/{letter}")).status_code == 204
    assert (await http.get("/v1/dead-letters")).json()["items"] == []
    again = await http.delete(f"/v1/dead-letters/{letter}")
    assert (again.status_code, again.json()["type"]) == (404, "urn:rewardloop:problem:unknown-dead-letter")
    (entry, *_) = (await http.get("/v1/audit")).json()["items"]
    assert (entry["verb"], entry["object"]) == ("delete", f"dead-letters/{letter}")


@pytest.mark.parametrize(
    "letter", ["x", "rewardloop.feedback.3", "rewardloop.feedback.3.-1", "a.3.99999999999999999999"]
)
async def test_what_is_no_id_is_not_there(http: httpx.AsyncClient, letter: str) -> None:
    assert (await http.post(f"/v1/dead-letters/{letter}/replay")).status_code == 404


async def test_what_says_not_whose_it_is_belongs_to_who_runs_the_platform(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    put_aside(gateway, 10, None)
    assert len((await http.get("/v1/dead-letters")).json()["items"]) == 1
    async with gateway.client(gateway.add_key("manage", tenant="rival")) as rival:
        assert (await rival.get("/v1/dead-letters")).json()["items"] == []
