"""The gatherer: what waits goes together, and nothing is lost when calls fail or callers leave."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.gatherer import Gatherer


class Service:
    """Doubles numbers, one batch at a time, when it is told to."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.gate = asyncio.Event()

    async def __call__(self, key: str, items: Sequence[int]) -> list[int]:
        self.batches.append((key, list(items)))
        await self.gate.wait()
        if -1 in items:
            raise ValueError("a poisoned batch")
        return [2 * item for item in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_during_a_call_goes_with_the_next_one() -> None:
    service = Service()
    gatherer = Gatherer(service, most=3)
    tasks = [asyncio.create_task(gatherer.submit("a", item)) for item in range(2)]
    await settle()
    tasks += [asyncio.create_task(gatherer.submit("a", item)) for item in range(2, 7)]
    tasks.append(asyncio.create_task(gatherer.submit("b", 7)))
    await settle()
    assert service.batches == [("a", [0, 1]), ("b", [7])]
    service.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert service.batches == [("a", [0, 1]), ("b", [7]), ("a", [2, 3, 4]), ("a", [5, 6])]


async def test_two_calls_at_once_share_what_comes_and_a_third_waits() -> None:
    service = Service()
    gatherer = Gatherer(service, at_once=2)
    tasks = []
    for items in ((0, 1), (2, 3), (4, 5), (6,)):
        tasks += [asyncio.create_task(gatherer.submit("a", item)) for item in items]
        await settle()
    assert service.batches == [("a", [0, 1]), ("a", [2, 3])]
    service.gate.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10, 12]
    assert service.batches[2:] == [("a", [4, 5, 6])]


async def test_heavy_items_are_split_and_one_too_heavy_goes_alone() -> None:
    service = Service()
    service.gate.set()
    gatherer = Gatherer(service, weigh=lambda item: item, most_weight=10)
    await asyncio.gather(*(gatherer.submit("a", item) for item in (4, 6, 1, 99, 5)))
    assert [items for _, items in service.batches] == [[4, 6], [1], [99], [5]]


async def test_a_failed_call_fails_its_items_and_no_others() -> None:
    service = Service()
    gatherer = Gatherer(service)
    first = asyncio.gather(*(gatherer.submit("a", item) for item in (1, -1)), return_exceptions=True)
    await settle()
    second = asyncio.create_task(gatherer.submit("a", 3))
    await settle()
    service.gate.set()
    assert [type(error) for error in await first] == [ValueError, ValueError]
    assert await second == 6


async def test_an_item_whose_caller_left_is_not_sent() -> None:
    service = Service()
    gatherer = Gatherer(service)
    tasks = [asyncio.create_task(gatherer.submit("a", item)) for item in (1, 2)]
    await settle()
    waiting = [asyncio.create_task(gatherer.submit("a", item)) for item in (3, 4)]
    await settle()
    for task in (tasks[0], waiting[0]):
        task.cancel()
    service.gate.set()
    assert [await tasks[1], await waiting[1]] == [4, 8]
    assert [items for _, items in service.batches] == [[1, 2], [4]]


async def test_a_call_that_answers_too_few_is_an_error_for_all() -> None:
    async def short(_: str, items: Sequence[int]) -> list[int]:
        return list(items)[1:]

    gatherer = Gatherer(short)
    with pytest.raises(ValueError, match="shorter"):
        await asyncio.wait_for(asyncio.gather(gatherer.submit("a", 1), gatherer.submit("a", 2)), 5)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(0, 3)), max_size=40))
def test_everyone_gets_their_own_result(arrivals: list[tuple[str, int, int]]) -> None:
    async def double(_: str, items: Sequence[int]) -> list[int]:
        assert len(items) <= 4
        await asyncio.sleep(0)
        return [2 * item for item in items]

    async def submit(gatherer: Gatherer[str, int, int], key: str, item: int, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await gatherer.submit(key, item)

    async def run() -> list[int]:
        gatherer = Gatherer(double, most=4, weigh=lambda item: item, most_weight=30)
        return await asyncio.gather(*(submit(gatherer, *arrival) for arrival in arrivals))

    assert asyncio.run(run()) == [2 * item for _, item, _ in arrivals]
