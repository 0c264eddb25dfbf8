"""One decision's trace through every process of the platform, and the metrics of all, as collectors get them."""

import json
from collections.abc import Iterator
from itertools import islice

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import product
from tests.e2e.conftest import KEY, Platform, free_port, running, until
from tests.otlp import Receiver, receiving

LOOP = "observed"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
FEEDBACK_TRACE = "0af7651916cd43dd8448eb211c80319c"
UNSAMPLED = "11111111111111111111111111111111"
PASSED = {"gateway", "encoding", "fusion", "policy", "joiner", "trainer"}
VISITS = 30
PROCESSES = ("models", "feedback", "trainer-worker", "trainer-beat")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def metrics_port() -> int:
    """With as many free ports behind it as processes tell metrics."""
    return free_port()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver, metrics_port: int) -> Iterator[Platform]:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "REWARDLOOP_TRACING_RATIO": "0",
        "REWARDLOOP_METRICS_PORT": str(metrics_port),
    }
    with running(tmp_path_factory.mktemp("observed") / "state", 180, variables) as platform:
        yield platform


@pytest.fixture(scope="module")
def decision(observed: Platform) -> product.Answer:
    """A decision that its caller traces, with feedback of another trace; a fine-tune has learned from it."""
    stream = product.visits()
    with observed.client() as http:
        product.put_loop(http, LOOP)
        for visit in islice(stream, VISITS):
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        visit = next(stream)
        http.headers["traceparent"] = f"00-{UNSAMPLED}-00f067aa0ba902b7-00"
        product.decide(http, LOOP, visit)
        http.headers["traceparent"] = CALLER
        made = product.decide(http, LOOP, visit)
        http.headers["traceparent"] = f"00-{FEEDBACK_TRACE}-b7ad6b7169203331-01"
        product.tell(http, LOOP, made, visit)
        del http.headers["traceparent"]
        product.wait_for_experiences(http, LOOP, VISITS + 1)
        product.fine_tune(http, LOOP)
    return made


def test_one_trace_passes_through_every_service(receiver: Receiver, decision: product.Answer) -> None:
    until(lambda: receiver.services(TRACE) >= PASSED, f"{TRACE} has passed through {PASSED}", 60)
    spans = receiver.of(TRACE)
    names = {(one.service, one.name) for one in spans}
    assert names >= {
        ("gateway", "POST /v1/loops/{loop_id}/decisions"),
        ("gateway", "decide"),
        ("gateway", "append rewardloop.decisions"),
        ("encoding", "Encode"),
        ("fusion", "Fuse"),
        ("policy", "Decide"),
        ("policy", "learn ExperienceJoined"),
        ("joiner", "join DecisionMade"),
        ("joiner", "join FeedbackReceived"),
        ("joiner", "close window"),
        ("trainer", "fine-tune"),
    }
    told = {one.key: one.value.string_value for span in spans for one in span.span.attributes}
    assert told["rewardloop.decision_id"] == decision["decision_id"]


def test_its_spans_are_one_tree_below_the_caller(receiver: Receiver, decision: product.Answer) -> None:
    until(lambda: receiver.services(TRACE) >= PASSED, "all of it has come", 60)
    spans = receiver.of(TRACE)
    ids = {one.span.span_id for one in spans}
    roots = [one for one in spans if one.span.parent_span_id not in ids]
    assert [root.name for root in roots] == ["POST /v1/loops/{loop_id}/decisions"]
    assert roots[0].span.parent_span_id.hex() == CALLER.split("-")[2]


def test_what_meets_the_decision_from_other_traces_is_linked(receiver: Receiver, decision: product.Answer) -> None:
    until(lambda: receiver.services(TRACE) >= PASSED, "all of it has come", 60)
    by_name = {one.name: one for one in receiver.of(TRACE)}
    assert by_name["join FeedbackReceived"].links == [FEEDBACK_TRACE]
    assert receiver.services(FEEDBACK_TRACE) == {"gateway"}
    run = next(one for one in receiver.spans if one.name == "training run: fine_tune")
    assert by_name["fine-tune"].links == [run.trace_id]
    assert run.links == [TRACE]


def test_what_its_caller_does_not_sample_leaves_nothing(receiver: Receiver, decision: product.Answer) -> None:
    until(lambda: receiver.services(TRACE) >= PASSED, "all of it has come", 60)
    assert receiver.of(UNSAMPLED) == []
    runs = {one.trace_id for one in receiver.spans if one.name.startswith("training run")}
    assert {one.trace_id for one in receiver.spans} - runs == {TRACE, FEEDBACK_TRACE}


def scrape(port: int) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").raise_for_status().text
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_process_tells_what_it_did(observed: Platform, metrics_port: int, decision: product.Answer) -> None:
    models, joiner, worker, beat = (scrape(metrics_port + place) for place in range(len(PROCESSES)))
    for service in ("encoding", "fusion", "policy"):
        assert models["rewardloop_model_loaded_versions"][("service", service),] >= 1
        assert models["rewardloop_model_busy_seconds_total"][("service", service),] > 0
    decided = (("method", "Decide"), ("service", "policy"))
    assert models["rewardloop_model_call_rows_sum"][decided] >= VISITS + 1
    assert models["rewardloop_policy_experiences_learned_total"][()] >= VISITS + 1
    events = joiner["rewardloop_joiner_events_total"]
    assert events[("outcome", "decisions"),] == VISITS + 2
    assert events[("outcome", "feedback"),] == VISITS + 1
    assert joiner["rewardloop_joiner_lag_events"][("topic", "rewardloop.decisions"),] == 0
    assert joiner["rewardloop_joiner_unpublished_experiences"][()] == 0
    assert sum(worker["rewardloop_trainer_runs_total"].values()) == 2
    assert sum(worker["rewardloop_trainer_gate_verdicts_total"].values()) == 1
    assert beat["rewardloop_rollouts_under_way"][()] == 0


def test_series_do_not_grow_with_loops_and_decisions(
    observed: Platform, metrics_port: int, decision: product.Answer
) -> None:
    def series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        scraped = [scrape(metrics_port + place) for place in range(len(PROCESSES))]
        return {(name, labels) for one in scraped for name, samples in one.items() for labels in samples}

    before = series()
    with observed.client() as http:
        product.put_loop(http, "another")
        for visit in islice(product.visits(1), 20):
            product.tell(http, "another", product.decide(http, "another", visit), visit)
        product.wait_for_experiences(http, "another", 20)
    assert series() == before


def test_logs_tell_trace_ids_and_nothing_that_was_sent(observed: Platform, decision: product.Answer) -> None:
    lines = [line for path in (observed.home / "logs").glob("*.log") for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines if line.startswith("{")]
    run = [one for one in records if one.get("event") == "run_finished"]
    assert run
    assert all(len(one["trace_id"]) == 32 for one in run)
    visit = next(product.visits())
    for secret in (KEY, visit.picture[-40:].hex(), "class-", '"correct"'):
        assert [line for line in lines if secret in line] == []
