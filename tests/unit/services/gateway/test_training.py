"""Training runs over HTTP: what they cover, and when they have ended."""

import httpx

from shared.db.engine import read_session, write_session
from shared.domain import ModelRef, RunRef
from shared.events import DECISIONS, FEEDBACK
from shared.registry.training_runs import finish_run, read_run, take_lease
from tests.unit.services.gateway.fakes import Gateway

URL = "/v1/loops/shoes/training-runs"


async def test_a_run_covers_everything_acknowledged_before_it(gateway: Gateway, http: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        (await http.post("/v1/loops/shoes/decisions", json={"decision_id": name})).raise_for_status()
    feedback = {"decision_id": "a", "metric": "click", "value": 1}
    (await http.post("/v1/loops/shoes/feedback", json=[feedback] * 3)).raise_for_status()
    asked = await http.post(URL)
    assert asked.status_code == 202
    run = asked.json()
    assert (run["kind"], run["status"], run["progress"]) == ("fine_tune", "queued", 0.0)
    ref = RunRef("default", "shoes", run["training_run_id"])
    assert gateway.enqueued[-1] == ref
    with read_session(gateway.ports.engine) as session:
        kept = read_run(session, ref)
    assert kept is not None
    assert kept.covers == {f"{DECISIONS}/0": 2, f"{FEEDBACK}/0": 3}


async def test_a_run_ends_when_its_version_serves(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    run = (await http.post(URL, json={})).json()["training_run_id"]

    async def status() -> tuple[object, object]:
        answer = (await http.get(f"{URL}/{run}")).raise_for_status().json()
        assert answer in (await http.get(URL)).json()["items"]
        return answer["status"], answer["model_version"]

    ref = RunRef("default", "shoes", run)
    with write_session(gateway.ports.engine) as session:
        take_lease(session, ref, "worker", gateway.clock(), 10**9)
    assert await status() == ("running", None)
    await gateway.publish("shoes", 2, load=False)
    with write_session(gateway.ports.engine) as session:
        finish_run(session, ref, "worker", gateway.clock(), "succeeded", version=2)
    assert await status() == ("running", "2")
    gateway.models.load(ModelRef("default", "shoes", 2))
    await gateway.catch_up()
    assert await status() == ("succeeded", "2")
    decided = (await http.post("/v1/loops/shoes/decisions", json={})).json()
    assert decided["model_version"] == "2"
    # A later champion ends the run before it as well, loaded here or not.
    gateway.models.loaded["policy"].clear()
    await gateway.publish("shoes", 3, load=False)
    assert await status() == ("succeeded", "2")


async def test_a_run_that_was_turned_down_says_why(gateway: Gateway, http: httpx.AsyncClient) -> None:
    run = (await http.post(URL)).json()["training_run_id"]
    ref = RunRef("default", "shoes", run)
    with write_session(gateway.ports.engine) as session:
        take_lease(session, ref, "worker", gateway.clock(), 10**9)
        finish_run(session, ref, "worker", gateway.clock(), "skipped", detail="nothing to learn from")
    answer = (await http.get(f"{URL}/{run}")).json()
    assert (answer["status"], answer["detail"]) == ("skipped", "nothing to learn from")
    assert answer["finished_at"].endswith("Z")


async def test_runs_are_listed_newest_first(http: httpx.AsyncClient) -> None:
    (await http.post(URL)).raise_for_status()
    newest = (await http.get(URL, params={"limit": 1})).json()
    assert [run["kind"] for run in newest["items"]] == ["fine_tune"]
    rest = (await http.get(URL, params={"cursor": newest["next_cursor"]})).json()
    assert ([run["kind"] for run in rest["items"]], rest["next_cursor"]) == (["initialise"], None)
