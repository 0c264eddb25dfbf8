import numpy as np
import pytest
import torch

from shared.domain import Action
from shared.networks.batches import collate, collate_bags
from shared.networks.parts import build_encoder
from shared.networks.preparation import Row
from shared.networks.preprocessing import action_features
from shared.networks.views import LENGTH
from tests.unit.shared.networks.conftest import MODALITIES, architecture_of

NAMES = list(MODALITIES)


def test_every_modality_has_an_embedding_of_one_scale(rows: list[Row]) -> None:
    architecture = architecture_of()
    encoded, present = build_encoder(architecture)(collate(rows, NAMES))
    assert encoded.shape == (8, 6, architecture.encoded_width)
    assert present.all()
    embeddings, views = encoded.tensor_split([architecture.embedding_width], dim=-1)
    torch.testing.assert_close(views.norm(dim=-1), torch.full((8, 6), LENGTH))
    torch.testing.assert_close(embeddings.mean(-1), torch.zeros(8, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings.std(-1, correction=0), torch.ones(8, 6), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_each_modality_reaches_its_own_embedding_and_nobody_elses(rows: list[Row], name: str) -> None:
    encoder = build_encoder(architecture_of())
    before, _ = encoder(collate(rows, NAMES))
    after, _ = encoder(collate([rows[0] | {name: rows[1][name]}, *rows[1:]], NAMES))
    changed = (before != after).any(-1)
    assert changed.nonzero().tolist() == [[0, NAMES.index(name)]]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_of_the_encoder(rows: list[Row], name: str) -> None:
    encoder = build_encoder(architecture_of())
    embeddings, _ = encoder(collate(rows, NAMES))
    # Squares alone would not do: the normalisation makes their sum constant.
    embeddings[:, NAMES.index(name)].pow(3).sum().backward()
    for index, one in enumerate(encoder.modalities):
        for parameter in one.parameters():
            learns = parameter.grad is not None and bool(parameter.grad.any())
            assert learns == (index == NAMES.index(name))


def test_what_is_missing_is_zero_and_leaves_the_others_alone(rows: list[Row]) -> None:
    encoder = build_encoder(architecture_of())
    full, _ = encoder(collate(rows, NAMES))
    thinned: list[Row] = [{"title": rows[0]["title"]}, {}, {"photo": rows[2]["photo"], "vector": rows[2]["vector"]}]
    embeddings, present = encoder(collate(thinned, NAMES))
    assert present.tolist() == [
        [False, False, False, True, False, False],
        [False] * 6,
        [True, False, False, False, True, False],
    ]
    assert not embeddings[~present].any()
    torch.testing.assert_close(embeddings[0, 3], full[0, 3], atol=1e-4, rtol=0)
    torch.testing.assert_close(embeddings[2, [0, 4]], full[2, [0, 4]], atol=1e-4, rtol=0)


def test_a_row_alone_is_embedded_as_in_a_batch_and_twice_alike(rows: list[Row]) -> None:
    encoder = build_encoder(architecture_of()).eval()
    with torch.inference_mode():
        batch, _ = encoder(collate(rows, NAMES))
        alone, _ = encoder(collate(rows[3:4], NAMES))
        again, _ = encoder(collate(rows[3:4], NAMES))
    torch.testing.assert_close(alone[0], batch[3], atol=1e-4, rtol=0)
    assert torch.equal(alone, again)


def test_an_empty_text_and_an_empty_batch_are_embedded() -> None:
    encoder = build_encoder(architecture_of())
    nothing, _ = encoder(collate([], NAMES))
    assert nothing.shape == (0, 6, architecture_of().encoded_width)
    empty: Row = {"vector": np.zeros(7, np.float32)}
    embeddings, _ = encoder(collate([empty], NAMES))
    assert embeddings.isfinite().all()


def test_actions_are_embedded_by_identity_and_by_features() -> None:
    encoder = build_encoder(architecture_of(features=True))
    actions = [Action("a"), Action("b"), Action("a", {"price": 3}), Action("a", {"price": 4})]
    embeddings = encoder.encode_actions(collate_bags([action_features(action) for action in actions]))
    assert embeddings.shape == (4, architecture_of().encoded_width)
    assert len(set(map(tuple, embeddings.tolist()))) == 4


def test_the_view_of_an_action_shows_its_features_more_than_its_identity() -> None:
    encoder, features = build_encoder(architecture_of(features=True)), {"colour": "red"}
    actions = [Action("a"), Action("b"), Action("a", features), Action("b", features)]
    encoded = encoder.encode_actions(collate_bags([action_features(action) for action in actions]))
    views = encoded[:, architecture_of().embedding_width :]
    torch.testing.assert_close(views.norm(dim=1), torch.full((4,), LENGTH))
    alone, featured = torch.cosine_similarity(views[::2], views[1::2]).tolist()
    assert alone < 0.6
    assert 0.8 < featured < 0.99


def test_there_are_no_action_embeddings_where_actions_have_no_features() -> None:
    with pytest.raises(ValueError, match="no embeddings of actions"):
        build_encoder(architecture_of()).encode_actions(collate_bags([action_features(Action("a"))]))
