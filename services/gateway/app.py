"""The application: its routes, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from services.gateway.answers import ProblemBody
from services.gateway.bodies import (
    ActivationRequest,
    CollectionRequest,
    DecisionBatch,
    DecisionRequest,
    EpisodeEndRequest,
    EvaluationRequest,
    FeedbackRequest,
    FreezeRequest,
    ImportedRow,
    KeyRequest,
    RolloutPlanRequest,
    RolloutRequest,
    TrainingRunRequest,
    WebhookRequest,
)
from services.gateway.documentation import DESCRIPTION
from services.gateway.parts import Parts
from services.gateway.problems import handle_error
from services.gateway.routes import (
    audit,
    dead_letters,
    decisions,
    episodes,
    evaluations,
    feedback,
    health,
    imports,
    keys,
    loops,
    media,
    models,
    rollouts,
    statistics,
    training_runs,
    webhooks,
)
from services.gateway.routing import DirectApi, DirectRoute
from shared.loop_settings import LoopSettings

# For gRPC calls under way when it is told to stop.
GRACE_SECONDS: Final = 2.0
# In the order in which they are matched: the busiest first.
ROUTERS: Final = (
    decisions.deciding,
    feedback.router,
    episodes.router,
    decisions.reading,
    imports.router,
    statistics.router,
    loops.router,
    training_runs.router,
    evaluations.router,
    models.router,
    rollouts.router,
    media.router,
    keys.router,
    webhooks.router,
    audit.router,
    dead_letters.router,
    health.router,
)
BODIES: Final = (
    ActivationRequest,
    CollectionRequest,
    DecisionBatch,
    DecisionRequest,
    EpisodeEndRequest,
    EvaluationRequest,
    FeedbackRequest,
    FreezeRequest,
    ImportedRow,
    KeyRequest,
    LoopSettings,
    ProblemBody,
    RolloutPlanRequest,
    RolloutRequest,
    TrainingRunRequest,
    WebhookRequest,
)


def create_app(
    parts: Parts,
    refresh_interval: float = 1.0,
    models_interval: float = 0.25,
    start_grpc: Callable[[], Awaitable[grpc.aio.Server]] | None = None,
) -> FastAPI:
    """The gateway over its parts; it keeps them fresh while it runs, and closes the appender and the log at its end.

    `start_grpc` starts the same API over gRPC, where there is one.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop_refreshing = parts.directory.keep_fresh(refresh_interval)
        looking = asyncio.create_task(parts.models.keep_looking(models_interval))
        shadowing = asyncio.create_task(parts.shadow.run())
        server = None if start_grpc is None else await start_grpc()
        yield
        if server is not None:
            await server.stop(GRACE_SECONDS)
        for task in (looking, shadowing):
            task.cancel()
        stop_refreshing()
        parts.appender.close()
        parts.event_log.close()

    app = documented(lifespan)
    app.state.parts = parts
    for error in (HTTPException, RequestValidationError):
        app.add_exception_handler(error, handle_error)
    return app


def documented(lifespan: Lifespan[FastAPI] | None = None) -> DirectApi:
    """The API without its parts: it answers nothing yet, and can describe itself."""
    app = DirectApi(
        BODIES,
        title="Rewardloop",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for router in ROUTERS:
        # Not `include_router`: it would match each request anew against each router.
        app.router.routes.extend(router.routes)
    app.direct = [route for route in app.router.routes if isinstance(route, DirectRoute)]
    return app
