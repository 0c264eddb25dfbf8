"""One pass over a real stream as a bandit, by the platform or by Vowpal Wabbit, and what is kept of it.

The streams and their drivers are those of bench/streams.py in a folder beside the project, ../shared unless
REWARDLOOP_SHARED names another: each row is a decision among ten classes, and only the chosen one's reward is
revealed. `drift` is the digits stream whose classes change their names half-way. Settings are the platform's defaults
unless others are asked for; VW has those that are best for the stream.
"""

import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, NamedTuple

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from benchmarks import expectations
from benchmarks.measured import Measured
from benchmarks.serving import served_platform, wait_for_version

NAMES: Final = ("digits", "fmnist", "mnist", "av", "avm", "drift")
CLASSES: Final = 10
SHARED: Final = "REWARDLOOP_SHARED"

Contender = Literal["rewardloop", "vw"]
# What a driver takes: pictures, sounds, labels, presence by modality, names of the classes, pixels.
Rows = tuple[object, object, NDArray[np.int64], object, Sequence[str], object]


class Asked(BaseModel):
    """What a pass is asked to be: another answer is no answer to it."""

    model_config = ConfigDict(frozen=True)

    stream: str
    seed: int
    contender: Contender
    n: int | None
    train_every: int
    rate: float
    # JSON of settings beside the defaults.
    loop: str = "{}"


class StreamResult(Measured):
    """What a pass came to: the reward of each decision, and of the platform's what each version expected of it."""

    asked: Asked
    hits: list[int]
    seconds: float
    # Version, expected and joined reward, in order.
    told: list[tuple[int, float, float]] = Field(default_factory=list)

    @property
    def last(self) -> NDArray[np.int64]:
        """The last 500 rewards, or the last tenth where that is more."""
        return np.array(self.hits[-max(500, len(self.hits) // 10) :])


class StreamsMissingError(RuntimeError):
    """The folder of streams is not there; the text says where it was looked for."""


class Driver(NamedTuple):
    """The module that drives streams."""

    module: ModuleType

    @classmethod
    def load(cls) -> "Driver":
        """From the shared folder.

        Raises:
            StreamsMissingError: it is not there.
        """
        shared = Path(os.environ.get(SHARED, Path(__file__).resolve().parents[2] / "shared"))
        path = shared / "bench" / "streams.py"
        spec = importlib.util.spec_from_file_location("bench_streams", path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise StreamsMissingError(f"{path} is not there: the streams are no part of this project; set {SHARED}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return cls(module)

    def run(self, asked: Asked) -> StreamResult:
        """The pass; the platform's on a state folder of its own."""
        arguments = argparse.Namespace(
            stream=_data_of(asked.stream),
            rate=asked.rate,
            train_every=asked.train_every,
            secret=asked.seed,
            same=False,
            permute=False,
            loop=asked.loop,
        )
        rows = self.rows_of(asked)
        if asked.contender == "vw":
            hits, seconds = self.module.through_vw(arguments, *rows)
            return StreamResult(asked=asked, hits=hits, seconds=round(seconds, 1))
        with tempfile.TemporaryDirectory() as home, served_platform(Path(home)) as (url, key, _):
            arguments.url, arguments.key = url, key
            _wait_for_trainer(url, key)
            hits, seconds = self.module.through_rewardloop(arguments, *rows)
            told = expectations.read_newest_loop(Path(home))
        return StreamResult(
            asked=asked,
            hits=hits,
            seconds=round(seconds, 1),
            told=[(int(version), round(expected, 4), reward) for version, expected, reward in told.tolist()],
        )

    def rows_of(self, asked: Asked) -> Rows:
        """A stream in the order of its seed."""
        images, sounds, labels, here = self.module.rows(_data_of(asked.stream))
        rng = np.random.RandomState(asked.seed)
        order = rng.permutation(len(labels))[: asked.n]
        names = [f"class-{value:03d}" for value in rng.permutation(1000)[:CLASSES]]
        labels = labels[order].astype(np.int64)
        if asked.stream == "drift":
            half = len(labels) // 2
            # Nobody keeps a name.
            labels[half:] = (labels[half:] + rng.randint(1, CLASSES)) % CLASSES
        sounds = [sounds[index] for index in order] if sounds else None
        present = {modality: there[order] for modality, there in here.items()}
        return images[order], sounds, labels, present, names, np.arange(images[0].size)


def decisions_to_recover(hits: Sequence[int], window: int = 100, share: float = 0.9) -> int | None:
    """How many decisions after the middle the reward is back at a share of its level before, each over a window.

    None where it never is.
    """
    half = len(hits) // 2
    level = float(np.mean(hits[half - window : half]))
    for seen in range(window, len(hits) - half + 1):
        if float(np.mean(hits[half + seen - window : half + seen])) >= share * level:
            return seen
    return None


def _wait_for_trainer(url: str, key: str) -> None:
    """The gateway is ready some seconds before the trainer, which makes a loop's first version: until then decisions
    are spread evenly. A stream is to show how a platform that runs learns, not how one starts."""
    loop = f"{url}/v1/loops/first"
    body = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        http.put(loop, json=body).raise_for_status()
        wait_for_version(http, f"{loop}/decisions", json.dumps({"context": {"title": "one"}}).encode())


def _data_of(stream: str) -> str:
    return "digits" if stream == "drift" else stream
