"""Which model version a decision is made with: picked once, and only one that all three services have."""

import asyncio
from collections.abc import Callable
from typing import Final

from services.gateway.directory import Directory
from services.gateway.fallback import FallbackReason
from services.gateway.model_services import ModelServices
from shared.domain import ModelRef
from shared.loop_settings import Loop
from shared.rollouts import Rollout

POLL_SECONDS: Final = 0.05


class Serving:
    """What the aliases want, held against what the services have."""

    def __init__(self, directory: Directory, models: ModelServices) -> None:
        self._directory = directory
        self._models = models
        # Rollouts whose version could once decide here: from then on, what it cannot decide counts against it.
        self._begun: set[str] = set()

    def rollout(self, loop: Loop) -> Rollout | None:
        """The one that is under way, once the version could be loaded."""
        rollout = self._directory.rollout(loop.tenant, loop.loop_id)
        if rollout is None:
            return None
        if rollout.rollout_id not in self._begun:
            if not self._can_serve(rollout.model):
                return None
            self._begun = {one.rollout_id for one in self._directory.snapshot.rollouts.values()} & self._begun
            self._begun.add(rollout.rollout_id)
        return rollout

    def pick(self, loop: Loop) -> ModelRef | FallbackReason:
        """The champion, else the version before it, else the reason why none can decide."""
        champion = self._directory.aliases(loop.tenant, loop.loop_id).get("champion")
        if champion is None:
            return "no_model_yet"
        for version in (champion.version, champion.previous_version):
            if version is not None and self._can_serve(ref := ModelRef(loop.tenant, loop.loop_id, version)):
                return ref
        # The first version is being loaded: nothing has failed.
        first = champion.previous_version is None and self._models.answer
        return "no_model_yet" if first else "model_unavailable"

    def champion(self, loop: Loop) -> ModelRef | None:
        """What the alias names, whether or not the services say that they have it."""
        champion = self._directory.aliases(loop.tenant, loop.loop_id).get("champion")
        if champion is None:
            return None
        ref = ModelRef(loop.tenant, loop.loop_id, champion.version)
        return ref if ref in self._directory.snapshot.reads_actions else None

    async def head_sequence(self, loop: Loop) -> int | None:
        """The last experience that the version which decides now has learned; None where none decides."""
        picked = self.pick(loop)
        return await self._models.head_sequence(picked) if isinstance(picked, ModelRef) else None

    async def wait_for_version(self, loop: Loop, seconds: float, has_failed: Callable[[Loop], bool]) -> None:
        """Returns once a version can decide, its making has failed, or the time is over; `has_failed` may block."""
        try:
            async with asyncio.timeout(seconds):
                while not isinstance(self.pick(loop), ModelRef) and not await asyncio.to_thread(has_failed, loop):
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return

    def reads_actions(self, ref: ModelRef) -> bool:
        """Whether the version reads the actions' features."""
        return self._directory.snapshot.reads_actions.get(ref, False)

    def manifest(self, ref: ModelRef) -> str:
        """The SHA-256 of the version's manifest: what is known of the version is known under it for good."""
        return self._directory.snapshot.manifests.get(ref, "")

    def _can_serve(self, ref: ModelRef) -> bool:
        return self._models.have(ref) and ref in self._directory.snapshot.reads_actions
