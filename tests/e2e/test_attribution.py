"""Which modality mattered, whether actions follow the state, and how segments fare: asked over HTTP.

A product whose reward rests on the modality `signal` alone, that brings `noise` beside it four times of five, and that
never offers its third action in DE.
"""

from collections.abc import Iterator
from typing import Final

import httpx
import numpy as np
import pytest

from tests.e2e import product
from tests.e2e.conftest import running, until
from tests.e2e.product import Answer

LOOP: Final = "offers"
DIMENSION: Final = 6
ACTIONS: Final = ("first", "second", "third")
SETTINGS: Final = {
    "modalities": {
        "signal": {"kind": "embedding", "dimension": DIMENSION},
        "noise": {"kind": "embedding", "dimension": DIMENSION},
        "user": {"kind": "tabular"},
    },
    "actions": [{"id": action} for action in ACTIONS],
    "learning": {"max_steps": 300},
    "fairness": {"segments": ["user.country"]},
}


class Product:
    """Its traffic, seeded."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self._generator = np.random.default_rng(0)
        self._shown = 0

    def visit(self) -> Answer:
        self._shown += 1
        context: Answer = {
            "signal": self._generator.normal(size=DIMENSION).tolist(),
            "user": {"country": ("NL", "DE")[self._shown % 2]},
        }
        if self._shown % 5:
            context["noise"] = self._generator.normal(size=DIMENSION).tolist()
        return {"context": context, "excluded_action_ids": ["third"] if self._shown % 2 else []}

    def traffic(self, count: int) -> None:
        """Decisions and their feedback; returns once all of it is experience."""
        before = product.statistics(self.http, LOOP)["experiences"]
        for _ in range(count // 50):
            rows = [self.visit() for _ in range(50)]
            url = f"/v1/loops/{LOOP}"
            decided = self.http.post(f"{url}/decisions:batch", json={"decisions": rows}).raise_for_status().json()
            events = [
                {"decision_id": made["decision_id"], "metric": "reward", "value": made["action_id"] == best(row)}
                for made, row in zip(decided["decisions"], rows, strict=True)
            ]
            self.http.post(f"{url}/feedback", json=events).raise_for_status()
        product.wait_for_experiences(self.http, LOOP, before + count)


def best(row: Answer) -> str:
    return ACTIONS[int(np.argmax(row["context"]["signal"][: len(ACTIONS)]))]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Calls a platform that looks for due reports every second."""
    home = tmp_path_factory.mktemp("attribution") / "state"
    with running(home, variables={"REWARDLOOP_REPORT_SECONDS": "1"}) as platform, platform.client() as client:
        yield client


@pytest.fixture(scope="module")
def learned(http: httpx.Client) -> Product:
    """A version has taken over from the first, and decides."""
    visits = Product(http)
    product.put(http, LOOP, SETTINGS)
    for _ in range(5):
        visits.traffic(300)
        run = product.fine_tune(http, LOOP)
        if run["status"] == "succeeded":
            visits.traffic(400)
            return visits
    raise AssertionError(run)


def reported(http: httpx.Client, sequence: int) -> Answer:
    """Statistics as soon as a report covers so many experiences."""

    def covers() -> bool:
        newest = product.statistics(http, LOOP)["reported"]
        return newest is not None and newest["sequence"] >= sequence

    until(covers, f"a report covers experience {sequence}")
    return product.statistics(http, LOOP)


def test_a_decision_is_explained(learned: Product) -> None:
    row = learned.visit()
    row["context"]["noise"] = [0.5] * DIMENSION
    body = row | {"explain": True, "decision_id": "explained-1"}
    url = f"/v1/loops/{LOOP}/decisions"
    answer = learned.http.post(url, json=body).raise_for_status()
    shares = answer.json()["modality_importance"]
    assert set(shares) == {"signal", "noise", "user"}
    assert sum(shares.values()) == pytest.approx(1)
    assert learned.http.post(url, json=body).content == answer.content
    without = {name: value for name, value in row["context"].items() if name != "noise"}
    shares = learned.http.post(url, json={"context": without, "explain": True}).json()["modality_importance"]
    assert set(shares) == {"signal", "user"}
    assert sum(shares.values()) == pytest.approx(1)
    assert learned.http.post(url, json=row).raise_for_status().json()["modality_importance"] is None

    def stored() -> bool:
        return learned.http.get(f"{url}/explained-1").status_code == httpx.codes.OK

    until(stored, "the joiner has read the decision")
    assert learned.http.get(f"{url}/explained-1").json()["modality_importance"] == answer.json()["modality_importance"]


def test_the_modality_that_the_reward_rests_on_matters_most(learned: Product) -> None:
    told = reported(learned.http, product.statistics(learned.http, LOOP)["experiences"] - 49)
    importance = told["modality_importance"]
    assert told["reported"]["experiences"] <= 1000
    figures = importance["modalities"]
    assert sum(one["share"] for one in figures.values()) == pytest.approx(1)
    assert figures["signal"]["share"] > figures["noise"]["share"]
    for other in ("noise", "user"):
        assert figures["signal"]["loss_rise"] > 2 * max(0.0, figures[other]["loss_rise"])
    rates = {name: one["missing_rate"] for name, one in figures.items()}
    assert rates == pytest.approx({"signal": 0, "noise": 0.2, "user": 0}, abs=0.01)


def test_actions_follow_the_state_and_permuted_ones_do_not(learned: Product) -> None:
    told = reported(learned.http, product.statistics(learned.http, LOOP)["experiences"] - 49)
    correlation = told["modality_correlation"]
    assert correlation["state"]["correlation"] > 0.25
    assert abs(correlation["state"]["permuted"]) < 0.1
    assert set(correlation["state"]["by_action"]) == set(ACTIONS)
    assert correlation["modalities"]["signal"]["correlation"] > 0.25
    assert abs(correlation["modalities"]["noise"]["correlation"]) < 0.2
    history = told["modality_correlation_history"]
    # At first actions were drawn evenly.
    assert history[-1]["correlation"] > history[0]["correlation"]
    assert [one["sequence"] for one in history] == sorted(one["sequence"] for one in history)
    assert history[-1]["sequence"] == told["reported"]["sequence"]


def test_a_planted_difference_between_segments_is_shown(learned: Product) -> None:
    told = reported(learned.http, product.statistics(learned.http, LOOP)["experiences"] - 49)
    fairness = told["fairness"]["user.country"]
    nl, de = fairness["segments"]["NL"], fairness["segments"]["DE"]
    assert nl["decisions"] + de["decisions"] + fairness["left_out"] == told["reported"]["experiences"]
    rates = [one["selection_rates"]["third"] for one in (nl, de)]
    assert rates[1]["value"] == 0
    # The intervals tell them apart.
    assert rates[0]["interval"][0] > rates[1]["interval"][1]
    difference = fairness["demographic_parity_difference"]["third"]
    assert difference == pytest.approx(rates[0]["value"])
    assert difference > 0.15
    assert fairness["reward_difference"] == pytest.approx(abs(nl["reward"]["value"] - de["reward"]["value"]))
    one = learned.http.get(f"/v1/loops/{LOOP}/statistics", params={"segment": "user.country"})
    assert set(one.raise_for_status().json()["fairness"]) == {"user.country"}


def test_small_segments_are_not_told(learned: Product) -> None:
    changed = SETTINGS | {"fairness": {"segments": ["user.country"], "min_decisions": 1000}}
    learned.http.put(f"/v1/loops/{LOOP}", json=changed).raise_for_status()
    learned.traffic(100)
    told = reported(learned.http, product.statistics(learned.http, LOOP)["experiences"] - 49)
    fairness = told["fairness"]["user.country"]
    assert (fairness["segments"], fairness["left_out"]) == ({}, told["reported"]["experiences"])
    assert fairness["demographic_parity_difference"] is None
