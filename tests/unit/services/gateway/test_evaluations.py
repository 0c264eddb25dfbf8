"""Evaluations over HTTP: what is asked for, what is refused, and what is told of them."""

import httpx
import pytest

from shared.db.engine import read_session, write_session
from shared.domain import EvaluationRef
from shared.events import DECISIONS, FEEDBACK
from shared.registry.evaluations import finish_evaluation, read_evaluation, report_evaluation, take_evaluation
from tests.unit.services.gateway.fakes import Gateway

URL = "/v1/loops/shoes/evaluations"


async def test_it_covers_everything_acknowledged_before_it(gateway: Gateway, http: httpx.AsyncClient) -> None:
    (await http.post("/v1/loops/shoes/decisions", json={"decision_id": "d"})).raise_for_status()
    window = {"since": "2025-11-23T12:13:20Z"}
    asked = await http.post(URL, json={"target": "uniform", "estimators": ["ips"], "window": window, "clip": 10})
    assert asked.status_code == 202
    body = asked.json()
    assert (body["status"], body["progress"], body["result"]) == ("queued", 0.0, None)
    assert (body["target"], body["estimators"], body["clip"]) == ("uniform", ["ips"], 10.0)
    assert body["since"].startswith("2025-11-23T12:13:20")
    ref = EvaluationRef("default", "shoes", body["evaluation_id"])
    assert gateway.evaluations == [ref]
    with read_session(gateway.ports.engine) as session:
        kept = read_evaluation(session, ref)
    assert kept is not None
    assert kept.covers == {f"{DECISIONS}/0": 1, f"{FEEDBACK}/0": 0}


async def test_it_tells_how_far_it_is_and_why_it_failed(gateway: Gateway, http: httpx.AsyncClient) -> None:
    evaluation_id = (await http.post(URL, json={"target": "baseline"})).json()["evaluation_id"]
    ref, now = EvaluationRef("default", "shoes", evaluation_id), gateway.clock()
    with write_session(gateway.ports.engine) as session:
        assert take_evaluation(session, ref, "worker", now, 10**9) is not None
        assert take_evaluation(session, ref, "another", now, 10**9) is None
        report_evaluation(session, ref, "worker", now, 10**9, 0.4)
    answer = (await http.get(f"{URL}/{evaluation_id}")).json()
    assert (answer["status"], answer["progress"]) == ("running", 0.4)
    with write_session(gateway.ports.engine) as session:
        finish_evaluation(session, ref, "worker", gateway.clock(), None, "nothing to go by")
    (listed,) = (await http.get(URL)).json()["items"]
    assert (listed["status"], listed["detail"]) == ("failed", "nothing to go by")


EVEN = {"a": 0.25, "b": 0.25, "c": 0.5}


@pytest.mark.parametrize(
    ("target", "status", "field", "detail"),
    [
        ({"table": {"probabilities": EVEN | {"c": 0.4}}}, 422, "target", "sum to 0.9, not to one"),
        ({"table": {"probabilities": {"a": 0.5, "b": 0.5}}}, 422, "target.table.probabilities", "It lacks 'c'"),
        ({"table": {"probabilities": EVEN | {"z": 0.0}}}, 422, "target.table.probabilities", "does not list 'z'"),
        ({"table": {"probabilities": {"a": -0.5, "b": 1.5}}}, 422, "target", ""),
        ({"table": {"context_key": "user.age"}}, 422, "target", "either `probabilities`"),
        ({"table": {"context_key": "photo.x", "by_key": {"1": EVEN}}}, 422, "target.table.context_key", "It is"),
        ({"table": {"context_key": "title", "by_key": {"1": {"a": 1}}}}, 422, "target.table.by_key.1", "It lacks"),
        ({"constant": "z"}, 422, "target.constant", "does not list 'z'"),
        ({"model_version": "7"}, 404, "target.model_version", "no version 7"),
        ("champion", 422, "target", "'baseline' or 'uniform'"),
        ({"policy": 1}, 422, "target", "or an object of `model_version`"),
        ({"table": {"probabilities": {}}}, 422, "target.table", "at least 1"),
    ],
)
async def test_a_target_that_cannot_be_is_refused(
    http: httpx.AsyncClient, target: object, status: int, field: str, detail: str
) -> None:
    answer = await http.post(URL, json={"target": target})
    problem = answer.json()
    assert answer.status_code == status, problem
    assert problem["field"].startswith(field)
    assert detail in problem["detail"]
    assert (await http.get(URL)).json()["items"] == []


async def test_unknown_estimators_and_ids_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(URL, json={"target": "uniform", "estimators": ["magic"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "estimators.0")
    assert (await http.get(f"{URL}/nothing")).status_code == 404
