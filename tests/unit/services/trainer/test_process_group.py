from itertools import chain

import pytest
import torch

from services.trainer.process_group import ProcessesError, Rank, own_device
from shared.networks.placement import CPU


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [10, 63, 64])
def test_ranks_share_a_minibatch_and_their_means_are_its_mean(size: int, count: int) -> None:
    values = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    ranks = [Rank(index, count) for index in range(count)]
    rows = [range(size)[rank.rows(size)] for rank in ranks]
    assert list(chain(*rows)) == list(range(size))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1
    shared = sum(float(rank.share(size) * values[rank.rows(size)].mean()) for rank in ranks) / count
    assert shared == pytest.approx(float(values.mean()), rel=1e-12)


def test_a_rank_alone_takes_every_row_at_full_weight() -> None:
    assert range(10)[Rank().rows(10)] == range(10)
    assert Rank().share(10) == 1.0
    assert Rank().mean(torch.tensor(3.0)) == 3.0


@pytest.mark.parametrize(("name", "gpus", "places"), [("cpu", 2, CPU), ("auto", 1, CPU), ("auto", 2, "cuda:1")])
def test_each_process_gets_a_gpu_of_its_own_or_all_the_cpu(
    name: str, gpus: int, places: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(gpus, monkeypatch)
    found = own_device(name, 1, 2)  # type: ignore[arg-type] # one of the three
    assert str(found) == str(places)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(1, monkeypatch)
    with pytest.raises(ProcessesError, match="2 GPUs are asked for and 1 are here"):
        own_device("cuda", 0, 2)


def pretend(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
