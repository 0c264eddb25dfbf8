"""A gateway that answers from memory: one loop that learns, in the shapes of the public API."""

import base64
import math
import struct
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.base import RequestResponseEndpoint

KEY = "fake-" + "k" * 40
DECIDE_KEY = "fake-" + "d" * 40
FEEDBACK_KEY = "fake-" + "f" * 40
LOOP_ID = "digits-and-questions"
START = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
PER_BUCKET = 40
PER_VERSION = 300
ANSWERS = ["yes", "no", *map(str, range(10))]
ROLLOUT_FIGURES: dict[str, float | None] = {
    "decisions": 120,
    "champion_decisions": 900,
    "mean_reward": 0.71,
    "champion_mean_reward": 0.65,
    "difference": 0.06,
    "difference_lower": -0.02,
    "difference_upper": None,
    "rescued": 0,
    "champion_rescued": 1,
}
Json = dict[str, object]


@dataclass
class FakeGateway:
    """What it answers; tests change these while it runs."""

    experiences: int = 0
    has_loop: bool = True
    away: bool = False
    roles: dict[str, str] = field(
        default_factory=lambda: {KEY: "manage", DECIDE_KEY: "decide", FEEDBACK_KEY: "feedback"}
    )
    fine_tunes: int = 0
    # What a reward of one is worth on the curve.
    worth: float = 1.0
    # Names of targets, newest first.
    evaluated: list[str] = field(default_factory=list)
    rollout_status: str = ""
    led: list[str] = field(default_factory=list)
    imported: list[bytes] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()
        loop = f"/v1/loops/{LOOP_ID}"
        app.get("/v1/keys/current")(self.key)
        app.get("/v1/dead-letters")(lambda: page([]))
        app.get("/v1/loops")(lambda: page([self.loop()] if self.has_loop else []))
        app.get(loop)(self.loop)
        app.get(f"{loop}/statistics")(self.statistics)
        app.get(f"{loop}/decisions")(lambda: page([self.decision(number) for number in self.numbers()]))
        app.get(f"{loop}/decisions/{{decision_id}}")(self.whole_decision)
        app.get(f"{loop}/models")(lambda: page(self.models()))
        app.get(f"{loop}/models/{{version}}")(self.model)
        app.get(f"{loop}/evaluations")(lambda: page([self.evaluation(name) for name in self.evaluated]))
        app.post(f"{loop}/evaluations", status_code=202)(self.evaluate)
        app.get(f"{loop}/evaluations/{{name}}")(self.evaluation)
        app.get(f"{loop}/rollouts")(lambda: page([self.rollout()] if self.rollout_status else []))
        app.post(f"{loop}/rollouts", status_code=201)(self.start_rollout)
        app.get(f"{loop}/rollouts/{{rollout_id}}")(self.whole_rollout)
        app.post(f"{loop}/rollouts/{{rollout_id}}/{{verb}}")(self.lead_rollout)
        app.post(f"{loop}/experiences:import")(self.take_log)
        app.get(f"{loop}/training-runs/{{training_run_id}}")(self.training_run)
        app.get(f"{loop}/training-runs")(lambda: page(self.training_runs()))
        app.post(f"{loop}/training-runs", status_code=202)(self.fine_tune)
        app.middleware("http")(self.admit)
        return app

    async def admit(self, request: Request, proceed: RequestResponseEndpoint) -> Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.away:
            return problem(503, "The database is not available")
        if key not in self.roles:
            return problem(401, "The key is not known")
        may_read = request.url.path == "/v1/keys/current" or "/decisions/" in request.url.path
        if self.roles[key] != "manage" and not may_read:
            return problem(403, "The key's role does not allow this")
        answer = await proceed(request)
        return problem(404, "There is no such loop") if answer.status_code == 404 else answer

    def key(self, request: Request) -> Json:
        role = self.roles[request.headers["authorization"].removeprefix("Bearer ")]
        return {"key_id": "k", "role": role, "created_at": START.isoformat(), "revoked_at": None}

    @property
    def champion(self) -> int:
        return 1 + self.experiences // PER_VERSION

    def numbers(self) -> range:
        return range(self.experiences + 1, max(0, self.experiences - 24), -1)

    def loop(self) -> Json:
        return {
            "loop_id": LOOP_ID,
            "modalities": {"digit": {"kind": "image"}, "question": {"kind": "text"}, "visitor": {"kind": "tabular"}},
            "actions": [{"id": answer} for answer in ANSWERS],
            "reward": {"metrics": {"correct": {"weight": 1.0}}, "range": [0.0, 1.0]},
            "exploration": {"strategy": "thompson", "floor": 0.005},
            "settings_revision": 1,
            "created_at": START.isoformat(),
            "aliases": {"champion": str(self.champion)},
        }

    def statistics(self) -> Json:
        ends = list(range(PER_BUCKET, self.experiences + 1, PER_BUCKET))
        versions = [(name, list(of)) for name, of in groupby(ends, key=version_at)]
        return {
            "head_sequence": self.experiences,
            "decisions": self.experiences + 1,
            "feedback": self.experiences,
            "experiences": self.experiences,
            "dangling_feedback": 3,
            "late_feedback": 1,
            "duplicate_feedback": 2,
            "duplicate_decisions": 0,
            "conflicting_decisions": 0,
            "duplicate_activations": 0,
            "dead_letters": 0,
            "tenant_dead_letters": 0,
            "restated": 0,
            "joiner_lag": {},
            "share_closed_by_timeout": 0.0,
            "reward": earned(ends) if ends else None,
            "reward_by_version": [earned(of) | {"model_version": name} for name, of in versions],
            "reward_curve": [bucket(last) | {"mean": self.worth * mean_at(last)} for last in ends],
            **self.report(),
            "spooled": {},
            "apprentice_decisions": 0,
            "apprentice_matches": 0,
            "apprentice_match_share": None,
            "last_drift_at": None,
            "warnings": [],
        }

    def report(self) -> Json:
        """What the trainer found out, once there were experiences enough."""
        names = ("reported", "modality_importance", "modality_correlation")
        if self.experiences < PER_VERSION:
            return dict.fromkeys(names) | {"modality_correlation_history": [], "fairness": {}}
        about = {"model_version": str(self.champion), "sequence": self.experiences, "computed_at": START.isoformat()}
        shares, rises, missing = {"digit": 0.6, "question": 0.35, "visitor": 0.05}, (0.21, 0.09, -0.001), (0, 0, 0.5)
        figures = {
            name: {"share": share, "loss_rise": rise, "missing_rate": rate}
            for (name, share), rise, rate in zip(shares.items(), rises, missing, strict=True)
        }
        correlations = {
            name: {"correlation": share / 2, "permuted": 0.01, "by_action": {}} for name, share in shares.items()
        }
        state = {"correlation": 0.47, "permuted": -0.012, "by_action": {"yes": 0.5, "no": None}}
        return {
            "reported": about | {"experiences": min(1000, self.experiences)},
            "modality_importance": {"loss": 0.08, "modalities": figures},
            "modality_correlation": {"state": state, "modalities": correlations},
            "modality_correlation_history": [about | {"correlation": 0.47, "permuted": -0.012}],
            "fairness": {},
        }

    def decision(self, number: int) -> Json:
        version = version_at(number)
        return {
            "decision_id": f"019ab000-0000-7000-8000-{number:012d}",
            "decided_at": time_of(number),
            "action_id": ANSWERS[number % len(ANSWERS)],
            "probability": 1 / 12 if version is None else 0.2 + 0.79 * ((number * 7) % 10) / 10,
            "model_version": version,
            "fallback_reason": "no_model_yet" if version is None else None,
            "served_action_id": None,
            "reward": None if number > self.experiences else float(number % 5 > 0),
        }

    def whole_decision(self, decision_id: str) -> Json:
        decision = self.decision(int(decision_id[-12:]))
        chosen, probability = decision["action_id"], float(str(decision["probability"]))
        rest = [answer for answer in ANSWERS if answer != chosen]
        return decision | {
            "context": {
                "digit": {"content_type": "image/png", "data": base64.b64encode(PICTURE).decode()},
                "question": "is it greater than four?",
            },
            "ranking": [ranked(str(chosen), probability, 0.91)]
            + [ranked(answer, (1 - probability) / len(rest), 0.3 - index / 50) for index, answer in enumerate(rest)],
            "modality_importance": {"digit": 0.7, "question": 0.3},
            "modalities_used": ["digit", "question"],
            "modalities_missing": ["visitor"],
            "feedback": []
            if decision["reward"] is None
            else [
                {
                    "feedback_id": decision_id,
                    "metric": "correct",
                    "value": decision["reward"],
                    "received_at": decision["decided_at"],
                    "late": False,
                }
            ],
        }

    def models(self) -> list[Json]:
        return [
            {
                "version": str(number),
                "status": "ready",
                "aliases": ["champion"] if number == self.champion else [],
                "parent": str(number - 1) if number > 1 else None,
                "training_run_id": f"run-{number}",
                "covers_sequence": (number - 1) * PER_VERSION,
                "settings_revision": 1,
                "created_at": time_of(number * PER_VERSION),
                "metrics": {"gate": "passed", "difference": 0.04} if number > 1 else {},
            }
            for number in range(self.champion, 0, -1)
        ]

    def model(self, version: str) -> Json:
        found = next((one for one in self.models() if one["version"] == version), None)
        if found is None:
            raise HTTPException(404)
        rate = 0.001 if version == "1" else 0.002
        return found | {
            "parts": {"encoding": {"sha256": version * 64, "bytes": 1000}},
            "architecture": {},
            "settings": {
                "learning": {"learning_rate": rate, "l2_sp": 0.01},
                "actions": [{"id": "yes", "features": None}],
            },
            "code_version": "1.0",
            "manifest_sha256": version * 64,
            "data_window": None,
            "imported_from": None,
            "training_curve": [
                {"step": step, "loss": 0.3 / step, "learning_rate": rate * (1 - step / 600)}
                for step in range(6, 601, 6)
            ],
        }

    def evaluate(self, body: Json) -> Json:
        self.evaluated.insert(0, str(body["target"]))
        return self.evaluation(str(body["target"]))

    def evaluation(self, name: str) -> Json:
        value = {"uniform": 0.11, "baseline": 0.21}.get(name, 0.5)
        bounds = [value - 0.03, value + 0.03]
        estimate = {
            "value": value,
            "standard_error": 0.015,
            "normal": bounds,
            "bootstrap": bounds,
            "empirical_bernstein": [value - 0.1, value + 0.1],
        }
        return {
            "evaluation_id": name,
            "status": "succeeded",
            "target": name,
            "estimators": ["snips", "dr"],
            "since": None,
            "until": None,
            "clip": None,
            "requested_at": START.isoformat(),
            "started_at": None,
            "finished_at": None,
            "progress": 1.0,
            "detail": None,
            "result": {
                "rows": self.experiences,
                "clusters": self.experiences,
                "unsupported_share": 0.0,
                "without_propensity": 2,
                "immature": 1,
                "effective_sample_size": 87.0,
                "max_weight": 12.5,
                "verdict": "too_little",
                "warnings": ["Too little: the rows are worth 87 of the target's own."],
                "logged": estimate | {"value": 0.6},
                "estimates": {"snips": estimate, "dr": estimate},
            },
        }

    def rollout(self) -> Json:
        is_open = self.rollout_status in ("running", "paused", "inconclusive")
        return {
            "rollout_id": "rollout-1",
            "model_version": "1",
            "champion_version": str(self.champion),
            "status": self.rollout_status,
            "percent": 25 if is_open else 0,
            "step": 1,
            "steps": [10, 25, 50],
            "started_at": START.isoformat(),
            "step_started_at": START.isoformat(),
            "finished_at": None,
            "detail": None,
            "figures": ROLLOUT_FIGURES,
        }

    def whole_rollout(self, rollout_id: str) -> Json:
        kinds = ["started", "stepped", *self.led]
        events = [
            {
                "event_id": str(index),
                "at": time_of(index),
                "kind": kind,
                "caused_by": "controller",
                "step": min(index, 1),
                "detail": None,
                "figures": ROLLOUT_FIGURES if index else {},
            }
            for index, kind in enumerate(kinds)
        ]
        return self.rollout() | {"rollout_id": rollout_id, "events": events}

    def start_rollout(self, body: Json) -> Json:
        self.rollout_status, self.led = "running", [f"started {body['model_version']} {body['strategy']}"]
        return self.rollout()

    def lead_rollout(self, verb: str) -> Json:
        self.led.append(verb)
        self.rollout_status = {"pause": "paused", "resume": "running", "promote": "promoted"}.get(verb, "rolled_back")
        return self.rollout()

    async def take_log(self, request: Request) -> Json:
        self.imported.append(await request.body())
        skipped = [{"line": 2, "reason": f"format {request.query_params['format']}"}]
        return {"accepted": 1, "duplicates": 0, "skipped": skipped, "skipped_total": 1}

    def training_run(self, training_run_id: str) -> Json:
        return next(run for run in self.training_runs() if run["training_run_id"] == training_run_id)

    def training_runs(self) -> list[Json]:
        asked = [training_run(f"asked-{number}", "queued", 0.0, None) for number in range(self.fine_tunes)]
        under_way = training_run("now", "running", self.experiences % PER_VERSION / PER_VERSION, None)
        done = [training_run(f"run-{number}", "succeeded", 1.0, number) for number in range(self.champion, 0, -1)]
        return [*asked, under_way, *done][:8]

    def fine_tune(self) -> Json:
        self.fine_tunes += 1
        return {"training_run_id": f"asked-{self.fine_tunes - 1}", "status": "queued"}


def page(items: list[Json]) -> Json:
    return {"items": items, "next_cursor": None}


def problem(status: int, title: str) -> JSONResponse:
    body = {"type": "urn:rewardloop:problem:fake", "title": title, "status": status, "detail": "", "field": None}
    return JSONResponse(body, status, media_type="application/problem+json")


def version_at(sequence: int) -> str | None:
    return None if sequence <= PER_BUCKET else str(1 + sequence // PER_VERSION)


def mean_at(sequence: int) -> float:
    return 0.08 + 0.86 * (1 - math.exp(-sequence / 500)) + 0.05 * math.sin(sequence / 31)


def bucket(last: int) -> Json:
    return {
        "first_sequence": last - PER_BUCKET + 1,
        "last_sequence": last,
        "count": PER_BUCKET,
        "mean": mean_at(last),
        "interval": [mean_at(last) - 0.1, mean_at(last) + 0.1],
        "last_decided_at": time_of(last),
        "model_version": version_at(last),
    }


def earned(ends: list[int]) -> Json:
    mean, count = sum(map(mean_at, ends)) / len(ends), PER_BUCKET * len(ends)
    half = 1.96 * math.sqrt(mean * (1 - mean) / count)
    return {"experiences": count, "mean": mean, "interval": [mean - half, mean + half], "closed_by_timeout": 0}


def time_of(sequence: float) -> str:
    return (START + timedelta(seconds=sequence / 12)).isoformat()


def ranked(action_id: str, probability: float, expected: float) -> Json:
    bounds = [expected - 0.06, expected + 0.06]
    return {
        "id": action_id,
        "probability": probability,
        "expected_reward": expected,
        "interval": bounds,
        "outcome_interval": bounds,
    }


def training_run(name: str, status: str, progress: float, version: int | None) -> Json:
    return {
        "training_run_id": name,
        "kind": "initialise" if version == 1 else "fine_tune",
        "status": status,
        "progress": progress,
        "steps": round(600 * progress),
        "loss": None if status == "queued" else 0.21 - progress / 10,
        "reason": None if version == 1 else "experiences",
        "finished_at": None,
        "requested_at": time_of((version or 9) * PER_VERSION),
        "model_version": None if version is None else str(version),
        "detail": None,
    }


def _png() -> bytes:
    """A grey square with a light diagonal, 16 by 16, as a PNG."""
    rows = b"".join(b"\0" + bytes(230 if abs(x - y) < 2 else 40 for x in range(16)) for y in range(16))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE = _png()
