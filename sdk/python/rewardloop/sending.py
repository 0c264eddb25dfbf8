"""Sends calls, again where that may help and does no harm; and what their answers come to."""

import os
import time
from collections.abc import Callable
from typing import Final

import httpx

from rewardloop.answers import JsonObject
from rewardloop.calls import Call
from rewardloop.errors import UnreachableError, problem_of
from rewardloop.retrying import Retry, is_away

DEFAULT_URL: Final = "http://127.0.0.1:8000"
LEAST_TIMEOUT: Final = 0.001


class Attempts:
    """The attempts at one call. The clock gives seconds."""

    def __init__(self, call: Call, retry: Retry, clock: Callable[[], float]) -> None:
        self._call = call
        self._retry = retry
        self._clock = clock
        self._started = clock()
        self._count = 0

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The next one's request, with what is left of the call's time."""
        self._count += 1
        call = self._call
        if call.timeout is None:
            return http.build_request(call.method, call.path, json=call.body)
        left = max(LEAST_TIMEOUT, call.timeout - (self._clock() - self._started))
        return http.build_request(call.method, call.path, json=call.body, timeout=left)

    def pause(self, answer: httpx.Response | None, error: httpx.TransportError | None) -> float | None:
        """Seconds until the next one; None: the answer stands.

        Raises:
            UnreachableError: there is none, or it says that the platform cannot now, and it is not tried again.
        """
        if answer is not None and not is_away(answer):
            return None
        pause = self._retry.pause(self._count, answer) if self._call.again else None
        allowed = self._call.timeout
        if pause is None or (allowed is not None and self._clock() - self._started + pause >= allowed):
            raise UnreachableError(_reason(answer, error)) from error
        return pause


class Sender:
    """Sends by a client that waits."""

    def __init__(self, http: httpx.Client, retry: Retry, clock: Callable[[], float]) -> None:
        self._http = http
        self._retry = retry
        self._clock = clock

    def send(self, call: Call) -> httpx.Response:
        """The platform's answer, whatever it says of the call itself.

        Raises:
            UnreachableError: there was none in time, or it says that it cannot now.
        """
        attempts = Attempts(call, self._retry, self._clock)
        while True:
            answer, error = None, None
            try:
                answer = self._http.send(attempts.request(self._http))
            except httpx.TransportError as failed:
                error = failed
            pause = attempts.pause(answer, error)
            if pause is None:
                assert answer is not None
                return answer
            time.sleep(pause)


def url_of(url: str | None) -> str:
    return url or os.environ.get("REWARDLOOP_URL") or DEFAULT_URL


def headers_of(key: str | None) -> dict[str, str]:
    """What every call carries.

    Raises:
        ValueError: there is no key.
    """
    found = key or os.environ.get("REWARDLOOP_KEY")
    if not found:
        raise ValueError("no key: give one, or set REWARDLOOP_KEY")
    return {"Authorization": f"Bearer {found.strip()}"}


def content_of(answer: httpx.Response) -> JsonObject:
    """The body, empty where there is none.

    Raises:
        ProblemError: the platform refused.
    """
    if not answer.is_success:
        raise problem_of(answer)
    body: JsonObject = answer.json() if answer.content else {}
    return body


def _reason(answer: httpx.Response | None, error: httpx.TransportError | None) -> str:
    if answer is not None:
        return str(problem_of(answer))
    return f"the platform does not answer: {str(error) or type(error).__name__}"
