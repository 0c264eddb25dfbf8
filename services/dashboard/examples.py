"""Calls to try where a page has nothing to show yet; they run as they stand once REWARDLOOP_KEY is set."""

import json
from typing import Final

from services.dashboard.answers import Loop

AUTHORIZATION: Final = '-H "Authorization: Bearer $REWARDLOOP_KEY"'
# What a context of each kind looks like; the other kinds need bytes of their own.
VALUES: Final[dict[str, object]] = {"text": "a red shoe", "tabular": {"age": 31}}


def create_loop(gateway_url: str) -> str:
    body = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
    return _curl("PUT", f"{gateway_url}/v1/loops/my-loop", body)


def decide(gateway_url: str, loop: Loop) -> str:
    """A decision of this loop, from those modalities that can be typed."""
    context = {name: VALUES[modality.kind] for name, modality in loop.modalities.items() if modality.kind in VALUES}
    body: dict[str, object] = {"context": context}
    if not loop.actions:
        body["actions"] = [{"id": "a"}, {"id": "b"}]
    return _curl("POST", f"{gateway_url}/v1/loops/{loop.loop_id}/decisions", body)


def give_feedback(gateway_url: str, loop: Loop, decision_id: str) -> str:
    """Feedback about a decision that was made."""
    body = {"decision_id": decision_id, "metric": next(iter(loop.reward.metrics), "reward"), "value": 1}
    return _curl("POST", f"{gateway_url}/v1/loops/{loop.loop_id}/feedback", body)


def _curl(method: str, url: str, body: object) -> str:
    return f"curl -X {method} {url} \\\n  {AUTHORIZATION} \\\n  --json '{json.dumps(body)}'"
