"""The API's description of itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.answers import ProblemBody
from services.gateway.problems import MEDIA_TYPE
from shared.security import Role

Schema = dict[str, Any]  # JSON Schema and OpenAPI are JSON
REFERENCE: Final = "#/components/schemas/{model}"
# The member of an operation that says which role it needs: `routing` reads it from there too.
ACCESS_MEMBER: Final = "x-role"
# The role that a key needs; `any`: every key will do; `open`: no key is needed.
Access = Role | Literal["any", "open"]

DESCRIPTION: Final = """
Decide from text, images, sound, tables and embeddings, and learn from the feedback that follows.

1. `PUT /v1/loops/{loop_id}` describes the decision problem: `{"modalities": {"photo": {"kind": "image"}},
   "actions": [{"id": "a"}, {"id": "b"}]}` makes a working loop.
2. `POST …/decisions` chooses an action, and says with which probability.
3. `POST …/feedback` tells what came of it. The loop learns from it by itself.

Every call carries `Authorization: Bearer <key>`; `x-role` of an operation is the role that its key needs (`manage` may
do everything, `any` is open to every key). Errors are `application/problem+json` with the field at fault. An answer to
a decision or to feedback means that it is durable. Repeating a request under the same `decision_id` gives the same
answer.

Decisions and feedback may also be sent as MessagePack (`Content-Type: application/msgpack`), with the same members, and
`data` of media and embeddings as bytes in place of base64. Of a key that stands twice the last one counts.
"""


class DocumentedApi(FastAPI):
    """FastAPI with the schemas of bodies that the routes parse themselves."""

    def __init__(self, bodies: Sequence[type[BaseModel]], **settings: Any) -> None:
        super().__init__(**settings)
        self._bodies = bodies

    def openapi(self) -> Schema:
        """OpenAPI 3.1; made once."""
        if self.openapi_schema is None:
            schema = super().openapi()
            _, definitions = models_json_schema([(body, "validation") for body in self._bodies], ref_template=REFERENCE)
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(definitions["$defs"])
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return self.openapi_schema or {}


def operation(access: Access = "manage", body: type[BaseModel] | Schema | None = None, **more: Any) -> Schema:
    """The members of an operation that FastAPI does not know: who may call it, and its body.

    `more` may hold `example`, `required=False` for a body that may be left out, and `also`: other content types that it
    may have.
    """
    members: Schema = {ACCESS_MEMBER: access, "security": [] if access == "open" else [{"key": []}]}
    if body is not None:
        schema = body if isinstance(body, dict) else {"$ref": REFERENCE.format(model=body.__name__)}
        content = {"schema": schema} | ({"example": more["example"]} if "example" in more else {})
        members["requestBody"] = {
            "required": more.get("required", True),
            "content": {more.get("content_type", "application/json"): content}
            | {other: {"schema": schema} for other in more.get("also", ())},
        }
    return members


def responses(answer: type[BaseModel] | None, status: int = 200, description: str = "Done") -> dict[int | str, Schema]:
    """The answer of an operation, and its problems."""
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model=ProblemBody.__name__)}}}}
    answers: dict[int | str, Schema] = {
        status: {"description": description} | ({} if answer is None else {"model": answer}),
        "default": {"description": "A problem", **problem},
    }
    for number, why in PROBLEMS.items():
        answers[number] = {"description": why, **problem}
    return answers


PROBLEMS: Final[Mapping[int, str]] = {
    401: "No key, or one that is not known",
    403: "The key's role does not allow it",
    404: "There is no such object of the caller's tenant",
    422: "A field is not valid; `field` says which",
}
