"""The examples by the SDK do what they say, on a running platform."""

import numpy as np

from examples import lake, quickstart, shop
from examples.visiting import PATIENT
from rewardloop import Rewardloop
from tests.e2e.conftest import KEY, Platform


def test_the_quickstart_learns_who_wants_what(shared_platform: Platform) -> None:
    with Rewardloop(shared_platform.url, KEY, PATIENT) as client:
        rewards = quickstart.run(client, "example-quickstart")
    # An even choice earns .5.
    assert rewards[-1] >= 0.8, rewards


def test_the_shop_shows_what_suits(shared_platform: Platform) -> None:
    with Rewardloop(shared_platform.url, KEY, PATIENT) as client:
        rewards = shop.run(client, "example-shop", visits=240, tune_every=100)
    assert np.mean(rewards[-shop.WINDOW :]) > shop.EVEN_CHOICE + 0.15, rewards


def test_the_lake_is_crossed_in_fewer_steps(shared_platform: Platform) -> None:
    with Rewardloop(shared_platform.url, KEY, PATIENT) as client:
        steps = lake.run(client, "example-lake", episodes=15, tune_every=5)
        assert client.statistics("example-lake")["experiences"] == sum(steps)
    assert np.mean(steps[-5:]) <= 6, steps
