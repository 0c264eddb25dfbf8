"""The kill switch on a running platform: what comes meanwhile is kept, and learned from afterwards."""

from examples.visiting import PATIENT, make_loop, wait_until_learned
from rewardloop import Rewardloop
from tests.e2e.conftest import KEY, Platform, until

LOOP = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}


def visit(client: Rewardloop, count: int) -> list[str | None]:
    decisions = [client.decide("frozen", {"title": "Red shoe"}, baseline="b") for _ in range(count)]
    for decision in decisions:
        client.feedback("frozen", decision, 1)
    client.flush()
    return [decision.fallback_reason for decision in decisions]


def test_nothing_is_learned_while_a_loop_is_frozen_and_nothing_is_lost(shared_platform: Platform) -> None:
    with Rewardloop(shared_platform.url, KEY, PATIENT) as client:
        make_loop(client, "frozen", LOOP)
        visit(client, 3)
        wait_until_learned(client, "frozen", 3)
        client.request("POST", "/v1/loops/frozen/freeze", {"serve": "champion"})
        assert visit(client, 3) == [None] * 3
        client.request("POST", "/v1/loops/frozen/freeze", {"serve": "baseline"})
        assert visit(client, 3) == ["frozen"] * 3
        until(lambda: client.statistics("frozen")["experiences"] == 9, "all of it is joined")
        assert client.statistics("frozen")["head_sequence"] == 3
        client.request("POST", "/v1/loops/frozen/unfreeze")
        visit(client, 1)
        wait_until_learned(client, "frozen", 10)
