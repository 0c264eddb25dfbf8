import numpy as np
import torch

from services.trainer.augmentation import DROPPED, draw_shifts, drop_features, drop_modalities, shift_images
from shared.domain import Action
from shared.loop_settings import ModalitySettings
from shared.networks.batches import collate
from shared.networks.preprocessing import action_features

IMAGE, EMBEDDING = ModalitySettings(kind="image"), ModalitySettings(kind="embedding", dimension=2)


def test_a_shifted_picture_is_the_picture_up_to_two_pixels_away() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (3, 32, 32), np.uint8)
    batch = collate([{"photo": pixels}] * 200, ["photo"])
    (shifted,) = shift_images(batch, [IMAGE], draw_shifts(200, 1, torch.Generator().manual_seed(0))).modalities
    assert shifted is not None
    assert isinstance(shifted.inputs, torch.Tensor)
    assert shifted.inputs.dtype == torch.uint8
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2)), mode="edge")
    places = {padded[:, y : y + 32, x : x + 32].tobytes() for y in range(5) for x in range(5)}
    seen = {one.numpy().tobytes() for one in shifted.inputs.contiguous()}
    assert seen <= places
    assert len(seen) > 20


def test_a_clip_is_shifted_as_a_whole() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (3, 32, 32), np.uint8)
    batch = collate([{"clip": np.stack([frame] * 8)}] * 50, ["clip"])
    shifts = draw_shifts(50, 1, torch.Generator().manual_seed(0))
    (shifted,) = shift_images(batch, [ModalitySettings(kind="video")], shifts).modalities
    assert shifted is not None
    assert isinstance(shifted.inputs, torch.Tensor)
    assert shifted.inputs.shape == (50, 8, 3, 32, 32)
    assert (shifted.inputs == shifted.inputs[:, :1]).all()
    assert len({one.numpy().tobytes() for one in shifted.inputs.contiguous()}) > 10


def test_other_kinds_and_missing_pictures_are_left_alone() -> None:
    batch = collate([{"vector": np.ones(3, np.float32)}] * 2, ["photo", "vector"])
    assert shift_images(batch, [IMAGE, EMBEDDING], draw_shifts(2, 2, torch.Generator())) == batch


def test_modalities_are_dropped_as_often_as_said_and_never_the_last() -> None:
    vector = np.ones(3, np.float32)
    names = ["one", "other"]
    rows = drop_modalities([{"one": vector, "other": vector}] * 4000, names, torch.Generator().manual_seed(0))
    assert all(rows)
    dropped = np.mean(["one" not in row for row in rows])
    # Both at once, which is not done, aside; 4σ of 4,000.
    assert abs(dropped - DROPPED * (1 - DROPPED)) < 4 * np.sqrt(0.1 * 0.9 / 4000)
    assert drop_modalities([{"one": vector}] * 100, names, torch.Generator().manual_seed(0)) == [{"one": vector}] * 100


def test_what_is_dropped_does_not_depend_on_the_order_in_which_a_row_was_made() -> None:
    vector, names = np.ones(3, np.float32), ["one", "other"]
    rows, turned = ([dict.fromkeys(order, vector)] * 100 for order in (names, names[::-1]))
    kept, also = (drop_modalities(of, names, torch.Generator().manual_seed(0)) for of in (rows, turned))
    assert [set(row) for row in kept] == [set(row) for row in also]


def test_features_of_actions_are_left_out_but_never_all_that_there_is() -> None:
    bare, featured = action_features(Action("a")), action_features(Action("a", {"colour": "red", "price": 9.0}))
    dropped = drop_features([bare, featured] * 200, torch.Generator().manual_seed(0))
    assert all(np.array_equal(one.buckets, bare.buckets) for one in dropped[::2])
    identity = set(bare.buckets.tolist())
    named = [identity <= set(one.buckets.tolist()) for one in dropped[1::2]]
    assert 0.4 < np.mean(named) < 0.6
    assert {set(one.buckets.tolist()) & identity == identity or not set(one.buckets) & identity for one in dropped} == {
        True
    }
    assert all(0 < len(one.buckets) == len(one.weights) for one in dropped)
    assert 0.5 < np.mean([featured.buckets[-1] in one.buckets for one in dropped[1::2]]) < 0.9
