"""The client for asyncio does what the other one does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from rewardloop import AsyncRewardloop, Options, ProblemError, UnreachableError
from tests.unit.sdk.conftest import FakePlatform, delivered_by, problem

Make = Callable[..., Options]


@pytest.fixture
async def client(platform: FakePlatform, options: Make) -> AsyncIterator[AsyncRewardloop]:
    async with AsyncRewardloop("http://platform", "key", options(), platform.transport) as client:
        yield client


async def test_it_decides_again_after_a_lost_answer_and_tells(client: AsyncRewardloop, platform: FakePlatform) -> None:
    platform.losing = 2
    decision = await client.decide("shop", {"title": "Red shoe"})
    client.activate("shop", decision)
    client.feedback("shop", decision, 1)
    client.end_episode("shop", "e-1", decision)
    await client.flush()
    assert len(platform.decisions) == 1
    assert [path.rpartition("/")[2] for _, path in platform.asked[3:]] == ["activate", "feedback", "end"]


async def test_many_decide_at_once(client: AsyncRewardloop, platform: FakePlatform) -> None:
    made = await asyncio.gather(*(client.decide("shop", {}) for _ in range(50)))
    for decision in made:
        client.feedback("shop", decision, 1)
    await asyncio.gather(client.flush(), client.flush())
    assert len(platform.decisions) == len(platform.events) == 50


async def test_a_refusal_is_told(client: AsyncRewardloop, platform: FakePlatform) -> None:
    platform.instead = [problem(404, "There is no such loop", "loop_id")]
    with pytest.raises(ProblemError, match="no such loop"):
        await client.decide("shop", {})


async def test_without_the_platform_it_serves_the_baseline_and_tells_later(
    client: AsyncRewardloop, platform: FakePlatform
) -> None:
    platform.away = True
    decision = await client.decide("shop", {}, actions=["a", "b"], baseline="b")
    client.feedback("shop", decision, 1)
    with pytest.raises(UnreachableError):
        await client.flush()
    platform.away = False
    await client.flush()
    assert platform.decisions[decision.decision_id][1]["probability"] == 1.0
    assert len(platform.events) == 1


async def test_the_background_waits_for_the_platform(platform: FakePlatform, options: Make) -> None:
    platform.away = True
    quick = options(flush_interval=0.001)
    async with AsyncRewardloop("http://platform", "key", quick, platform.transport) as client:
        client.feedback("shop", "d-1", 1)
        await asyncio.sleep(0.01)
        platform.away = False
        async with asyncio.timeout(60):
            while not platform.events:
                await asyncio.sleep(0.005)


async def test_closing_delivers_what_waits(platform: FakePlatform, options: Make) -> None:
    client = AsyncRewardloop("http://platform", "key", options(close_timeout=10.0), platform.transport)
    client.feedback("shop", "d-1", 1)
    await client.close()
    await client.close()
    assert len(platform.events) == 1
    with pytest.raises(RuntimeError, match="closed"):
        client.feedback("shop", "d-2", 1)


SCRIPT = """
import asyncio, sys
from rewardloop import AsyncRewardloop
async def main():
    client = AsyncRewardloop(sys.argv[1], "key")
    client.feedback("shop", "d-1", 1)
    return client
client = asyncio.run(main())
"""


def test_what_an_unclosed_client_has_not_delivered_is_delivered_at_the_end() -> None:
    bodies = delivered_by(SCRIPT)
    assert b'"decision_id":"d-1"' in bodies[0]
