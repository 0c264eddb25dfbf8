"""A platform in memory, as the SDK's tests need it: it can be away, slow to be told, or refuse."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

import rewardloop
from rewardloop import Options, ProblemError, Retry

ACTIONS = ["a", "b", "c"]


@dataclass
class FakePlatform:
    """Chooses the last allowed candidate with probability .5, or 1 where it is the only one."""

    away: bool = False
    # Answers that are given in place of its own, in order.
    instead: list[httpx.Response] = field(default_factory=list)
    # The next answers are lost: what was asked is done.
    losing: int = 0
    bad_metrics: set[str] = field(default_factory=set)
    decisions: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        body = json.loads(request.read() or b"null")
        self.asked.append((request.method, request.url.path))
        self.bodies.append(body)
        self.keys.add(request.headers["authorization"])
        answer = self.instead.pop(0) if self.instead else self._answer(request, body)
        if self.losing:
            self.losing -= 1
            raise httpx.ReadTimeout("lost")
        return answer

    def _answer(self, request: httpx.Request, body: Any) -> httpx.Response:
        match request.url.path.split("/")[4:]:
            case ["decisions"]:
                return self._decide(body)
            case ["decisions", decision_id]:
                found = self.decisions.get(decision_id)
                return httpx.Response(404, json={}) if found is None else httpx.Response(200, json=found[1])
            case ["feedback"]:
                return self._take(body)
        return httpx.Response(202, json={})

    def _decide(self, body: dict[str, Any]) -> httpx.Response:
        known = self.decisions.get(body["decision_id"])
        if known is not None:
            same = known[0] == body
            return httpx.Response(200, json=known[1]) if same else problem(409, "The decision id was used")
        ids = [action["id"] for action in body["actions"]] if "actions" in body else ACTIONS
        allowed = [action for action in ids if action not in body.get("excluded_action_ids", [])]
        probability = 1.0 if len(allowed) == 1 else 0.5
        chosen = {"decision_id": body["decision_id"], "action_id": allowed[-1], "probability": probability}
        nothing = dict.fromkeys(("model_version", "fallback_reason", "modality_importance"))
        scores = {"expected_reward": 0.25, "interval": [0.0, 0.5], "outcome_interval": [-1.0, 1.5]}
        ranking = [{"id": action, "probability": probability, **scores} for action in ids]
        answer = chosen | nothing | {"ranking": ranking, "modalities_used": list(body["context"])}
        answer |= {"modalities_missing": [], "logged": True}
        self.decisions[body["decision_id"]] = (body, answer)
        return httpx.Response(200, json=answer)

    def _take(self, events: list[dict[str, Any]]) -> httpx.Response:
        for place, event in enumerate(events):
            if event["metric"] in self.bad_metrics:
                return problem(422, "The loop's reward has no such metric", f"{place}.metric")
        self.events |= {event["feedback_id"]: event for event in events}
        return httpx.Response(202, json={"accepted": len(events)})


def problem(status: int, title: str, at: str | None = None) -> httpx.Response:
    return httpx.Response(
        status, json={"title": title, "detail": "why", "field": at, "type": "urn:x", "status": status}
    )


class ManualClock:
    """Seconds that pass only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def refused() -> list[ProblemError]:
    return []


@pytest.fixture
def options(clock: ManualClock, refused: list[ProblemError]) -> Callable[..., Options]:
    """Nothing happens in the background by itself; retries do not wait."""

    def make(**changes: Any) -> Options:
        quiet = {"flush_interval": 3600.0, "close_timeout": 0.0, "retry": Retry(first_pause=0.0)}
        return Options(**{"clock": clock, "on_error": refused.append, **quiet, **changes})

    return make


def delivered_by(script: str) -> list[bytes]:
    """The bodies that a program, given the platform's address, has sent by its end."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.handle_request)
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}"
        path = {"PYTHONPATH": str(Path(rewardloop.__file__).resolve().parents[1])}
        subprocess.run([sys.executable, "-c", script, url], check=True, env=path, timeout=60)
        serving.join()
    return bodies
