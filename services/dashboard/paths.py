"""Where pages stand."""

from urllib.parse import quote


def loop_path(loop_id: str) -> str:
    return f"/loops/{quote(loop_id, safe='')}"


def decision_path(loop_id: str, decision_id: str) -> str:
    return f"{loop_path(loop_id)}/decisions/{quote(decision_id, safe='')}"
