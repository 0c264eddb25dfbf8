"""What every route does before and after its own work: the key, the problem, the measurement."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any, cast

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from services.gateway.authentication import authenticate
from services.gateway.directory import ServedLoop
from services.gateway.documentation import ACCESS_MEMBER, Access, DocumentedApi
from services.gateway.parts import Parts
from services.gateway.problems import as_problem, problem_response
from shared.security import ApiKey

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
JSON = "application/json"


class ApiRoute(APIRoute):
    """Denied to every key but `manage` ones, unless its operation says otherwise."""

    @property
    def access(self) -> Access:
        return cast("Access", (self.openapi_extra or {}).get(ACCESS_MEMBER, "manage"))

    def get_route_handler(self) -> Handler:
        handle, access, path = self._own_handler(), self.access, self.path

        async def admit(request: Request) -> Response:
            if access == "open":
                return await handle(request)
            parts = parts_of(request)
            request.state.caller = authenticate(parts.directory, request.headers.get("authorization", ""), access)
            # Behind the key: nobody else fills the collector.
            return await (_traced(handle, request, path) if parts.tracing.is_on else handle(request))

        async def answer(request: Request) -> Response:
            parts = parts_of(request)
            started = perf_counter()
            response = await _told(admit, request)
            parts.metrics.answered(path, request.method, response.status_code, perf_counter() - started)
            return response

        return answer

    def _own_handler(self) -> Handler:
        return super().get_route_handler()


class DirectRoute(ApiRoute):
    """Calls its endpoint with the request and the path's parameters: what FastAPI and its middleware do on the way to a
    route takes longer than all that the gateway does of its own for a decision."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.answer = self.get_route_handler()

    def _own_handler(self) -> Handler:
        endpoint = cast("Callable[..., Awaitable[Response]]", self.endpoint)

        async def call(request: Request) -> Response:
            return await endpoint(request=request, **request.path_params)

        return call


class DirectApi(DocumentedApi):
    """An application whose direct routes are called ahead of all else; they answer their own errors."""

    direct: Sequence[DirectRoute] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for route in self.direct:
                found = route.path_regex.match(scope["path"]) if scope["method"] in (route.methods or ()) else None
                if found is not None:
                    scope.update(app=self, path_params=found.groupdict())
                    response = await route.answer(Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


async def _told(handle: Handler, request: Request) -> Response:
    """The answer, or the problem that there is."""
    try:
        return await handle(request)
    except ClientDisconnect:
        return Response(status_code=400)  # for nobody
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, it is told as a fixed text
        return problem_response(as_problem(error))


async def _traced(handle: Handler, request: Request, path: str) -> Response:
    """In the caller's trace where it names one, else perhaps in a new one."""
    method, traceparent = request.method, request.headers.get("traceparent")
    with parts_of(request).tracing.begin(f"{method} {path}", traceparent) as span:
        response = await _told(handle, request)
        span.tell(
            {"http.request.method": method, "http.route": path, "http.response.status_code": response.status_code}
        )
        return response


def parts_of(request: Request) -> Parts:
    return cast("Parts", request.app.state.parts)


def caller_of(request: Request) -> ApiKey:
    """The key that the route has let in."""
    return cast("ApiKey", request.state.caller)


def loop_of(request: Request, loop_id: str) -> ServedLoop:
    """The caller's loop.

    Raises:
        Problem: the caller's tenant has none of this name, whoever else may have one.
    """
    return parts_of(request).directory.required_loop(caller_of(request).tenant, loop_id)


def answered(body: BaseModel | dict[str, object] | bytes, status: int = 200) -> Response:
    """A JSON answer; bytes are JSON already."""
    if isinstance(body, BaseModel):
        return Response(body.model_dump_json(), status, media_type=JSON)
    return Response(body if isinstance(body, bytes) else orjson.dumps(body), status, media_type=JSON)
