"""The client that waits: decisions, feedback in the background, retries, and what it does without the platform."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from rewardloop import Options, OutboxFullError, ProblemError, Retry, Rewardloop, UnreachableError
from tests.unit.sdk.conftest import FakePlatform, ManualClock, delivered_by, problem

Make = Callable[..., Options]


@pytest.fixture
def client(platform: FakePlatform, options: Make) -> Iterator[Rewardloop]:
    with Rewardloop("http://platform", "key", options(), platform.transport) as client:
        yield client


class TestDeciding:
    def test_what_it_is_told_reaches_the_platform(self, client: Rewardloop, platform: FakePlatform) -> None:
        first = client.decide("shop", {"title": "Red shoe", "photo": None})
        client.decide(
            "shop",
            {"user": {"age": 31}},
            actions=["x", {"id": "y", "features": {"price": 10}}],
            excluded=["x"],
            baseline="y",
            subject_id="u-1",
            episode_id="e-1",
            previous=first,
            deferred=True,
            explain=True,
            decision_id="d-1",
        )
        assert platform.bodies == [
            {"decision_id": first.decision_id, "context": {"title": "Red shoe"}},
            {
                "decision_id": "d-1",
                "context": {"user": {"age": 31}},
                "actions": [{"id": "x"}, {"id": "y", "features": {"price": 10}}],
                "excluded_action_ids": ["x"],
                "baseline_action_id": "y",
                "subject_id": "u-1",
                "episode_id": "e-1",
                "previous_decision_id": first.decision_id,
                "deferred": True,
                "explain": True,
            },
        ]
        assert platform.keys == {"Bearer key"}
        assert (first.action_id, first.probability, first.ranking[0].interval) == ("c", 0.5, (0.0, 0.5))

    def test_a_lost_answer_is_asked_for_again_under_the_same_id(
        self, client: Rewardloop, platform: FakePlatform
    ) -> None:
        platform.losing = 2
        decision = client.decide("shop", {})
        assert not decision.is_local
        assert len(platform.asked) == 3
        assert len(platform.decisions) == 1

    def test_a_refusal_is_told_at_once_with_its_field(self, client: Rewardloop, platform: FakePlatform) -> None:
        platform.instead = [problem(422, "The loop has no such modality", "context.photo")]
        with pytest.raises(ProblemError, match="no such modality: why") as refused:
            client.decide("shop", {"photo": b"..."})
        assert (refused.value.status, refused.value.field) == (422, "context.photo")
        assert len(platform.asked) == 1

    def test_repeats_end_with_the_time_that_a_decision_may_take(
        self, platform: FakePlatform, options: Make, clock: ManualClock
    ) -> None:
        def slow(_: httpx.Request) -> httpx.Response:
            clock.now += 1.5
            raise httpx.ReadTimeout("slow")

        transport, patient = httpx.MockTransport(slow), Retry(attempts=10, first_pause=0.0)
        with Rewardloop("http://platform", "key", options(retry=patient, decide_timeout=2.0), transport) as client:
            decision = client.decide("shop", {}, baseline="b")
        assert decision.is_local
        # Two tries of 1.5 s fill the two seconds; then one to tell it at the client's end, of ten.
        assert clock.now >= 3.0


class TestFeedback:
    def test_it_goes_out_in_batches_of_a_thousand_in_order(self, client: Rewardloop, platform: FakePlatform) -> None:
        ids = [client.feedback("shop", f"d-{number}", number) for number in range(1500)]
        client.flush()
        calls = [len(body) for body in platform.bodies]
        assert sum(calls) == 1500
        assert max(calls) <= 1000
        assert list(platform.events) == ids
        client.flush()
        assert len(platform.asked) == len(calls)

    def test_a_lost_answer_doubles_nothing(self, client: Rewardloop, platform: FakePlatform) -> None:
        platform.losing = 1
        client.feedback("shop", "d-1", True, "click", occurred_at=datetime(2026, 11, 23, tzinfo=UTC))
        client.flush()
        assert len(platform.asked) == 2
        (event,) = platform.events.values()
        assert (event["value"], event["occurred_at"]) == (1.0, "2026-11-23T00:00:00+00:00")

    def test_one_event_at_fault_does_not_hold_up_the_rest(
        self, client: Rewardloop, platform: FakePlatform, refused: list[ProblemError]
    ) -> None:
        platform.bad_metrics = {"clik"}
        for number, metric in enumerate(("click", "clik", "click", "clik", "click")):
            client.feedback("shop", f"d-{number}", 1, metric)
        client.flush()
        assert [event["decision_id"] for event in platform.events.values()] == ["d-0", "d-2", "d-4"]
        assert [error.field for error in refused] == ["1.metric", "2.metric"]

    def test_what_waits_while_the_platform_is_away_or_the_key_is_wrong_is_kept(
        self, client: Rewardloop, platform: FakePlatform
    ) -> None:
        client.feedback("shop", "d-1", 1)
        platform.away = True
        with pytest.raises(UnreachableError, match="refused"):
            client.flush()
        platform.away = False
        platform.instead = [problem(401, "The key is not known")]
        with pytest.raises(UnreachableError, match="not known"):
            client.flush()
        client.flush()
        assert len(platform.events) == 1

    def test_more_than_may_wait_is_an_error(self, platform: FakePlatform, options: Make) -> None:
        with Rewardloop("http://platform", "key", options(outbox_limit=2), platform.transport) as client:
            for number in range(2):
                client.feedback("shop", f"d-{number}", 1)
            with pytest.raises(OutboxFullError, match="2 things wait"):
                client.feedback("shop", "d-3", 1)

    def test_the_background_delivers_by_itself(self, platform: FakePlatform, options: Make) -> None:
        with Rewardloop("http://platform", "key", options(flush_interval=0.01), platform.transport) as client:
            client.feedback("shop", "d-1", 1)
            deadline = time.monotonic() + 60
            while not platform.events:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def test_closing_delivers_what_waits(self, platform: FakePlatform, options: Make) -> None:
        client = Rewardloop("http://platform", "key", options(), platform.transport)
        client.feedback("shop", "d-1", 1)
        client.close()
        client.close()
        assert len(platform.events) == 1
        with pytest.raises(RuntimeError, match="closed"):
            client.feedback("shop", "d-1", 1)

    def test_threads_share_a_client(self, client: Rewardloop, platform: FakePlatform) -> None:
        def tell(name: int) -> None:
            for number in range(200):
                client.feedback("shop", f"{name}-{number}", 1)

        threads = [threading.Thread(target=tell, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.flush()
        assert len(platform.events) == 800

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_value_that_is_no_number_is_refused_before_it_waits(self, client: Rewardloop, value: float) -> None:
        with pytest.raises(ValueError, match="finite"):
            client.feedback("shop", "d-1", value)

    def test_a_callback_that_fails_does_not_end_the_background(self, platform: FakePlatform, options: Make) -> None:
        def fail(_: ProblemError) -> None:
            raise RuntimeError("the product's own mistake")

        platform.bad_metrics = {"clik"}
        quick = options(flush_interval=0.01, on_error=fail)
        client = Rewardloop("http://platform", "key", quick, platform.transport)
        client.feedback("shop", "d-1", 1, "clik")
        deadline = time.monotonic() + 60
        while not platform.asked:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        platform.bad_metrics = set()
        client.close()
        assert len(platform.events) == 1

    def test_a_time_without_its_zone_is_refused(self, client: Rewardloop) -> None:
        with pytest.raises(ValueError, match="time zone"):
            client.feedback("shop", "d-1", 1, occurred_at=datetime(2026, 11, 23))  # noqa: DTZ001 - that is the point


class TestAway:
    def test_the_baseline_is_served_and_told_later_with_its_true_probability(
        self, client: Rewardloop, platform: FakePlatform
    ) -> None:
        platform.away = True
        decision = client.decide("shop", {"title": "Red shoe"}, actions=["a", "b", "c"], baseline="b")
        client.feedback("shop", decision, 1)
        assert (decision.action_id, decision.probability, decision.is_local) == ("b", 1.0, True)
        assert decision.fallback_reason == "platform_unreachable"
        platform.away = False
        client.flush()
        body, answer = platform.decisions[decision.decision_id]
        assert body["excluded_action_ids"] == ["a", "c"]
        assert (answer["action_id"], answer["probability"]) == ("b", 1.0)
        # The decision first, then what came of it.
        assert [path.split("/")[4] for _, path in platform.asked] == ["decisions", "feedback"]

    def test_without_a_baseline_it_is_the_first_candidate_that_is_allowed(
        self, client: Rewardloop, platform: FakePlatform
    ) -> None:
        client.decide("shop", {})
        platform.away = True
        assert client.decide("shop", {}, actions=["x", "y"]).action_id == "x"
        assert client.decide("shop", {}, actions=["x", "y"], excluded=["x"], baseline="x").action_id == "y"
        assert client.decide("shop", {}).action_id == "a"
        platform.away = False
        client.flush()
        assert [answer["probability"] for _, answer in platform.decisions.values()] == [0.5, 1.0, 1.0, 1.0]

    def test_where_no_candidates_are_known_it_is_told_as_served(
        self, client: Rewardloop, platform: FakePlatform
    ) -> None:
        platform.away = True
        decision = client.decide("shop", {}, baseline="b")
        platform.away = False
        client.flush()
        assert platform.bodies[0]["deferred"] is True
        path = f"/v1/loops/shop/decisions/{decision.decision_id}/activate"
        assert (platform.asked[1], platform.bodies[1]) == (("POST", path), {"served_action_id": "b"})

    def test_without_any_known_action_it_is_an_error(self, client: Rewardloop, platform: FakePlatform) -> None:
        platform.away = True
        with pytest.raises(UnreachableError):
            client.decide("shop", {})

    def test_local_decisions_can_be_switched_off(self, platform: FakePlatform, options: Make) -> None:
        platform.away = True
        with (
            Rewardloop("http://platform", "key", options(fallback=False), platform.transport) as client,
            pytest.raises(UnreachableError),
        ):
            client.decide("shop", {}, baseline="a")

    def test_an_outage_is_noticed_once_a_second(
        self, client: Rewardloop, platform: FakePlatform, clock: ManualClock
    ) -> None:
        platform.instead = [problem(503, "The event log is not available")] * 3
        for _ in range(5):
            assert client.decide("shop", {}, actions=["a"]).is_local
        assert len(platform.asked) == 3
        clock.now += 1.0
        assert not client.decide("shop", {}, actions=["a"]).is_local

    def test_a_full_outbox_does_not_stop_the_product(self, platform: FakePlatform, options: Make) -> None:
        platform.away = True
        with Rewardloop("http://platform", "key", options(outbox_limit=1), platform.transport) as client:
            assert [client.decide("shop", {}, baseline="b").action_id for _ in range(3)] == ["b"] * 3

    def test_what_answers_in_the_platforms_place_is_not_believed(
        self, client: Rewardloop, platform: FakePlatform, clock: ManualClock
    ) -> None:
        platform.instead = [httpx.Response(200, text="<html>Sign in"), httpx.Response(200, json={})]
        for _ in range(2):
            assert client.decide("shop", {}, baseline="b").is_local
            clock.now += 1.0
        assert not client.decide("shop", {}, baseline="b").is_local

    def test_where_the_platform_had_decided_alike_the_feedback_counts(
        self, client: Rewardloop, platform: FakePlatform, refused: list[ProblemError]
    ) -> None:
        platform.losing = 3
        decision = client.decide("shop", {}, actions=["a", "b"], baseline="b")
        client.feedback("shop", decision, 1)
        client.flush()
        assert decision.is_local
        assert (len(platform.events), refused) == (1, [])

    def test_where_the_platform_had_decided_otherwise_the_feedback_is_dropped_and_told(
        self, client: Rewardloop, platform: FakePlatform, refused: list[ProblemError]
    ) -> None:
        platform.losing = 3
        decision = client.decide("shop", {}, actions=["a", "b"], baseline="a")
        client.feedback("shop", decision, 1)
        client.feedback("shop", "d-9", 1)
        client.flush()
        assert [event["decision_id"] for event in platform.events.values()] == ["d-9"]
        assert len(refused) == 1
        assert decision.decision_id in str(refused[0])


def test_activations_and_ends_go_out_in_order(client: Rewardloop, platform: FakePlatform) -> None:
    decision = client.decide("shop", {}, deferred=True)
    client.activate("shop", decision, served_action_id="b")
    client.end_episode("shop", "e-1", decision, "truncated")
    client.feedback("shop", decision, 1)
    client.flush()
    assert [path.rpartition("/")[2] for _, path in platform.asked] == ["decisions", "activate", "end", "feedback"]
    assert platform.bodies[1:3] == [
        {"served_action_id": "b"},
        {"end": "truncated", "decision_id": decision.decision_id},
    ]


def test_a_local_deferred_decision_is_activated_with_what_was_served(
    client: Rewardloop, platform: FakePlatform
) -> None:
    platform.away = True
    client.activate("shop", client.decide("shop", {}, baseline="b", deferred=True))
    platform.away = False
    client.flush()
    assert platform.bodies[1:] == [{"served_action_id": "b"}]


def test_a_post_of_ones_own_is_not_repeated(client: Rewardloop, platform: FakePlatform) -> None:
    platform.losing = 1
    with pytest.raises(UnreachableError):
        client.request("POST", "/v1/loops/shop/training-runs", {})
    assert len(platform.asked) == 1


def test_without_a_key_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REWARDLOOP_KEY", raising=False)
    with pytest.raises(ValueError, match="REWARDLOOP_KEY"):
        Rewardloop("http://platform")


SCRIPT = """
import sys
from rewardloop import Options, Rewardloop
client = Rewardloop(sys.argv[1], "key", Options(flush_interval=3600))
client.feedback("shop", "d-1", 1)
"""


def test_what_waits_at_the_interpreters_end_is_delivered() -> None:
    bodies = delivered_by(SCRIPT)
    assert len(bodies) == 1
    assert b'"decision_id":"d-1"' in bodies[0]
