"""The client for code that waits."""

import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Self, Unpack

import httpx

from rewardloop.answers import Decision, JsonObject
from rewardloop.calls import LOOP_SECONDS, Call, address, decide_body, decide_call
from rewardloop.courier import Courier
from rewardloop.errors import UnreachableError
from rewardloop.fallback import Fallback
from rewardloop.options import DecideOptions, Options
from rewardloop.outbox import Outbox
from rewardloop.sending import Sender, content_of, headers_of, url_of
from rewardloop.telling import Telling


class Rewardloop(Telling):
    """Decides at once, and tells in the background. Threads may share one; after a fork each process needs its own.

    `url` and `key` come from REWARDLOOP_URL and REWARDLOOP_KEY where they are not given.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        options: Options | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._options = options or Options()
        http = httpx.Client(
            base_url=url_of(url), headers=headers_of(key), timeout=self._options.timeout, transport=transport
        )
        self._sender = Sender(http, self._options.retry, self._options.clock)
        self._outbox = Outbox(self._options.outbox_limit, self._options.on_error)
        self._fallback = Fallback(self._outbox, self._options.fallback, self._options.clock)
        self._courier = Courier(self._outbox, self._sender.send, self._options.flush_interval)
        # Runs at the interpreter's end too: what waits is delivered by then.
        self._finish = weakref.finalize(self, _finish, self._courier, http, self._options.close_timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Delivers what waits, for `close_timeout` seconds at most; once more does nothing."""
        self._finish()

    def decide(self, loop_id: str, context: Mapping[str, object], **options: Unpack[DecideOptions]) -> Decision:
        """Chooses an action; what a context may hold stands at `rewardloop.values.value_of`.

        Raises:
            ProblemError: the platform refused; `field` says what is at fault.
            UnreachableError: it is away, and no action is known to choose in its place.
        """
        body = decide_body(context, options)
        decision = self._fallback.while_away(loop_id, body)
        if decision is None:
            try:
                answer = self._sender.send(decide_call(loop_id, body, self._options.decide_timeout))
                return self._fallback.answered(loop_id, answer)
            except UnreachableError as error:
                decision = self._fallback.unanswered(loop_id, body, error)
        self._wake()
        return decision

    def flush(self) -> None:
        """Returns once everything that was told is durable.

        Raises:
            UnreachableError: the platform is away; what waits is kept, and sent when it is back.
        """
        self._courier.deliver()

    def put_loop(self, loop_id: str, settings: Mapping[str, object]) -> JsonObject:
        """Creates or changes a loop, with a manage key; its settings with every default."""
        return self.request("PUT", address(loop_id), settings, LOOP_SECONDS)

    def get_decision(self, loop_id: str, decision_id: str) -> JsonObject:
        """A decision with its feedback and its reward so far; there as soon as the platform has joined it."""
        return self.request("GET", address(loop_id, "decisions", decision_id))

    def statistics(self, loop_id: str) -> JsonObject:
        """What a loop gathered and earned."""
        return self.request("GET", address(loop_id, "statistics"))

    def request(self, method: str, path: str, body: object = None, timeout: float | None = None) -> JsonObject:
        """Any call of the API; its answer, empty where there is none. A POST is not repeated.

        Raises:
            ProblemError: the platform refused.
            UnreachableError: it is away.
        """
        return content_of(self._sender.send(Call(method, path, body, timeout, again=method != "POST")))

    def _wake(self) -> None:
        self._courier.wake()


def _finish(courier: Courier, http: httpx.Client, timeout: float) -> None:
    courier.close(timeout)
    http.close()
