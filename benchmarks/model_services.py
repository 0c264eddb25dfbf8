"""What a batch costs encoding, fusion and policy, from a message's bytes to the answer's, with no gRPC around it.

The decision is that of `benchmarks/decide.py`: three embeddings, ten actions with 32 features that encoding knows by
now, under a version that has learned from 300 experiences. Each handler is called again and again; the least time
counts, which what else a machine does can only lengthen.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar, cast

import numpy as np
import torch
from google.protobuf.message import Message

from benchmarks.decide import ACTIONS, DIMENSIONS, FEATURES
from services.encoding.encoding import Encoders, load_encoder
from services.encoding.server import EncodingServicer
from services.fusion.server import FusionServicer, load_fusion
from services.gateway.stages import exploration_to_pb
from services.policy.deciding import load_version_policy
from services.policy.learning import Head, OnlineHeads
from services.policy.server import PolicyServicer
from shared import wire
from shared.domain import Action, ModelRef
from shared.loop_settings import LoopSettings
from shared.networks.placement import ON_CPU
from shared.networks.policy import Policy
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.policy.v1 import policy_pb2
from shared.registry.loading import Loaded, LoadedVersions
from shared.registry.manifest import Architecture
from tests.versions import manifest_of, parts_of

T = TypeVar("T")
REF: Final = ModelRef("default", "benchmark", 1)


@dataclass(frozen=True, slots=True)
class One(Generic[T]):
    """Stands for the loaded versions: this one is all there is."""

    version: Loaded[T]

    def get(self, _: ModelRef) -> Loaded[T]:
        return self.version


class Unlearning:
    """Stands for the online heads: they stay as the version came."""

    def current(self, version: Loaded[Policy]) -> Head:
        return Head(version, version.part, version.manifest.covers_sequence)


@dataclass(frozen=True, slots=True)
class Services:
    encoding: EncodingServicer
    fusion: FusionServicer
    policy: PolicyServicer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each service and size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("microseconds a decision: encoding, fusion, policy")
    for size in map(int, options.batches.split(",")):
        costs = [1e6 * least(call, options.seconds) / size for call in calls(services(), size)]
        print(f"{size:4d}", *(f"{cost:10.1f}" for cost in costs), flush=True)


def services() -> Services:
    """The servicers over one version of the benchmark's loop."""
    modalities = {name: {"kind": "embedding", "dimension": size} for name, size in DIMENSIONS.items()}
    settings = LoopSettings.model_validate({"modalities": modalities})
    architecture = Architecture.of(settings)
    files = parts_of(architecture, 1, experienced=True)
    manifest = manifest_of(settings, REF, dict.fromkeys(files, "0" * 64), 300)
    encoders = Loaded(manifest, load_encoder(architecture, files["encoding"]))
    fusion = Loaded(manifest, load_fusion(architecture, files["fusion"]))
    policy = Loaded(manifest, load_version_policy(architecture, files["policy"]))
    unused = ThreadPoolExecutor(1)
    return Services(
        EncodingServicer(cast("LoadedVersions[Encoders]", One(encoders)), lambda _: [], bytes.fromhex, unused),
        FusionServicer(cast("LoadedVersions[torch.nn.Module]", One(fusion)), unused, ON_CPU),
        PolicyServicer(cast("LoadedVersions[Policy]", One(policy)), cast("OnlineHeads", Unlearning()), unused),
    )


def calls(of: Services, size: int) -> list[Callable[[], bytes]]:
    """A call of each service with a batch of this size, each fed with what the one before it answers."""
    generator, model = np.random.default_rng(0), wire.model_ref_to_pb(REF)

    def floats(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return generator.standard_normal(count).astype(np.float32)

    contexts = [{name: floats(count) for name, count in DIMENSIONS.items()} for _ in range(size)]
    actions = [
        Action(f"a{index}", {f"f{at}": float(value) for at, value in enumerate(floats(FEATURES))})
        for index in range(ACTIONS)
    ]
    embedded = of.encoding._encode(
        encoding_pb2.EncodeRequest(
            model=model,
            contexts=map(wire.context_to_pb, contexts[:1]),
            actions=map(wire.action_to_pb, actions),
        )
    )
    encode = encoding_pb2.EncodeRequest(model=model, contexts=map(wire.context_to_pb, contexts))
    encoded = of.encoding._encode(encode)
    fuse = fusion_pb2.FuseRequest(model=model, embeddings=encoded.embeddings, present=encoded.present)
    decide = policy_pb2.DecideRequest(
        model=model,
        exploration=exploration_to_pb(of.encoding._loaded.get(REF).manifest.settings),
        states=of.fusion._fuse(fuse).states,
        candidates=[policy_pb2.Candidates(action_ids=[action.id for action in actions])] * size,
        action_embeddings=wire.tensor_to_pb(np.tile(wire.floats_from_pb(embedded.action_embeddings, 2), (size, 1))),
        seeds=[int(seed) for seed in generator.integers(0, 2**63, size)],
    )
    return [
        partial(_call, encode, of.encoding._encode),
        partial(_call, fuse, of.fusion._fuse),
        partial(_call, decide, of.policy._decide),
    ]


def _call(request: T, answer: Callable[[T], Message]) -> bytes:
    assert isinstance(request, Message)
    return answer(type(request).FromString(request.SerializeToString())).SerializeToString()


def least(call: Callable[[], bytes], seconds: float) -> float:
    """The shortest of the calls that a time has room for, in seconds."""
    call()
    shortest, end = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


if __name__ == "__main__":
    main()
