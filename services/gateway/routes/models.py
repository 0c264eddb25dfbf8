"""Model versions: listed, and one with what it is made of."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from services.gateway.answers import ModelVersionAnswer, ModelVersionDetail, Page, PartAnswer
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, loop_of, parts_of
from services.gateway.storage import Storage
from services.gateway.stored import version_name
from shared.db.engine import read_session
from shared.domain import ModelRef, ModelVersion
from shared.loop_settings import Loop
from shared.registry.manifest import Manifest
from shared.registry.versions import read_aliases, read_version, read_versions

router = APIRouter(route_class=ApiRoute, tags=["model versions"])

MOST_DIGITS: Final = 18


@router.get(
    "/v1/loops/{loop_id}/models",
    summary="List model versions",
    responses=responses(Page[ModelVersionAnswer]),
    openapi_extra=operation(),
)
async def list_models(request: Request, loop_id: str, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first, with lineage, evaluation and aliases."""
    loop, engine = loop_of(request, loop_id).loop, parts_of(request).engine
    place = decode_cursor(query.cursor, int)

    def read() -> Page[ModelVersionAnswer]:
        with read_session(engine) as session:
            aliases = _aliases(session, loop)
            versions = read_versions(session, loop.tenant, loop.loop_id)
        rows = [version for version in versions if place is None or version.version < int(place[0])]
        return page_of(
            rows,
            query.limit,
            lambda version: ModelVersionAnswer(**_members(version, aliases)),
            lambda version: [version.version],
        )

    return answered(await asyncio.to_thread(read))


@router.get(
    "/v1/loops/{loop_id}/models/{version}",
    summary="Read a model version",
    responses=responses(ModelVersionDetail),
    openapi_extra=operation(),
)
async def read_model(request: Request, loop_id: str, version: str) -> Response:
    """With its architecture, the settings that it was trained under, its files of weights, its fine-tune's curve."""
    loop, parts = loop_of(request, loop_id).loop, parts_of(request)

    def read() -> ModelVersionDetail | None:
        ref = ModelRef(loop.tenant, loop.loop_id, int(version))
        with read_session(parts.engine) as session:
            found = read_version(session, ref)
            return None if found is None else _detail(found, _aliases(session, loop), parts.storage)

    is_number = version.isascii() and version.isdigit() and len(version) <= MOST_DIGITS
    detail = await asyncio.to_thread(read) if is_number else None
    if detail is None:
        raise Problem(ProblemType.UNKNOWN_MODEL_VERSION, "The loop has no version of this number.", "version")
    return answered(detail)


def _aliases(session: Session, loop: Loop) -> dict[int, list[str]]:
    """Names by version."""
    names: dict[int, list[str]] = {}
    for pointer in read_aliases(session):
        if (pointer.tenant, pointer.loop_id) == (loop.tenant, loop.loop_id):
            names.setdefault(pointer.version, []).append(pointer.alias)
    return names


def _members(version: ModelVersion, aliases: dict[int, list[str]]) -> dict[str, object]:
    return {
        "version": str(version.version),
        "status": version.status,
        "aliases": aliases.get(version.version, []),
        "parent": version_name(version.parent),
        "covers_sequence": version.covers_sequence,
        "settings_revision": version.settings_revision,
        "training_run_id": version.training_run_id,
        "created_at": iso(version.created_at),
        "metrics": dict(version.metrics),
    }


def _detail(version: ModelVersion, aliases: dict[int, list[str]], storage: Storage) -> ModelVersionDetail:
    manifest = Manifest.model_validate_json(storage.read(version.manifest_sha256))
    return ModelVersionDetail(
        **_members(version, aliases),
        parts={part: PartAnswer(sha256=sha256, bytes=storage.size(sha256)) for part, sha256 in manifest.parts.items()},
        architecture=manifest.architecture.model_dump(mode="json"),
        settings=manifest.settings.model_dump(mode="json"),
        code_version=manifest.code_version,
        training_curve=manifest.training_curve,
    )
