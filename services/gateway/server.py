"""The public API over gRPC, beside HTTP: the same keys, checks, decisions and problems."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Final, TypeVar

import grpc
import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.gateway.authentication import authenticate
from services.gateway.bodies import MAX_BATCH
from services.gateway.directory import ServedLoop
from services.gateway.messages import decision_members, feedback_members
from services.gateway.parsing import BATCH_BYTES
from services.gateway.parts import Parts
from services.gateway.problems import Problem, ProblemType, as_problem
from services.gateway.requests import SentDecision, checked
from shared.grpc import MutualTls
from shared.pb.decision.v1 import decision_pb2, decision_pb2_grpc
from shared.security import Role

SERVICE: Final = "rewardloop.decision.v1.DecisionService"
PROBLEM: Final = "problem-bin"
OPTIONS: Final = (("grpc.max_receive_message_length", BATCH_BYTES), ("grpc.so_reuseport", 0))
CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[Message, Message]
AnswerT = TypeVar("AnswerT", bound=Message)


class DecisionServicer(decision_pb2_grpc.DecisionServiceServicer):
    """Answers as the routes of `routes/decisions.py` and `routes/feedback.py` do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def Decide(  # noqa: N802 - gRPC's name
        self, request: decision_pb2.DecideRequest, context: Context
    ) -> decision_pb2.DecideResponse:
        async def decide() -> decision_pb2.DecideResponse:
            served = self._loop(context, "decide", request.loop_id)
            answer = await self._parts.decider.decide(served, _sent(request.decision))
            return decision_pb2.DecideResponse(decision=json_format.Parse(answer, decision_pb2.Decision()))

        return await self._answered("Decide", context, decide)

    async def DecideBatch(  # noqa: N802 - gRPC's name
        self, request: decision_pb2.DecideBatchRequest, context: Context
    ) -> decision_pb2.DecideBatchResponse:
        async def decide() -> decision_pb2.DecideBatchResponse:
            served = self._loop(context, "decide", request.loop_id)
            if not 1 <= len(request.decisions) <= MAX_BATCH:
                raise Problem(ProblemType.INVALID_FIELD, f"A batch holds 1 to {MAX_BATCH} decisions.", "decisions")
            decider = self._parts.decider
            answers = await asyncio.gather(
                *(decider.decide_row(served, partial(_sent, row)) for row in request.decisions)
            )
            return decision_pb2.DecideBatchResponse(rows=map(_row, answers))

        return await self._answered("DecideBatch", context, decide)

    async def SendFeedback(  # noqa: N802 - gRPC's name
        self, request: decision_pb2.SendFeedbackRequest, context: Context
    ) -> decision_pb2.SendFeedbackResponse:
        async def send() -> decision_pb2.SendFeedbackResponse:
            loop = self._loop(context, "feedback", request.loop_id).loop
            ids = await self._parts.feedback.take(loop, list(map(feedback_members, request.events)))
            return decision_pb2.SendFeedbackResponse(accepted=len(ids), feedback_ids=ids)

        return await self._answered("SendFeedback", context, send)

    def _loop(self, context: Context, role: Role, loop_id: str) -> ServedLoop:
        metadata = {str(name): value for name, value in context.invocation_metadata() or ()}
        sent = metadata.get("authorization", "")
        caller = authenticate(self._parts.directory, sent if isinstance(sent, str) else "", role)
        return self._parts.directory.required_loop(caller.tenant, loop_id)

    async def _answered(self, method: str, context: Context, answer: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """The one place where problems become statuses."""
        started = perf_counter()
        status = 200
        try:
            return await answer()
        except Exception as error:  # noqa: BLE001 - the edge: whatever it is, it is told as a fixed text
            problem = as_problem(error)
            status = problem.kind.status
            told = json_format.ParseDict(problem.body(), decision_pb2.Problem())
            code = CODES.get(status, grpc.StatusCode.INTERNAL)
            details = f"{problem.kind.title}: {problem.detail}"
            return await context.abort(code, details, ((PROBLEM, told.SerializeToString()),))
        finally:
            self._parts.metrics.answered(f"/{SERVICE}/{method}", "GRPC", status, perf_counter() - started)


async def start_server(parts: Parts, address: str, tls: MutualTls | None = None) -> grpc.aio.Server:
    """A server that answers already, with health and reflection beside the API; no certificate is asked of callers.

    Raises:
        RuntimeError: the address cannot be listened on.
    """
    server = grpc.aio.server(options=OPTIONS)
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(DecisionServicer(parts), server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    if tls is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, tls.of_public_server())
    await server.start()
    for name in ("", SERVICE):
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
    return server


def _sent(request: decision_pb2.DecisionRequest) -> SentDecision:
    return checked(decision_members(request))


def _row(answer: bytes) -> decision_pb2.Row:
    """A row of a batch: a problem is told by its members."""
    members = orjson.loads(answer)
    if "decision_id" in members:
        return decision_pb2.Row(decision=json_format.ParseDict(members, decision_pb2.Decision()))
    return decision_pb2.Row(problem=json_format.ParseDict(members, decision_pb2.Problem()))
