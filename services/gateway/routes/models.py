"""Model versions: listed, one with what it is made of, brought out and taken in, and given up."""

import asyncio
import tempfile
from typing import IO, Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from services.gateway.answers import (
    CollectionAnswer,
    DataWindowAnswer,
    ModelVersionAnswer,
    ModelVersionDetail,
    OriginAnswer,
    Page,
    PartAnswer,
)
from services.gateway.bodies import CollectionRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parsing import read_optional_json, validated
from services.gateway.parts import Parts
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, caller_of, loop_of, parts_of
from services.gateway.storage import Storage
from services.gateway.stored import version_name
from shared.db.engine import read_session
from shared.domain import ModelRef, ModelVersion
from shared.loop_settings import Loop
from shared.registry.manifest import DataWindow, Manifest, Origin
from shared.registry.version_files import tar_of, tar_size
from shared.registry.versions import read_aliases, read_version, read_versions

router = APIRouter(route_class=ApiRoute, tags=["model versions"])

MOST_DIGITS: Final = 18
TAR: Final = "application/x-tar"
TARS: Final = frozenset({TAR, "application/octet-stream", ""})


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
    return answered(await asyncio.to_thread(_read_detail, parts, loop, _ref(loop, version)))


@router.get(
    "/v1/loops/{loop_id}/models/{version}/files",
    summary="Export a model version",
    responses={**responses(None), 200: {"description": "A tar of its folder", "content": {TAR: {}}}},
    openapi_extra=operation(),
)
async def export_model(request: Request, loop_id: str, version: str) -> Response:
    """The version as a folder, in a tar: its weights as safetensors, `manifest.json`, a model card to read, and
    `SHA256SUMS`. `POST …/models:import` takes it in, here or on another platform."""
    loop = loop_of(request, loop_id).loop
    files, manifest = await asyncio.to_thread(parts_of(request).versions.files, _ref(loop, version))
    name = f"{loop.loop_id}-{manifest.version}.tar"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(tar_size(files))}
    return StreamingResponse(tar_of(files, manifest.created_at), headers=headers, media_type=TAR)


@router.post(
    "/v1/loops/{loop_id}/models:import",
    status_code=201,
    summary="Import a model version",
    responses=responses(ModelVersionDetail, 201, "Registered; 200 where it was already"),
    openapi_extra=operation("manage", {"type": "string", "format": "binary"}, content_type=TAR),
)
async def import_model(request: Request, loop_id: str) -> Response:
    """Takes in what an export gave, from this platform or another one. The version gets a number of its own, keeps what
    it was made of (`imported_from` says what it was called), and decides once it is rolled out; its head learns all of
    the loop's experiences then. Every byte is checked against the manifest, and it must fit the loop: its modalities,
    its pretrained encoders, its actions. It is registered whole or not at all, and once."""
    loop, parts = loop_of(request, loop_id).loop, parts_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in TARS:
        raise Problem(ProblemType.UNSUPPORTED_CONTENT_TYPE, f"Send `Content-Type: {TAR}`.")
    with tempfile.TemporaryFile() as archive:
        await _spool(request, archive, parts.version_bytes)
        take = parts.versions.take
        version, is_new = await asyncio.to_thread(take, caller_of(request), loop, archive, parts.version_bytes)
    detail = await asyncio.to_thread(_read_detail, parts, loop, version.ref)
    return answered(detail, 201 if is_new else 200)


@router.post(
    "/v1/loops/{loop_id}/models:collect",
    summary="Delete weights that nothing needs",
    responses=responses(CollectionAnswer),
    openapi_extra=operation(body=CollectionRequest, example={"dry_run": True}, required=False),
)
async def collect_models(request: Request, loop_id: str) -> Response:
    """What happens by itself every hour. A version that is not among the newest (`REWARDLOOP_VERSIONS_KEPT`) gives up
    its weights unless an alias, a rollout, an evaluation or a training run needs it, or a logged decision that it made;
    its row stays, with its lineage. `dry_run` only says what would become of which version, and why."""
    loop = loop_of(request, loop_id).loop
    body = validated(CollectionRequest, await read_optional_json(request))
    collected = await asyncio.to_thread(parts_of(request).versions.collect, caller_of(request), loop, body.dry_run)
    answer = CollectionAnswer(
        dry_run=body.dry_run,
        collected=[str(version) for version in collected.versions],
        kept={str(version): why for version, why in collected.kept.items()},
        bytes=collected.bytes,
    )
    return answered(answer)


async def _spool(request: Request, archive: IO[bytes], most_bytes: int) -> None:
    """Has the body in a file, at its beginning.

    Raises:
        Problem: it is larger than that.
    """
    async for chunk in request.stream():
        if archive.tell() + len(chunk) > most_bytes:
            detail = f"A model version has at most {most_bytes:,} bytes here (REWARDLOOP_VERSION_BYTES)."
            raise Problem(ProblemType.BODY_TOO_LARGE, detail)
        await asyncio.to_thread(archive.write, chunk)
    archive.seek(0)


def _ref(loop: Loop, version: str) -> ModelRef:
    """A version by its number.

    Raises:
        Problem: it is none.
    """
    if not (version.isascii() and version.isdigit() and len(version) <= MOST_DIGITS):
        raise Problem(ProblemType.UNKNOWN_MODEL_VERSION, "The loop has no version of this number.", "version")
    return ModelRef(loop.tenant, loop.loop_id, int(version))


def _read_detail(parts: Parts, loop: Loop, ref: ModelRef) -> ModelVersionDetail:
    with read_session(parts.engine) as session:
        found = read_version(session, ref)
        if found is None:
            raise Problem(ProblemType.UNKNOWN_MODEL_VERSION, "The loop has no version of this number.", "version")
        return _detail(found, _aliases(session, loop), parts.storage)


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
        manifest_sha256=version.manifest_sha256,
        data_window=None if manifest.data_window is None else _window(manifest.data_window),
        imported_from=None if manifest.imported_from is None else _origin(manifest.imported_from),
        training_curve=manifest.training_curve,
    )


def _window(window: DataWindow) -> DataWindowAnswer:
    members = window.model_dump(exclude={"since", "until"})
    return DataWindowAnswer(since=iso(window.since), until=iso(window.until), **members)


def _origin(origin: Origin) -> OriginAnswer:
    members = origin.model_dump(exclude={"version", "parent"})
    return OriginAnswer(model_version=str(origin.version), parent=version_name(origin.parent), **members)
