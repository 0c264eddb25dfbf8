"""What goes wrong, for the caller."""

import httpx


class RewardloopError(Exception):
    """Everything that this library raises by itself."""


class UnreachableError(RewardloopError):
    """The platform does not answer, or says that it cannot now."""


class OutboxFullError(RewardloopError):
    """More waits to be sent than the client may keep: the platform has been away for long."""


class ProblemError(RewardloopError):
    """The platform refused: RFC 9457. `field` is the path of the field at fault, where there is one."""

    def __init__(self, status: int, title: str, detail: str | None, field: str | None, type_: str | None) -> None:
        at = "" if field is None else f" (field: {field})"
        super().__init__(f"{title}{'' if not detail else f': {detail}'}{at}")
        self.status = status
        self.title = title
        self.detail = detail
        self.field = field
        self.type = type_


def problem_of(answer: httpx.Response) -> ProblemError:
    """The problem that an answer tells of, whether or not it is written as one."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    members = body if isinstance(body, dict) else {}

    def text(name: str) -> str | None:
        value = members.get(name)
        return value if isinstance(value, str) else None

    title = text("title") or f"HTTP {answer.status_code}"
    return ProblemError(answer.status_code, title, text("detail"), text("field"), text("type"))
