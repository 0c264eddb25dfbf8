import pytest
import torch

from services.encoding.encoding import Encoders, encode, load_encoder
from shared.domain import Action, Media, ModelRef
from shared.loop_settings import LoopSettings
from shared.networks.media_decoder import decode_all
from shared.networks.preparation import NO_BYTES, Refusal
from shared.networks.preprocessing import RefusedValueError
from shared.registry.loading import Loaded
from shared.registry.manifest import Architecture
from tests.versions import fetch_nothing, manifest_of, parts_of

MODALITIES = {"title": {"kind": "text"}, "user": {"kind": "tabular"}}


WIDTH = Architecture.of(LoopSettings.model_validate({"modalities": MODALITIES})).encoded_width


def version(*, features: bool) -> Loaded[Encoders]:
    action = {"id": "a", "features": {"price": 1}} if features else {"id": "a"}
    settings = LoopSettings.model_validate({"modalities": MODALITIES, "actions": [action]})
    architecture = Architecture.of(settings)
    data = parts_of(architecture, 1, experienced=False)["encoding"]
    manifest = manifest_of(settings, ModelRef("default", "shoes", 1), {"encoding": "0" * 64})
    return Loaded(manifest, load_encoder(architecture, data))


def test_a_refused_value_leaves_its_row_the_other_modalities() -> None:
    contexts = [{"title": "Red shoe", "user": {"age": 31}}, {"title": {"age": 31}, "user": {"age": 31}}]
    encoded = encode(version(features=False), contexts, [], decode_all, fetch_nothing)
    assert encoded.embeddings.shape == (2, 2, WIDTH)
    assert encoded.present.tolist() == [[True, True], [False, True]]
    assert not encoded.embeddings[1, 0].any()
    torch.testing.assert_close(encoded.embeddings[0, 1], encoded.embeddings[1, 1])
    assert [(refusal.row, refusal.modality) for refusal in encoded.refusals] == [(1, "title")]
    assert encoded.actions is None


def test_a_missing_artifact_refuses_the_value_alone() -> None:
    contexts = [{"title": Media("text/plain", "0" * 64), "user": {"age": 31}}]
    encoded = encode(version(features=False), contexts, [], decode_all, fetch_nothing)
    assert encoded.refusals == [Refusal(0, "title", NO_BYTES)]
    assert encoded.present.tolist() == [[False, True]]


def test_actions_are_embedded_where_the_version_reads_their_features() -> None:
    actions = [Action("a", {"price": 1}), Action("new", {"price": 2}), Action("a", {"price": 1})]
    encoded = encode(version(features=True), [{}], actions, decode_all, fetch_nothing)
    assert encoded.actions is not None
    assert encoded.actions.shape == (3, WIDTH)
    assert torch.equal(encoded.actions[0], encoded.actions[2])
    assert not torch.equal(encoded.actions[0], encoded.actions[1])


def test_refuses_actions_where_the_version_does_not_read_them_and_needs_none_where_it_does() -> None:
    with pytest.raises(ValueError, match="by id alone"):
        encode(version(features=False), [{}], [Action("a")], decode_all, fetch_nothing)
    assert encode(version(features=True), [{}], [], decode_all, fetch_nothing).actions is None


def test_refuses_an_action_with_a_number_that_is_not_finite() -> None:
    with pytest.raises(RefusedValueError):
        encode(version(features=True), [{}], [Action("a", {"price": float("inf")})], decode_all, fetch_nothing)
