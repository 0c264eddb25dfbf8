"""Does a model version fit its loop as the loop is now?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.gateway.directory import ReadArtifact
from services.gateway.problems import Problem, ProblemType
from shared.loop_settings import Loop
from shared.networks.trunk_files import TrunkError, TrunkFiles
from shared.registry.manifest import Manifest
from shared.registry.versions import read_champion


@dataclass(frozen=True, slots=True)
class Fitting:
    """`find_encoder` raises TrunkError where a pretrained encoder is not here; None where that cannot be told: then the
    champion's encoders are taken for those that are."""

    read_artifact: ReadArtifact
    find_encoder: Callable[[str], TrunkFiles] | None = None

    def refuse_misfit(self, session: Session, loop: Loop, manifest: Manifest, field: str | None) -> None:
        """A version reads modalities, through pretrained encoders, as they were when it was made: those that the loop
        has now must be among them, and it must know an action of the loop.

        Raises:
            Problem: it does not fit; `field` is the request's that named it.
        """
        why = _misfit(loop, manifest) or self._other_encoder(session, loop, manifest)
        if why is not None:
            raise Problem(ProblemType.VERSION_UNUSABLE, why, field)

    def _other_encoder(self, session: Session, loop: Loop, manifest: Manifest) -> str | None:
        trunks = manifest.architecture.trunks
        here = self._encoders_here(session, loop) if trunks else {}
        for name, modality in loop.settings.modalities.items():
            if name in trunks and here.get(name, trunks[name].sha256) != trunks[name].sha256:
                return (
                    f"It reads modality {name} through another encoder than the `{modality.encoder}` that is here: "
                    "bring that one's files, or fine-tune and roll out the version that comes of it."
                )
        return None

    def _encoders_here(self, session: Session, loop: Loop) -> Mapping[str, str | None]:
        """Modality → SHA-256 of its encoder's files; None: they are not here."""
        if self.find_encoder is not None:
            named = ((name, one.encoder) for name, one in loop.settings.modalities.items() if one.encoder is not None)
            return {name: self._sha256_of(encoder) for name, encoder in named}
        champion = read_champion(session, loop.tenant, loop.loop_id)
        if champion is None:
            return {}
        serving = Manifest.model_validate_json(self.read_artifact(champion.manifest_sha256)).architecture
        same = (name for name, one in loop.settings.modalities.items() if serving.modalities.get(name) == one)
        return {name: serving.trunks[name].sha256 for name in same if name in serving.trunks}

    def _sha256_of(self, encoder: str) -> str | None:
        assert self.find_encoder is not None
        try:
            return self.find_encoder(encoder).sha256
        except TrunkError:
            return None


def _misfit(loop: Loop, manifest: Manifest) -> str | None:
    made, settings = manifest.architecture, loop.settings
    for name, modality in settings.modalities.items():
        if name not in made.modalities:
            return f"It does not read modality {name}: fine-tune, and roll out the version that comes of it."
        if made.modalities[name] != modality:
            return f"Modality {name} is another one by now: fine-tune, and roll out the version that comes of it."
    listed = {action.id for action in settings.actions}
    if listed and not made.action_features and listed.isdisjoint(made.action_ids):
        return "It knows none of the loop's actions."
    if manifest.settings.problem_type != settings.problem_type:
        return f"It was made for problems of type {manifest.settings.problem_type}, not {settings.problem_type}."
    return None
