"""The gateway's HTTP API as commands call it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

JsonObject = dict[str, Any]  # JSON, whatever it holds
Query = Mapping[str, str | int | float | bool]

PAGE: Final = 200
REFUSED: Final = 1
AWAY: Final = 3


class CommandError(Exception):
    """Ends a command: one message for people, and the exit code."""

    def __init__(self, message: str, exit_code: int = REFUSED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class PlatformAwayError(CommandError):
    """The platform does not answer."""

    def __init__(self, url: httpx.URL, reason: Exception) -> None:
        what = type(reason).__name__ if not str(reason) else str(reason)
        super().__init__(
            f"{url} does not answer ({what}): start it with `rewardloop up`, or set REWARDLOOP_URL; "
            "`rewardloop doctor` looks closer",
            AWAY,
        )


class ProblemError(CommandError):
    """The platform said no, or could not."""

    def __init__(self, answer: httpx.Response) -> None:
        problem = _problem(answer)
        title = problem.get("title") or f"HTTP {answer.status_code} {answer.reason_phrase}"
        detail, field = problem.get("detail"), problem.get("field")
        message = f"{title}{'' if not detail else f': {detail}'}{'' if not field else f' (field: {field})'}"
        super().__init__(message, AWAY if answer.is_server_error else REFUSED)
        self.status = answer.status_code


class Api:
    """Calls with one key. Every call raises a CommandError where it does not succeed."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    @property
    def url(self) -> httpx.URL:
        return self._http.base_url

    def get(self, path: str, query: Query | None = None) -> JsonObject:
        return self._object("GET", path, params=query)

    def post(self, path: str, body: object = None) -> JsonObject:
        return self._object("POST", path, json={} if body is None else body)

    def put(self, path: str, body: object) -> JsonObject:
        return self._object("PUT", path, json=body)

    def delete(self, path: str) -> None:
        self.call("DELETE", path)

    def send_lines(self, path: str, lines: Iterable[bytes], query: Query) -> JsonObject:
        """Streams newline-delimited JSON; it may take as long as it takes."""
        headers = {"Content-Type": "application/x-ndjson"}
        return self._object(
            "POST", path, content=lines, params=query, headers=headers, timeout=httpx.Timeout(60, read=None)
        )

    def get_bytes(self, path: str) -> bytes:
        """What is no JSON, whole."""
        content: bytes = self.call("GET", path).content
        return content

    def post_bytes(self, path: str, pieces: Iterable[bytes], content_type: str) -> tuple[JsonObject, int]:
        """The answer to a body that is streamed, and its status."""
        answer = self.call("POST", path, content=pieces, headers={"Content-Type": content_type})
        return _object_of(answer, self.url), answer.status_code

    def pages(self, path: str, query: Query | None = None, limit: int | None = None) -> Iterator[JsonObject]:
        """Items of a list, page after page, at most `limit` of them."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = self.get(path, {**(query or {}), "limit": size} | ({} if cursor is None else {"cursor": cursor}))
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Any call; `more` is httpx's."""
        try:
            answer = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise PlatformAwayError(self.url, error) from error
        if not answer.is_success:
            raise ProblemError(answer)
        return answer

    def _object(self, method: str, path: str, **more: Any) -> JsonObject:
        return _object_of(self.call(method, path, **more), self.url)


def loop_path(loop_id: str, *parts: str) -> str:
    """Address of something of a loop; the parts are escaped."""
    return "/".join(("/v1/loops", *(quote(part, safe=":") for part in (loop_id, *parts))))


def _object_of(answer: httpx.Response, url: httpx.URL) -> JsonObject:
    try:
        found = answer.json()
    except json.JSONDecodeError as error:
        raise CommandError(f"{url} answers with something else than JSON: it is no gateway", AWAY) from error
    if not isinstance(found, dict):
        raise CommandError(f"{url} answers with something else than an object: it is no gateway", AWAY)
    return found


def _problem(answer: httpx.Response) -> JsonObject:
    try:
        body = answer.json()
    except json.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
