"""Evaluations over HTTP: a log is imported, and its figures are those that others have published of it."""

import csv
import gzip
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from tests.e2e.conftest import until

Answer = dict[str, Any]
NDJSON = {"Content-Type": "application/x-ndjson"}
TIME = "2019-11-24T00:00:00Z"
# Published to six digits.
PUBLISHED = 1e-6


def put_log(http: httpx.Client, loop_id: str, actions: list[str], **more: object) -> None:
    """A loop that nothing is learned in."""
    body = {
        "modalities": {"place": {"kind": "tabular"}},
        "actions": [{"id": one} for one in actions],
        "learning_mode": "logging_only",
    }
    http.put(f"/v1/loops/{loop_id}", json=body | more, timeout=60).raise_for_status()


def import_rows(http: httpx.Client, loop_id: str, lines: bytes, **query: str) -> Answer:
    url = f"/v1/loops/{loop_id}/experiences:import"
    answer = http.post(url, params=query, content=lines, headers=NDJSON, timeout=120).raise_for_status()
    report: Answer = answer.json()

    def is_joined() -> bool:
        found = http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()["experiences"]
        return int(found) >= report["accepted"]

    # A busy machine takes longer than an evaluation waits for the joiner.
    until(is_joined, "the import is joined", 300)
    return report


def evaluate(http: httpx.Client, loop_id: str, target: object, **more: object) -> Answer:
    """The result, once it is there."""
    url = f"/v1/loops/{loop_id}/evaluations"
    asked = http.post(url, json={"target": target, "estimators": ["ips", "snips"]} | more).raise_for_status().json()
    answer: Answer = {}

    def is_done() -> bool:
        answer.update(http.get(f"{url}/{asked['evaluation_id']}").raise_for_status().json())
        return answer["status"] in ("succeeded", "failed")

    until(is_done, "the evaluation is done", 120)
    assert answer["status"] == "succeeded", answer["detail"]
    assert answer["progress"] == 1.0
    result: Answer = answer["result"]
    return result


def values(result: Answer) -> dict[str, float]:
    return {name: estimate["value"] for name, estimate in result["estimates"].items()}


def jsonl(rows: list[Answer]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


def test_an_import_is_the_data_of_an_evaluation(http: httpx.Client) -> None:
    """By a table that depends on the context, against a loop over the rows; sent twice, it counts once."""
    generator, shares = np.random.default_rng(5), {"x": {"a": 0.9, "b": 0.1}, "y": {"a": 0.2, "b": 0.8}}
    rows, weighed = [], []
    for index in range(400):
        place, taken = ("x", "y")[index % 2], "a" if generator.random() < 0.7 else "b"
        reward, p = float(generator.random() < 0.5), 0.7 if taken == "a" else 0.3
        of = {"decision_id": f"d{index}", "time": TIME, "action_id": taken, "reward": reward, "probability": p}
        rows.append(of | {"context": {"place": {"shelf": place}}})
        weighed.append((shares[place][taken] / p, reward))
    put_log(http, "shelves", ["a", "b"])
    assert import_rows(http, "shelves", jsonl(rows))["accepted"] == 400
    table = {"table": {"context_key": "place.shelf", "by_key": shares}}
    result = evaluate(http, "shelves", table, estimators=["ips", "snips", "dm", "dr", "switch_dr", "replay"])
    weights, rewards = np.array(weighed).T
    assert result["estimates"]["ips"]["value"] == pytest.approx((weights * rewards).mean())
    assert result["estimates"]["snips"]["value"] == pytest.approx((weights * rewards).sum() / weights.sum())
    assert result["effective_sample_size"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert (result["rows"], result["clusters"], result["verdict"]) == (400, 400, "enough")
    low, high = result["estimates"]["dr"]["normal"]
    assert low < result["estimates"]["switch_dr"]["value"] < high
    import_rows(http, "shelves", jsonl(rows))
    clipped = evaluate(http, "shelves", table, clip=1.0)
    assert clipped["rows"] == 400
    assert values(clipped)["ips"] == pytest.approx((np.minimum(weights, 1) * rewards).mean())


@pytest.mark.parametrize(
    ("campaign", "actions", "figures"),
    [
        ("men", 34, {"prod": (0.004534, 0.004604, 2467), "freq": (0.005656, 0.005740, 2869)}),
        pytest.param(
            "all", 80, {"prod": (0.004553, 0.004776, 1640), "freq": (0.005035, 0.005253, 2639)}, marks=pytest.mark.long
        ),
    ],
)
def test_the_open_bandit_data_set(
    http: httpx.Client,
    shared_data: Path,
    campaign: str,
    actions: int,
    figures: dict[str, tuple[float, float, float]],
) -> None:
    folder = shared_data / "obd"
    with gzip.open(folder / "random" / campaign / f"{campaign}.csv.gz", "rt") as file:
        rows = [
            {
                "decision_id": f"r{row['']}",
                "time": TIME,
                "context": {"place": {"position": row["position"]}},
                "action_id": row["item_id"],
                "probability": float(row["propensity_score"]),
                "reward": float(row["click"]),
            }
            for row in csv.DictReader(file)
        ]
    loop_id = f"obd-{campaign}"
    put_log(http, loop_id, [str(item) for item in range(actions)])
    assert import_rows(http, loop_id, jsonl(rows))["accepted"] == 10_000
    for name, (ips, snips, sample_size) in figures.items():
        with (folder / f"pi_bts_{name}_{campaign}.csv").open() as file:
            items = list(csv.DictReader(file))
        by_key = {str(p): {row["item_id"]: float(row[f"pos{p}"]) for row in items} for p in (1, 2, 3)}
        table = {"context_key": "place.position", "by_key": by_key}
        result = evaluate(http, loop_id, {"table": table})
        assert values(result) == {
            "ips": pytest.approx(ips, abs=PUBLISHED),
            "snips": pytest.approx(snips, abs=PUBLISHED),
        }
        assert result["effective_sample_size"] == pytest.approx(sample_size, rel=0.01)


@pytest.mark.parametrize(
    ("log", "online", "figures"),
    [
        ("dsjson_cb.json", 0.521739, {"uniform": (0.153453, 0.169014), "baseline": (0.306905, 0.666667)}),
        (
            "cb_100.dsjson",
            0.49,
            {"uniform": (0.474615, 0.422603), "baseline": (0.24, 0.235294), "Cappuccino": (0.579231, 0.682065)},
        ),
    ],
)
def test_logs_of_vowpal_wabbit(
    http: httpx.Client, shared_data: Path, log: str, online: float, figures: dict[str, tuple[float, float]]
) -> None:
    loop_id, lines = f"vw-{log[:2]}", (shared_data / "dsjson" / log).read_bytes()
    put_log(http, loop_id, [])
    count = len(lines.splitlines())
    assert import_rows(http, loop_id, lines, format="dsjson")["accepted"] == count
    for name, (ips, snips) in figures.items():
        result = evaluate(http, loop_id, {"constant": name} if name[0].isupper() else name)
        assert values(result) == {"ips": pytest.approx(ips, abs=1e-4), "snips": pytest.approx(snips, abs=1e-4)}
        assert result["logged"]["value"] == pytest.approx(online, abs=1e-4)
        assert result["verdict"] == "too_little"
    # Everything again, once the joiner has read it: nothing is doubled.
    again = import_rows(http, loop_id, lines, format="dsjson")
    assert (again["accepted"], again["duplicates"]) == (0, count)
    assert evaluate(http, loop_id, "uniform")["rows"] == count
