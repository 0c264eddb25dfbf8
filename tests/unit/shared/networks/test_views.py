"""Views against scipy's cosine transform, numpy's convolution and scikit-learn's principal components."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from sklearn.decomposition import PCA

from shared.loop_settings import LoopSettings, ModalitySettings
from shared.networks.batches import collate, collate_bags
from shared.networks.parts import build_encoder
from shared.networks.preparation import Row
from shared.networks.preprocessing import BUCKETS, Bag, text_features
from shared.networks.views import LENGTH, SKETCH, View, build_trunk_view, build_view, interactions, sketch
from shared.registry.manifest import Architecture
from tests.unit.shared.networks.conftest import MODALITIES

WIDTH = 10


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sounds(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 64, 32, generator=generator())


def pictures(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator())


def test_a_sound_is_seen_by_its_lowest_frequencies() -> None:
    pooled = sounds().reshape(4, 16, 4, 16, 2).mean((2, 4)).double().numpy()
    waves = dctn(pooled, axes=(1, 2), norm="ortho")

    expected = np.stack([waves[:, 0, 1], waves[:, 1, 0], waves[:, 1, 1]], axis=1)
    seen = build_view(ModalitySettings(kind="audio"), 3)(sounds()).double().numpy()
    np.testing.assert_allclose(seen, LENGTH * expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)


def test_a_pictures_brightness_and_contrast_hardly_matter_and_its_colour_does() -> None:
    view = build_view(ModalitySettings(kind="image"), 60)
    grey = pictures().float().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(view(0.5 * grey + 60), view(grey), atol=0.5, rtol=0)
    reddish = grey.clone()
    reddish[:, 0] += 60
    assert (view(reddish) - view(grey)).norm(dim=1).min() > 1


def test_a_sketch_keeps_inner_products_on_average() -> None:
    rng = np.random.default_rng(0)
    bags = [Bag(rng.integers(0, BUCKETS, 60), rng.normal(size=60).astype(np.float32) / 8) for _ in range(40)]
    sketches = sketch(collate_bags(bags))
    assert sketches.shape == (40, SKETCH)
    exact = np.zeros((40, BUCKETS))
    for row, bag in enumerate(bags):
        np.add.at(exact[row], bag.buckets, bag.weights)
    difference = (sketches @ sketches.T).numpy() - exact @ exact.T
    assert abs(difference[~np.eye(40, dtype=bool)].mean()) < 0.01
    embeddings = torch.randn(64, 4096, generator=generator()) / 64
    difference = (sketch(embeddings) @ sketch(embeddings).T - embeddings @ embeddings.T).fill_diagonal_(0)
    assert difference.abs().mean() < 2 / SKETCH**0.5
    assert abs(difference.mean()) < 0.01


def test_a_bag_is_sketched_alike_whatever_stands_beside_it() -> None:
    bags = [text_features("red shoes"), Bag(np.array([], np.int64), np.array([], np.float32)), text_features("a coat")]
    sketches = sketch(collate_bags(bags))
    assert not sketches[1].any()
    for row in (0, 2):
        assert torch.equal(sketches[row], sketch(collate_bags(bags[row : row + 1]))[0])
        assert sketches[row].any()


def test_a_fitted_view_is_the_principal_components_of_scikit_learn() -> None:
    view = build_view(ModalitySettings(kind="embedding", dimension=20), WIDTH)
    rows = torch.randn(200, 21, generator=generator()) @ torch.diag(torch.linspace(3, 0.1, 21))
    view.fit(rows)
    expected = PCA(WIDTH, svd_solver="full").fit(sketch(rows).double().numpy())
    projected = expected.transform(sketch(rows).double().numpy())
    projected *= LENGTH / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(view(rows).numpy()), np.abs(projected), atol=1e-3)
    np.testing.assert_allclose(view.explained_variance.numpy(), expected.explained_variance_, rtol=1e-4)


def test_what_a_pretrained_encoder_gives_is_seen_whole_by_its_principal_components() -> None:
    view = build_trunk_view(300, WIDTH)
    # As of rectified units: all have a large mean in common.
    rows = 5 + torch.randn(200, 301, generator=generator()) @ torch.diag(torch.linspace(3, 0.1, 301))
    directions = view(rows) / LENGTH
    assert (directions @ directions.T).fill_diagonal_(0).mean().abs() < 0.1
    view.fit(rows)
    centred = (rows - rows.mean(1, keepdim=True)).double().numpy()
    expected = PCA(WIDTH, svd_solver="full").fit(centred).transform(centred)
    expected *= LENGTH / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs(view(rows).numpy()), np.abs(expected), atol=1e-3)


def test_too_few_rows_leave_the_view_as_it_is() -> None:
    view = build_view(ModalitySettings(kind="audio"), WIDTH)
    before = view(sounds(39))
    view.fit(sounds(39))
    assert torch.equal(view(sounds(39)), before)
    view.fit(sounds(40))
    assert not torch.equal(view(sounds(39)), before)


def test_the_scale_of_an_embedding_does_not_matter() -> None:
    view = build_view(ModalitySettings(kind="embedding", dimension=19), WIDTH)
    rows = torch.randn(5, 20, generator=generator())
    torch.testing.assert_close(view(1000 * rows), view(rows))


def test_interactions_are_the_circular_convolution_and_tell_pairs_apart() -> None:
    context, actions = torch.randn(40, 30, generator=generator()), torch.randn(40, 10, generator=generator(1))
    found = interactions(context, actions, 64)
    torch.testing.assert_close(found.norm(dim=1), torch.full((40,), LENGTH))
    alone = interactions(torch.zeros(1, 30), actions[:1], 64)[0]
    impulse = torch.cat([context[0] / LENGTH, torch.ones(1), torch.zeros(33)]).roll(-30)
    expected = torch.tensor([float((impulse.flip(0).roll(shift + 1) * alone).sum()) for shift in range(64)]).roll(0)
    torch.testing.assert_close(found[0], LENGTH * expected / expected.norm(), atol=1e-4, rtol=0)
    # What a pair shares with another is what its parts share: the kernel of the products.
    kernel = torch.nn.functional.normalize(torch.cat([context / LENGTH, torch.ones(40, 1)], 1), dim=1)
    exact = (kernel @ kernel.T) * torch.nn.functional.cosine_similarity(actions[:, None], actions[None], dim=-1)
    many = interactions(context, actions, 1024) / LENGTH
    assert (many @ many.T - exact).abs().mean() < 0.1


@pytest.mark.parametrize("name", MODALITIES)
def test_every_kind_is_seen(rows: list[Row], name: str) -> None:
    view: View = build_view(MODALITIES[name], 27)
    batch = collate(rows, [name]).modalities[0]
    assert batch is not None
    seen = view(batch.inputs)
    assert seen.shape == (8, 27)
    assert len(seen.unique(dim=0)) == 8


@pytest.mark.parametrize("width", [4, 60])
def test_a_clip_and_its_reverse_differ_in_what_changes_alone(width: int) -> None:
    pixels = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8, generator=generator())
    view = build_view(ModalitySettings(kind="video"), width)
    forward, reverse = view(pixels), view(pixels.flip(1))
    assert forward.shape == (2, width)
    still = width - width // 4
    torch.testing.assert_close(forward[:, :still], reverse[:, :still])
    torch.testing.assert_close(forward[:, still:], -reverse[:, still:])


def test_settings_narrow_a_view_and_the_encoding_keeps_its_width() -> None:
    modality = ModalitySettings(kind="audio", components=3)
    assert build_view(modality, WIDTH)(sounds()).shape == (4, 3)
    assert build_view(modality, 2)(sounds()).shape == (4, 2)
    architecture = Architecture.of(LoopSettings(modalities={"voice": modality}))
    encoded, _ = build_encoder(architecture)(collate([{"voice": sounds()[0].numpy()}], ["voice"]))
    seen = encoded[0, 0, architecture.embedding_width :]
    assert seen.shape == (architecture.view_width,)
    assert seen.nonzero().flatten().tolist() == [0, 1, 2]


def test_interactions_have_gradients_after_serving_has_used_them() -> None:
    with torch.inference_mode():
        interactions(torch.ones(1, 7), torch.ones(1, 9), 32)
    context, actions = torch.ones(2, 7, requires_grad=True), torch.rand(2, 9, requires_grad=True)
    interactions(context, actions, 32)[:, 0].sum().backward()
    assert context.grad is not None
    assert actions.grad is not None
