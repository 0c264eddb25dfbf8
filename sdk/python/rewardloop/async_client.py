"""The client for asyncio."""

import asyncio
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Self, Unpack

import httpx

from rewardloop.answers import Decision, JsonObject
from rewardloop.calls import LOOP_SECONDS, Call, address, decide_body, decide_call
from rewardloop.courier import LONGEST_PAUSE, Courier
from rewardloop.errors import UnreachableError
from rewardloop.fallback import Fallback
from rewardloop.options import DecideOptions, Options
from rewardloop.outbox import Outbox
from rewardloop.problems_log import log
from rewardloop.sending import Attempts, Sender, content_of, headers_of, url_of
from rewardloop.telling import Telling


class AsyncRewardloop(Telling):
    """`Rewardloop` for asyncio: the same methods, awaited where they wait. One event loop uses it.

    Close it, or use `async with`. What an unclosed one has not delivered is delivered at the interpreter's end.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        options: Options | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._options = options or Options()
        address_, headers = url_of(url), headers_of(key)
        self._http = httpx.AsyncClient(
            base_url=address_, headers=headers, timeout=self._options.timeout, transport=transport
        )
        self._outbox = Outbox(self._options.outbox_limit, self._options.on_error)
        self._fallback = Fallback(self._outbox, self._options.fallback, self._options.clock)
        self._delivering = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._finish = weakref.finalize(self, _deliver_rest, self._outbox, address_, headers, self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Delivers what waits, for `close_timeout` seconds at most; once more does nothing."""
        if self._finish.detach() is None:
            return
        if self._task is not None:
            self._task.cancel()
        try:
            async with asyncio.timeout(self._options.close_timeout):
                while len(self._outbox):
                    await self._deliver_or_wait(self._options.flush_interval)
        except TimeoutError:
            log.error("%d things were not delivered: the platform is away", len(self._outbox))
        await self._http.aclose()

    async def decide(self, loop_id: str, context: Mapping[str, object], **options: Unpack[DecideOptions]) -> Decision:
        """As `Rewardloop.decide`."""
        body = decide_body(context, options)
        decision = self._fallback.while_away(loop_id, body)
        if decision is None:
            try:
                answer = await self._send(decide_call(loop_id, body, self._options.decide_timeout))
                return self._fallback.answered(loop_id, answer)
            except UnreachableError as error:
                decision = self._fallback.unanswered(loop_id, body, error)
        self._wake()
        return decision

    async def flush(self) -> None:
        """As `Rewardloop.flush`."""
        async with self._delivering:
            delivery = self._outbox.delivering()
            call = next(delivery, None)
            while call is not None:
                answer = await self._send(call)
                try:
                    call = delivery.send(answer)
                except StopIteration:
                    return

    async def put_loop(self, loop_id: str, settings: Mapping[str, object]) -> JsonObject:
        """As `Rewardloop.put_loop`."""
        return await self.request("PUT", address(loop_id), settings, LOOP_SECONDS)

    async def get_decision(self, loop_id: str, decision_id: str) -> JsonObject:
        """As `Rewardloop.get_decision`."""
        return await self.request("GET", address(loop_id, "decisions", decision_id))

    async def statistics(self, loop_id: str) -> JsonObject:
        """As `Rewardloop.statistics`."""
        return await self.request("GET", address(loop_id, "statistics"))

    async def request(self, method: str, path: str, body: object = None, timeout: float | None = None) -> JsonObject:  # noqa: ASYNC109 - of the call, as httpx has it
        """As `Rewardloop.request`."""
        return content_of(await self._send(Call(method, path, body, timeout, again=method != "POST")))

    async def _send(self, call: Call) -> httpx.Response:
        attempts = Attempts(call, self._options.retry, self._options.clock)
        while True:
            answer, error = None, None
            try:
                answer = await self._http.send(attempts.request(self._http))
            except httpx.TransportError as failed:
                error = failed
            pause = attempts.pause(answer, error)
            if pause is None:
                assert answer is not None
                return answer
            await asyncio.sleep(pause)

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._deliver_soon(), name="rewardloop")

    async def _deliver_soon(self) -> None:
        """Until nothing waits any more."""
        pause = self._options.flush_interval
        await asyncio.sleep(pause)
        while len(self._outbox):
            pause = min(LONGEST_PAUSE, 2 * pause)
            await self._deliver_or_wait(pause)

    async def _deliver_or_wait(self, pause: float) -> None:
        try:
            await self.flush()
        except UnreachableError as error:
            log.warning("%d things wait to be delivered: %s", len(self._outbox), error)
            await asyncio.sleep(pause)


def _deliver_rest(outbox: Outbox, url: str, headers: dict[str, str], options: Options) -> None:
    """Without an event loop: there is none any more at the interpreter's end."""
    if len(outbox):
        with httpx.Client(base_url=url, headers=headers, timeout=options.timeout) as http:
            sender = Sender(http, options.retry, options.clock)
            Courier(outbox, sender.send, options.flush_interval).close(options.close_timeout)
