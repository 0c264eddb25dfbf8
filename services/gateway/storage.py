"""Large values and media: in the artifact store under their hash, with their content type by tenant in the database."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from sqlalchemy import Engine

from services.gateway.problems import RETRY_SOON, Problem, ProblemType
from services.gateway.repository import add_audit, add_media, read_media_type
from shared.db.engine import read_session, write_session
from shared.domain import INLINE_BYTES, Clock, Context, Media
from shared.registry.artifacts import ArtifactStore
from shared.security import ApiKey

MOST_REMEMBERED: Final = 10_000


class Storage:
    """Reads and writes in threads; remembers the content types that were asked for lately."""

    def __init__(self, store: ArtifactStore, engine: Engine, clock: Clock) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._types: dict[tuple[str, str], str] = {}

    async def put(self, data: bytes) -> str:
        """The SHA-256 of the bytes, once they are durable."""
        try:
            return await asyncio.to_thread(self._store.put, data)
        except OSError as error:
            detail = "Nothing was stored; try again."
            raise Problem(ProblemType.STORAGE_UNAVAILABLE, detail, headers=RETRY_SOON) from error

    async def as_logged(self, context: Context) -> Context:
        """The context as its event holds it: what is large is durable here first."""
        large = {name: value for name, value in context.items() if isinstance(value, Media) and _is_large(value)}
        if not large:
            return context
        for value in large.values():
            await self.put(value.data or b"")
        return {**context, **{name: replace(value, data=None) for name, value in large.items()}}

    def read(self, sha256: str) -> bytes:
        """The bytes under a hash; blocks.

        Raises:
            ArtifactError: they are not there, or not what they were.
        """
        return self._store.get(sha256)

    def size(self, sha256: str) -> int | None:
        """How many bytes stand under a hash; None where nothing does. Blocks."""
        return self._store.size(sha256)

    async def put_media(self, caller: ApiKey, media: Media) -> None:
        """Makes the bytes durable, and known as the tenant's."""
        assert media.data is not None
        await self.put(media.data)
        await asyncio.to_thread(self._add, caller, media, len(media.data))
        self._remember(caller.tenant, media.sha256, media.content_type)

    async def media_types(self, tenant: str, sha256s: Iterable[str]) -> dict[str, str]:
        """The content types of those of these media that the tenant has stored."""
        types: dict[str, str] = {}
        for sha256 in sha256s:
            known = self._types.get((tenant, sha256)) or await asyncio.to_thread(self._read, tenant, sha256)
            if known is not None:
                self._remember(tenant, sha256, known)
                types[sha256] = known
        return types

    def _add(self, caller: ApiKey, media: Media, size: int) -> None:
        now = self._clock()
        with write_session(self._engine) as session:
            add_media(session, caller.tenant, media.sha256, media.content_type, size, now)
            add_audit(session, caller.tenant, caller.key_id, "create", f"media/{media.sha256}", now)

    def _read(self, tenant: str, sha256: str) -> str | None:
        with read_session(self._engine) as session:
            return read_media_type(session, tenant, sha256)

    def _remember(self, tenant: str, sha256: str, content_type: str) -> None:
        if len(self._types) >= MOST_REMEMBERED:
            del self._types[next(iter(self._types))]
        self._types[tenant, sha256] = content_type


def _is_large(media: Media) -> bool:
    return media.data is not None and len(media.data) > INLINE_BYTES
