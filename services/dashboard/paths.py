"""Where pages stand."""

from urllib.parse import quote


def loop_path(loop_id: str, *parts: str) -> str:
    """Of a loop's first page, or of one below it."""
    return "/".join(("/loops", *(quote(part, safe="") for part in (loop_id, *parts))))


def decision_path(loop_id: str, decision_id: str) -> str:
    return loop_path(loop_id, "decisions", decision_id)
