"""Whether the gateway lives, whether it can work, and what it counts. Open to everyone: no names, no ids."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.gateway.answers import Answer
from services.gateway.documentation import operation
from services.gateway.model_services import STAGES
from services.gateway.routing import ApiRoute, answered, parts_of

router = APIRouter(route_class=ApiRoute, tags=["health"])


class Health(Answer):
    """It answers."""

    status: Literal["ok"]


class Readiness(Answer):
    """It takes traffic. Without the model services it decides by fallback."""

    status: Literal["ready", "starting"]
    services: dict[str, bool]


@router.get("/healthz", summary="Alive?", responses={200: {"model": Health}}, openapi_extra=operation("open"))
async def read_health() -> Response:
    """Always `ok`."""
    return answered(Health(status="ok"))


@router.get(
    "/readyz",
    summary="Ready?",
    responses={200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not yet"}},
    openapi_extra=operation("open"),
)
async def read_readiness(request: Request) -> Response:
    """Ready once loops and keys have been read; `services` says which model services answer."""
    parts = parts_of(request)
    ready = parts.directory.snapshot.read_at > 0
    services = {stage: parts.models.loaded[stage] is not None for stage in STAGES}
    return answered(Readiness(status="ready" if ready else "starting", services=services), 200 if ready else 503)


@router.get(
    "/metrics",
    summary="Metrics",
    responses={200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra=operation("open"),
)
async def read_metrics(request: Request) -> Response:
    """For Prometheus."""
    parts = parts_of(request)
    parts.metrics.watch_directory((parts.clock() - parts.directory.snapshot.read_at) / 1e6)
    parts.metrics.watch_models(parts.models)
    if parts.spool is not None:
        parts.metrics.watch_spool(parts.spool.spooled())
    return Response(generate_latest(parts.metrics.registry), media_type=CONTENT_TYPE_LATEST)
