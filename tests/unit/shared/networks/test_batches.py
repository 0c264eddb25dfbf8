import numpy as np

from shared.networks.batches import collate_bags
from shared.networks.preprocessing import Bag


def bag(*buckets: int) -> Bag:
    return Bag(np.array(buckets, np.int64), np.array(buckets, np.float32) / 10)


def test_bags_are_split_behind_their_first_few() -> None:
    firsts, rest = collate_bags([bag(1, 2, 3), bag(4), bag(5, 6), bag(7, 8, 9)]).split(2)
    assert firsts.buckets.tolist() == [1, 2, 4, 5, 6, 7, 8]
    assert firsts.offsets.tolist() == [0, 2, 3, 5]
    assert rest.buckets.tolist() == [3, 9]
    assert rest.offsets.tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(rest.weights, [0.3, 0.9])
