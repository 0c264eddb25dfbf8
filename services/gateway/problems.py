"""What goes wrong, as RFC 9457 tells it: fixed titles, a detail for the developer, the field at fault."""

import traceback
from collections.abc import Mapping
from enum import Enum
from typing import Final

import orjson
import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Route

from shared.eventlog import EventLogError, RecordTooLargeError
from shared.registry.artifacts import ArtifactError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SOON: Final = {"Retry-After": "1"}

log: Final = structlog.get_logger(__name__)


class ProblemType(Enum):
    """Status and title of each problem; the name is the last part of its type."""

    INVALID_JSON = (400, "The body is not JSON that can be read")
    INVALID_MESSAGEPACK = (400, "The body is not MessagePack that can be read")
    NO_KEY = (401, "No key was sent")
    UNKNOWN_KEY = (401, "The key is not known")
    ROLE_NOT_ALLOWED = (403, "The key's role does not allow this")
    NOT_FOUND = (404, "There is nothing at this address")
    UNKNOWN_LOOP = (404, "There is no such loop")
    UNKNOWN_DECISION = (404, "There is no such decision")
    UNKNOWN_TRAINING_RUN = (404, "There is no such training run")
    UNKNOWN_EVALUATION = (404, "There is no such evaluation")
    UNKNOWN_MODEL_VERSION = (404, "There is no such model version")
    UNKNOWN_ROLLOUT = (404, "There is no such rollout")
    UNKNOWN_WEBHOOK = (404, "There is no such webhook")
    UNKNOWN_KEY_ID = (404, "There is no such key")
    UNKNOWN_DEAD_LETTER = (404, "There is no such dead letter")
    METHOD_NOT_ALLOWED = (405, "This address does not take this method")
    DECISION_CONFLICT = (409, "The decision id was used for another request")
    LOOP_FROZEN = (409, "The loop is frozen")
    LAST_MANAGE_KEY = (409, "The last manage key cannot be revoked")
    VERSION_COLLECTED = (409, "The model version has no weights any more")
    VERSION_NOT_READY = (409, "The model version cannot serve")
    VERSION_SERVES = (409, "The model version is the champion already")
    VERSION_UNUSABLE = (409, "The model version does not fit the loop")
    ROLLOUT_UNDER_WAY = (409, "The loop has a rollout under way")
    ROLLOUT_ENDED = (409, "The rollout has ended")
    CHAMPION_MOVED = (409, "Another model version has become the champion")
    BODY_TOO_LARGE = (413, "The body is too large")
    EVENT_TOO_LARGE = (413, "The event is too large")
    UNSUPPORTED_CONTENT_TYPE = (415, "The content type is not taken here")
    INVALID_FIELD = (422, "A field is not valid")
    UNKNOWN_MODALITY = (422, "The loop has no such modality")
    WRONG_KIND = (422, "The value is not of the modality's kind")
    WRONG_DIMENSION = (422, "The embedding has another dimension")
    VALUE_TOO_LARGE = (422, "The value is too large")
    NOT_AN_IMAGE = (422, "The bytes are not an image that can be read")
    IMAGE_TOO_LARGE = (422, "The image is too large")
    NOT_A_SOUND = (422, "The bytes are not a sound that can be read")
    NOT_A_VIDEO = (422, "The bytes are not a video that can be read")
    SOUND_TOO_LONG = (422, "The sound is too long")
    NOT_A_TEXT = (422, "The bytes are not a text that can be read")
    WRONG_CONTENT_TYPE = (422, "The bytes are not of the content type given")
    UNREADABLE_VALUE = (422, "The value cannot be read")
    UNKNOWN_MEDIA = (422, "There is no such media")
    NO_ACTIONS = (422, "There are no actions to choose from")
    DUPLICATE_ACTION = (422, "Two actions have the same id")
    UNKNOWN_ACTION = (422, "There is no such action")
    EVERY_ACTION_EXCLUDED = (422, "Every action is excluded")
    NOT_EPISODIC = (422, "The loop's decisions stand each alone")
    UNKNOWN_SEGMENT = (422, "The loop has no such segment")
    UNKNOWN_METRIC = (422, "The loop's reward has no such metric")
    NOT_A_VERSION = (422, "The body is not a model version that can be read")
    HOPELESS_ROLLOUT = (422, "Such a rollout would come to no verdict")
    ENCODER_NOT_FOUND = (422, "There is no such pretrained encoder here")
    INTERNAL_ERROR = (500, "Something went wrong here")
    DATABASE_UNAVAILABLE = (503, "The database is not available")
    EVENT_LOG_UNAVAILABLE = (503, "The event log is not available")
    STORAGE_UNAVAILABLE = (503, "The artifact store is not available")
    OVERLOADED = (503, "Too many decisions wait")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def title(self) -> str:
        return self.value[1]

    @property
    def uri(self) -> str:
        return f"urn:rewardloop:problem:{self.name.lower().replace('_', '-')}"


class Problem(Exception):  # noqa: N818 - RFC 9457's noun
    """Raised anywhere below a route; the route answers with it."""

    def __init__(
        self, kind: ProblemType, detail: str, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.field = field
        self.headers = headers

    def body(self) -> dict[str, object]:
        """The members of the problem; `field` is null where no one field is at fault."""
        kind = self.kind
        return {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "field": self.field,
        }


def problem_response(problem: Problem) -> Response:
    headers = dict(problem.headers or {})
    return Response(orjson.dumps(problem.body()), problem.kind.status, headers, MEDIA_TYPE)


def as_problem(error: Exception) -> Problem:
    """The problem that an error is to the caller; what nobody foresaw is logged, and told as a fixed text."""
    match error:
        case Problem():
            return error
        case StarletteHTTPException():
            return _http_problem(error)
        case RequestValidationError():
            first = error.errors()[0]
            return Problem(ProblemType.INVALID_FIELD, str(first["msg"]), ".".join(map(str, first["loc"][1:])))
        case RecordTooLargeError():
            return Problem(ProblemType.EVENT_TOO_LARGE, "An event holds at most 2 MiB.")
        case EventLogError():
            _log_error("event log unavailable", error)
            return Problem(ProblemType.EVENT_LOG_UNAVAILABLE, "Nothing was stored; try again.", headers=RETRY_SOON)
        case ArtifactError():
            _log_error("artifact unreadable", error)
            return Problem(ProblemType.STORAGE_UNAVAILABLE, "What it refers to cannot be read now.", headers=RETRY_SOON)
        case SQLAlchemyError():
            _log_error("database unavailable", error)
            return Problem(ProblemType.DATABASE_UNAVAILABLE, "Nothing was changed; try again.", headers=RETRY_SOON)
    _log_error("unexpected error", error)
    return Problem(ProblemType.INTERNAL_ERROR, "It was logged; nothing more is told here.")


async def handle_error(request: Request, error: Exception) -> Response:
    """The one exception handler of the application."""
    problem = as_problem(error)
    if problem.kind is ProblemType.METHOD_NOT_ALLOWED:
        problem.headers = {"Allow": ", ".join(sorted(_methods_at(request)))}
    return problem_response(problem)


def _methods_at(request: Request) -> set[str]:
    """Of all routes at the address: Starlette tells those of the first alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return {method for route in routes if route.path_regex.match(request.url.path) for method in route.methods or ()}


def _http_problem(error: StarletteHTTPException) -> Problem:
    kinds = {404: ProblemType.NOT_FOUND, 405: ProblemType.METHOD_NOT_ALLOWED}
    kind = kinds.get(error.status_code)
    if kind is None:
        _log_error("unexpected HTTP error", error)
        return Problem(ProblemType.INTERNAL_ERROR, "It was logged; nothing more is told here.")
    return Problem(kind, kind.title + ".")


def _log_error(event: str, error: Exception) -> None:
    # An error's message may quote a context or a key: its type and its place say enough.
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    log.error(event, error=type(error).__name__, at=places)
