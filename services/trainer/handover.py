"""What a fine-tune on several processes is given and gives back, as files of a folder: safetensors and JSON.

Shapes: N rows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.experiences import NextState, PreparedExperience
from services.trainer.fine_tuning import DivergedError, FineTuned
from services.trainer.networks import Networks
from services.trainer.repository import JoinedRow
from shared.loop_settings import LearningSettings
from shared.networks.batches import Bags, collate, collate_bags
from shared.networks.parts import build_encoder, build_fusion, build_q_network, load_module, save_module
from shared.networks.preparation import Row
from shared.networks.preprocessing import Bag, Features
from shared.registry.manifest import Architecture

# Where the processes meet.
MEETING: Final = "meeting"
ASSIGNMENT: Final = "assignment.json"
EXAMPLES: Final = "examples.safetensors"
PROGRESS: Final = "progress.json"
OUTCOME: Final = "outcome.json"
PARTS: Final = ("encoder", "fusion", "q_network")

Tensors = dict[str, Tensor]


class Assignment(NamedTuple):
    """What `fine_tune` takes first."""

    champion: Networks
    examples: Examples
    learning: LearningSettings
    seed: int


def write_assignment(folder: Path, assignment: Assignment) -> None:
    """Writes all that each rank reads."""
    champion, examples = assignment.champion, assignment.examples
    _write_networks(folder, "champion", champion)
    names = list(champion.architecture.modalities)
    of_examples = {field.name: getattr(examples, field.name) for field in fields(examples)}
    experiences: Sequence[PreparedExperience] = of_examples.pop("experiences")
    tensors = {name: value for name, value in of_examples.items() if isinstance(value, Tensor)}
    following = [one.next_state for one in experiences if one.next_state is not None]
    packed = (
        {f"examples.{name}": value.contiguous() for name, value in tensors.items()}
        | _pack_rows("state", [one.features for one in experiences], names)
        | _pack_bags("action", [one.action for one in experiences])
        | _pack_rows("next", [one.features for one in following], names)
        | _pack_bags("candidates", [bag for one in following for bag in one.actions])
    )
    save_file(packed, folder / EXAMPLES)
    body = {
        "architecture": champion.architecture.model_dump(mode="json"),
        "learning": assignment.learning.model_dump(mode="json"),
        "seed": assignment.seed,
        "examples": {name: value for name, value in of_examples.items() if name not in tensors},
        "experiences": [
            {"row": asdict(one.row), "end": one.end, "next_action_ids": _next_action_ids(one)} for one in experiences
        ],
        "candidates": [len(one.actions) for one in following],
    }
    # Not pydantic's JSON: a reward may be infinite.
    (folder / ASSIGNMENT).write_text(json.dumps(body))


def read_assignment(folder: Path) -> Assignment:
    """What `write_assignment` wrote."""
    body, tensors = json.loads((folder / ASSIGNMENT).read_text()), load_file(folder / EXAMPLES)
    architecture = Architecture.model_validate(body["architecture"])
    names, records = list(architecture.modalities), body["experiences"]
    followed = [record for record in records if record["next_action_ids"] is not None]
    bags, counts = iter(_bags("candidates", tensors)), body["candidates"]
    next_states = iter(
        NextState(features, record["next_action_ids"], [next(bags) for _ in range(count)])
        for features, record, count in zip(_rows("next", tensors, len(followed), names), followed, counts, strict=True)
    )
    experiences = [
        PreparedExperience(
            JoinedRow(**record["row"]),
            features,
            action,
            None if record["next_action_ids"] is None else next(next_states),
            record["end"],
        )
        for record, features, action in zip(
            records, _rows("state", tensors, len(records), names), _bags("action", tensors), strict=True
        )
    ]
    own = {name.removeprefix("examples."): tensor for name, tensor in tensors.items() if name.startswith("examples.")}
    return Assignment(
        _read_networks(folder, "champion", architecture),
        Examples(experiences, **own | body["examples"]),
        LearningSettings.model_validate(body["learning"]),
        body["seed"],
    )


def write_progress(folder: Path, step: int, steps: int, loss: float | None) -> None:
    """Replaces what was told before."""
    written = folder / f"{PROGRESS}.new"
    written.write_text(json.dumps([step, steps, loss]))
    written.replace(folder / PROGRESS)


def read_progress(folder: Path) -> tuple[int, int, float | None] | None:
    """Steps done, steps in all and the loss, as last told; None before the first step."""
    try:
        step, steps, loss = json.loads((folder / PROGRESS).read_text())
    except FileNotFoundError:
        return None
    return step, steps, loss


def write_outcome(folder: Path, outcome: FineTuned | DivergedError) -> None:
    """Writes what came of the fine-tune."""
    if isinstance(outcome, DivergedError):
        (folder / OUTCOME).write_text(json.dumps({"diverged": str(outcome)}))
        return
    _write_networks(folder, "tuned", outcome.networks)
    figures = {field.name: getattr(outcome, field.name) for field in fields(outcome) if field.name != "networks"}
    (folder / OUTCOME).write_text(json.dumps({"figures": figures}))


def read_outcome(folder: Path, architecture: Architecture) -> FineTuned:
    """What came of the fine-tune.

    Raises:
        DivergedError: that it diverged.
    """
    body = json.loads((folder / OUTCOME).read_text())
    if "diverged" in body:
        raise DivergedError(body["diverged"])
    return FineTuned(_read_networks(folder, "tuned", architecture), **body["figures"])


def _next_action_ids(experience: PreparedExperience) -> list[str] | None:
    return None if experience.next_state is None else list(experience.next_state.action_ids)


def _write_networks(folder: Path, name: str, networks: Networks) -> None:
    for part, module in zip(PARTS, networks.modules, strict=True):
        (folder / f"{name}.{part}.safetensors").write_bytes(save_module(module))


def _read_networks(folder: Path, name: str, architecture: Architecture) -> Networks:
    encoder, fusion, q_network = ((folder / f"{name}.{part}.safetensors").read_bytes() for part in PARTS)
    return Networks(
        architecture,
        load_module(build_encoder(architecture), encoder),
        load_module(build_fusion(architecture), fusion),
        load_module(build_q_network(architecture), q_network),
    )


def _pack_rows(prefix: str, rows: Sequence[Row], names: Sequence[str]) -> Tensors:
    packed: Tensors = {}
    for place, modality in enumerate(collate(rows, names).modalities):
        if modality is not None:
            packed[f"{prefix}.{place}.rows"] = modality.rows
            packed |= _pack_inputs(f"{prefix}.{place}", modality.inputs)
    return packed


def _pack_bags(prefix: str, bags: Sequence[Bag]) -> Tensors:
    return _pack_inputs(prefix, collate_bags(bags)) if bags else {}


def _pack_inputs(prefix: str, inputs: Bags | Tensor) -> Tensors:
    if isinstance(inputs, Tensor):
        return {f"{prefix}.inputs": inputs}
    return {f"{prefix}.{field.name}": getattr(inputs, field.name) for field in fields(inputs)}


def _rows(prefix: str, tensors: Mapping[str, Tensor], count: int, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = [{} for _ in range(count)]
    for place, name in enumerate(names):
        if f"{prefix}.{place}.rows" in tensors:
            present = tensors[f"{prefix}.{place}.rows"].tolist()
            for row, features in zip(present, _features(f"{prefix}.{place}", tensors), strict=True):
                rows[row][name] = features
    return rows


def _features(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[Features]:
    if f"{prefix}.inputs" in tensors:
        yield from tensors[f"{prefix}.inputs"].numpy()
    else:
        yield from _bags(prefix, tensors)


def _bags(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[Bag]:
    if f"{prefix}.offsets" not in tensors:
        return
    buckets, weights, offsets = (tensors[f"{prefix}.{name}"].numpy() for name in ("buckets", "weights", "offsets"))
    ends = offsets[1:]
    for of_one in zip(np.split(buckets, ends), np.split(weights, ends), strict=True):
        yield Bag(*of_one)
