"""Equations 10 and 16 at work: what a loop's reward settings make of feedback, through the public API alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

import httpx
import numpy as np
import pytest

from examples import captions
from shared.functional.rewards import bleu, captioning_reward, detail, length
from tests.e2e import product
from tests.e2e.conftest import until
from tests.e2e.product import Answer

RED = "a big red shoe on white"
# Fine-tunes when asked, and briefly.
QUIET = {"learning": {"min_experiences": 1_000_000, "max_steps": 250}}
REFERENCES = ["a red shoe", "one shoe in red"]


def put(http: httpx.Client, loop_id: str, **settings: object) -> None:
    body = {"modalities": {"title": {"kind": "text"}, "rating": {"kind": "tabular"}}, "actions": [{"id": "a"}]}
    product.put(http, loop_id, body | settings)


def decide(http: httpx.Client, loop_id: str, context: dict[str, object]) -> str:
    answer = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": context})
    return str(answer.raise_for_status().json()["decision_id"])


def tell(http: httpx.Client, loop_id: str, decision_id: str, **values: float | str | Sequence[str]) -> None:
    """Values by metric; a list is sent one after another."""
    for metric, given in values.items():
        for value in given if isinstance(given, list) else [given]:
            event = {"decision_id": decision_id, "metric": metric, "value": value}
            http.post(f"/v1/loops/{loop_id}/feedback", json=event).raise_for_status()


def read(http: httpx.Client, loop_id: str, decision_id: str) -> Answer | None:
    """None as long as the joiner has not read it."""
    answer = http.get(f"/v1/loops/{loop_id}/decisions/{decision_id}")
    return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()


def joined(http: httpx.Client, loop_id: str, decision_id: str) -> float:
    """The reward once the window has closed."""

    def is_closed() -> bool:
        decision = read(http, loop_id, decision_id)
        return decision is not None and decision["sequence"] is not None

    until(is_closed, f"{decision_id} is an experience")
    return float((read(http, loop_id, decision_id) or {})["reward"])


def test_the_weights_of_two_modalities_make_the_reward(http: httpx.Client) -> None:
    both, bare = {"title": "Red shoe", "rating": {"stars": 4}}, {"title": "Red shoe"}
    for words, stars in ((0.25, 0.5), (4.0, 2.0)):
        metrics = {
            "words": {"weight": words, "modality": "title"},
            "stars": {"weight": stars, "modality": "rating"},
        }
        put(http, "modal", reward={"metrics": metrics, "range": [0, 10]}, close_on_first_feedback=True)
        rewards = []
        for context, read_words, seen_stars in ((both, 1, 0), (both, 0, 1), (both, 1, 1), (bare, 1, 1)):
            decision_id = decide(http, "modal", context)
            tell(http, "modal", decision_id, words=read_words, stars=seen_stars)
            rewards.append(joined(http, "modal", decision_id))
        # Without a rating there is nothing that its metric could judge.
        assert rewards == [words, stars, words + stars, words]


@pytest.mark.parametrize(
    ("weights", "term"),
    [((1, 0, 0), bleu), ((0, 1, 0), detail), ((0, 0, 1), lambda *of: -length(*of)), ((0.5, 2, 3), None)],
    ids=["alpha", "beta", "gamma", "all"],
)
def test_each_weight_of_equation_16_acts(http: httpx.Client, weights: tuple[float, ...], term: object) -> None:
    scorer = dict(zip(("alpha", "beta", "gamma"), weights, strict=True)) | {"kind": "captioning"}
    actions = [{"id": "a", "features": {"caption": RED}}]
    put(http, "captioned", actions=actions, reward={"metrics": {"caption": {"scorer": scorer}}})
    decision_id = decide(http, "captioned", {"title": "x"})
    tell(http, "captioned", decision_id, caption=REFERENCES[0])
    expected = term(RED, REFERENCES[:1]) if callable(term) else captioning_reward(RED, REFERENCES[:1], *weights)
    assert abs(expected) > 0.1
    assert joined(http, "captioned", decision_id) == pytest.approx(expected)


def test_an_open_window_shows_its_texts_and_what_they_come_to(http: httpx.Client) -> None:
    metrics = {"caption": {"scorer": {"kind": "captioning", "caption_feature": "said"}}}
    actions = [{"id": "a", "features": {"said": RED, "caption": "something else"}}]
    put(http, "open", actions=actions, reward={"metrics": metrics}, close_on_first_feedback=False)
    decision_id = decide(http, "open", {"title": "x"})
    for count in (0, 1, 2):
        tell(http, "open", decision_id, caption=REFERENCES[max(count - 1, 0) : count])

        def has_come(count: int = count) -> bool:
            decision = read(http, "open", decision_id)
            return decision is not None and len(decision["feedback"]) == count

        until(has_come, f"{count} references are joined")
        now = read(http, "open", decision_id)
        assert now is not None
        assert now["sequence"] is None
        assert [event["value"] for event in now["feedback"]] == REFERENCES[:count]
        expected = captioning_reward(RED, REFERENCES[:count], 1.0, 0.5, 0.5) if count else None
        assert now["reward"] == (None if expected is None else pytest.approx(expected))


def test_a_reward_that_is_defined_anew_restates_what_is_joined(http: httpx.Client) -> None:
    metrics = {"words": {"weight": 1.0}, "stars": {"weight": 2.0}}
    put(http, "restated", reward={"metrics": metrics, "range": [0, 9]}, close_on_first_feedback=True)
    decided = [decide(http, "restated", {"title": "x"}) for _ in range(3)]
    for stars, decision_id in enumerate(decided):
        tell(http, "restated", decision_id, words=1, stars=stars)
    assert [joined(http, "restated", decision_id) for decision_id in decided] == [1, 3, 5]
    metrics = {"words": {"weight": 1.0}, "stars": {"weight": 4.0}}
    put(http, "restated", reward={"metrics": metrics, "range": [0, 9]}, close_on_first_feedback=True)
    until(lambda: product.statistics(http, "restated")["restated"] == 2, "two rewards are restated")
    assert [joined(http, "restated", decision_id) for decision_id in decided] == [1, 5, 9]
    now = product.statistics(http, "restated")
    assert (now["experiences"], now["reward"]["mean"]) == (3, 5.0)
    items = http.get("/v1/loops/restated/experiences").raise_for_status().json()["items"]
    assert [(one["sequence"], one["revision"], one["restates_sequence"]) for one in items] == [
        (5, 2, 3),
        (4, 2, 2),
        (1, 1, None),
    ]
    until(lambda: product.statistics(http, "restated")["head_sequence"] == 5, "the head has learned of it")


def test_a_window_ends_when_it_was_told_to_and_earns_the_default(http: httpx.Client) -> None:
    for wait, default in (("PT0.2S", 0.25), ("PT0.1S", -1.0)):
        loop_id = f"default{default}".replace(".", "-")
        put(http, loop_id, reward_wait_time=wait, default_reward=default)
        assert joined(http, loop_id, decide(http, loop_id, {"title": "x"})) == default
        put(http, loop_id, reward_wait_time="P30D", default_reward=default)
        waits = decide(http, loop_id, {"title": "x"})
        until(lambda of=(loop_id, waits): read(http, *of) is not None, "it is joined")  # type: ignore[misc] # bound
        answer = read(http, loop_id, waits) or {}
        days = datetime.fromisoformat(answer["closes_at"]) - datetime.fromisoformat(answer["decided_at"])
        assert (days, answer["sequence"]) == (timedelta(days=30), None)


def test_repeated_values_are_aggregated_as_told(http: httpx.Client) -> None:
    """All of them came before the deferred decision was shown, which closes its window."""
    put(http, "repeated", reward={"range": [0, 16]}, close_on_first_feedback=True)
    body = {"context": {"title": "x"}, "deferred": True}
    decision_id = http.post("/v1/loops/repeated/decisions", json=body).raise_for_status().json()["decision_id"]
    tell(http, "repeated", decision_id, reward=[2, 9, 1, 4])

    def rewarded() -> float | None:
        decision = read(http, "repeated", decision_id)
        return None if decision is None or len(decision["feedback"]) < 4 else decision["reward"]

    until(lambda: rewarded() == 2, "all have come")
    http.post(f"/v1/loops/repeated/decisions/{decision_id}/activate").raise_for_status()
    assert joined(http, "repeated", decision_id) == 2
    for aggregation, expected in {"sum": 16, "average": 4, "median": 3, "min": 1, "max": 9, "earliest": 2}.items():
        put(http, "repeated", reward={"range": [0, 16]}, close_on_first_feedback=True, reward_aggregation=aggregation)
        until(lambda of=expected: rewarded() == of, f"{aggregation} counts")  # type: ignore[misc] # bound


def test_late_feedback_counts_where_the_loop_says_so(http: httpx.Client) -> None:
    put(http, "late", reward_aggregation="max", close_on_first_feedback=True)
    decision_id = decide(http, "late", {"title": "x"})
    tell(http, "late", decision_id, reward=0.25)
    assert joined(http, "late", decision_id) == 0.25
    tell(http, "late", decision_id, reward=0.5)

    def told() -> tuple[int, float]:
        decision = read(http, "late", decision_id) or {}
        return len(decision["feedback"]), float(decision["reward"])

    until(lambda: told() == (2, 0.25), "it came late, and does not count")
    put(http, "late", reward_aggregation="max", close_on_first_feedback=True, late_feedback="restate")
    until(lambda: told() == (2, 0.5), "what came late counts now")
    tell(http, "late", decision_id, reward=0.75)
    until(lambda: told() == (3, 0.75), "what comes late counts at once")
    statistics = http.get("/v1/loops/late/statistics").raise_for_status().json()
    assert (statistics["late_feedback"], statistics["restated"]) == (2, 2)


def test_what_a_metric_does_not_take_is_refused_with_its_field(http: httpx.Client) -> None:
    metrics = {"caption": {"scorer": {"kind": "captioning"}}, "click": {}}
    put(http, "strict", reward={"metrics": metrics})
    for metric, value in (("caption", 1), ("click", "lovely")):
        event = {"decision_id": "d", "metric": metric, "value": value}
        problem = http.post("/v1/loops/strict/feedback", json=[event])
        assert (problem.status_code, problem.json()["field"]) == (422, "0.value")
    body = {"modalities": {"title": {"kind": "text"}}, "reward": {"metrics": {"m": {"modality": "photo"}}}}
    problem = http.put("/v1/loops/strict", json=body)
    assert (problem.status_code, problem.json()["field"]) == (422, "reward.metrics.m.modality")


def test_captions_are_learned_from_references_alone(http: httpx.Client) -> None:
    product.put(http, captions.LOOP, captions.SETTINGS | QUIET)
    stream = captions.pictures(seed=1)
    for _ in range(8):
        caption(http, list(islice(stream, 50)))
    product.fine_tune(http, captions.LOOP)
    for _ in range(3):
        caption(http, list(islice(stream, 50)))
    rewards = captions.joined_ledger(http, 550).rewards
    assert len(rewards) == 550
    # An even choice earns .44, the best caption each time 1.08.
    assert np.mean(rewards[-150:]) > captions.even_choice() + 0.15


def caption(http: httpx.Client, pictures: Sequence[captions.Picture]) -> None:
    """As `captions.one_visit`, for many at a time."""
    url = f"/v1/loops/{captions.LOOP}"
    rows = [{"context": captions.context_of(picture)} for picture in pictures]
    decided = http.post(f"{url}/decisions:batch", json={"decisions": rows}).raise_for_status().json()["decisions"]
    events = [
        {"decision_id": one["decision_id"], "metric": "caption", "value": picture.reference}
        for one, picture in zip(decided, pictures, strict=True)
    ]
    http.post(f"{url}/feedback", json=events).raise_for_status()
