"""Turns requests that come one by one into calls that carry many, so that a hop is paid once a batch."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[I, R]):
    item: I
    result: asyncio.Future[R]


@dataclass(slots=True)
class _Lane(Generic[I, R]):
    """What waits under one key, and how many calls are under way; `starts`: one of them has not taken its items yet."""

    waiting: deque[_Waiting[I, R]]
    calls: int = 0
    starts: bool = False


class Gatherer(Generic[K, I, R]):
    """For each key so many calls at a time: what came in the meantime goes together with the next one.

    There is no timer. An item that finds a call free goes at the event loop's next turn, with all others of its key
    that came in this one.
    """

    def __init__(
        self,
        call: Callable[[K, Sequence[I]], Awaitable[Sequence[R]]],
        most: int = 64,
        weigh: Callable[[I], int] | None = None,
        most_weight: int = 16 * 1024 * 1024,
        at_once: int = 1,
    ) -> None:
        """`call` gives one result an item, in order; it gets `most` items and their `most_weight` bytes at most."""
        self._call = call
        self._most = most
        self._weigh = weigh
        self._most_weight = most_weight
        self._at_once = at_once
        self._lanes: dict[K, _Lane[I, R]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, key: K, item: I) -> R:
        """The result of the item. What the call raises, each of its items raises."""
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(deque())
        lane.waiting.append(_Waiting(item, result))
        if lane.calls < self._at_once and not lane.starts:
            lane.calls, lane.starts = lane.calls + 1, True
            # In nobody's context: the call is for many, and the task goes on with others.
            task = asyncio.create_task(self._empty(key, lane), context=Context())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        return await result

    def waiting(self, key: K) -> int:
        """Items that no call has taken yet."""
        lane = self._lanes.get(key)
        return 0 if lane is None else len(lane.waiting)

    async def _empty(self, key: K, lane: _Lane[I, R]) -> None:
        lane.starts = False
        while batch := self._next_batch(lane.waiting):
            await self._answer(key, batch)
        lane.calls -= 1
        if not lane.calls:
            del self._lanes[key]

    def _next_batch(self, waiting: deque[_Waiting[I, R]]) -> list[_Waiting[I, R]]:
        batch: list[_Waiting[I, R]] = []
        weight = 0
        while waiting and len(batch) < self._most:
            if waiting[0].result.done():  # its caller is gone
                waiting.popleft()
                continue
            weight += self._weigh(waiting[0].item) if self._weigh else 0
            if batch and weight > self._most_weight:
                break
            batch.append(waiting.popleft())
        return batch

    async def _answer(self, key: K, batch: Sequence[_Waiting[I, R]]) -> None:
        try:
            results = await self._call(key, [one.item for one in batch])
            answered = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - it is raised where the results are awaited
            for one in batch:
                if not one.result.done():
                    one.result.set_exception(error)
            return
        for one, result in answered:
            if not one.result.done():
                one.result.set_result(result)
