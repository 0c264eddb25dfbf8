"""What one decision sends to a model service and gets back, and how an answer is taken apart into such rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared import wire
from shared.domain import Doubles, Floats, Scores
from shared.loop_settings import LoopSettings
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.policy.v1 import policy_pb2

ArrayT = TypeVar("ArrayT", bound=NDArray[np.generic])

# What the sum of a distribution may be off by.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Encoded:
    """One context: modalities M, embeddings [M, D] and present [M]."""

    modalities: Sequence[str]
    embeddings: Floats
    present: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refused:
    """A context value that encoding could not read."""

    modality: str
    reason: str


@dataclass(frozen=True, slots=True)
class Candidates:
    """What policy chooses from: the state [S], A action ids with their embeddings, [G] each, and the draw's seed.

    `excluded` and `baseline` are positions in `action_ids`.
    """

    state: Floats
    action_ids: Sequence[str]
    excluded: Sequence[int]
    action_embeddings: Sequence[Floats] | None
    seed: int
    baseline: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What attribution is asked about: the chosen action with its embedding [G], and what the choice rested on."""

    encoded: Encoded
    state: Floats
    action_id: str
    action_embedding: Floats | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The drawn position, and what it was drawn from; float64 [A]. `abstained`: the baseline, for want of certainty."""

    position: int
    probabilities: Doubles
    scores: Scores
    head_sequence: int
    abstained: bool = False


def encoded_from_pb(
    answer: encoding_pb2.EncodeResponse, count: int, actions: int
) -> tuple[list[Encoded | Refused], Sequence[Floats]]:
    """One row a context, of `count`, and the embedding [G] of each of so many actions.

    Raises:
        WireError: it is not what the contract promises.
    """
    embeddings = rows_of(wire.floats_from_pb(answer.embeddings, 3), count)
    present = rows_of(wire.tensor_from_pb(answer.present, "bool", 2).astype(np.bool_, copy=False), count)
    of_actions = list(rows_of(wire.floats_from_pb(answer.action_embeddings, 2), actions)) if actions else []
    names = list(answer.modalities)
    rows: list[Encoded | Refused] = [Encoded(names, *row) for row in zip(embeddings, present, strict=True)]
    for refusal in answer.refusals:
        if not 0 <= refusal.row < len(rows):
            raise wire.WireError("a row was refused that was never sent")
        rows[refusal.row] = Refused(refusal.modality, refusal.reason)
    return rows, of_actions


def choices_from_pb(answer: policy_pb2.DecideResponse, rows: Sequence[Candidates]) -> list[Choice]:
    """One choice a row.

    Raises:
        WireError: it is not what the contract promises, or not finite.
    """
    counts = [len(row.action_ids) for row in rows]
    tensors = [answer.probabilities, answer.expected_rewards, answer.variances, answer.outcome_variances]
    if answer.HasField("policy_logits"):
        tensors.append(answer.policy_logits)
    columns = [rows_of(wire.doubles_from_pb(tensor), sum(counts)) for tensor in tensors]
    if not all(np.isfinite(column).all() for column in columns):
        raise wire.WireError("scores or probabilities are not finite")
    drawn = rows_of(wire.tensor_from_pb(answer.drawn, "int64", 1), len(rows)).tolist()
    abstained = rows_of(np.array(answer.abstained or [False] * len(rows)), len(rows)).tolist()
    splits = [np.split(column, np.cumsum(counts)[:-1]) for column in columns]
    choices = []
    for position, gave_up, count, probabilities, *scores in zip(drawn, abstained, counts, *splits, strict=True):
        if not 0 <= position < count or not 0 < probabilities[position] <= 1 + ROUNDING:
            raise wire.WireError("an action was drawn that has no probability")
        choices.append(Choice(position, probabilities, Scores(*scores), answer.head_sequence, gave_up))
    return choices


def importance_from_pb(
    answer: fusion_pb2.AttributeResponse, rows: Sequence[Explained]
) -> list[dict[str, float] | None]:
    """Shares by modality that was present, a row; None where none of them mattered.

    Raises:
        WireError: it is not what the contract promises, or not finite.
    """
    shares = rows_of(wire.doubles_from_pb(answer.shares, 2), len(rows))
    if not np.isfinite(shares).all() or any(shares.shape[1] != len(row.encoded.modalities) for row in rows):
        raise wire.WireError("shares are not finite, or not of the version's modalities")
    return [_importance(row.encoded, of_row) for row, of_row in zip(rows, shares, strict=True)]


def _importance(encoded: Encoded, shares: Doubles) -> dict[str, float] | None:
    if not shares.any():
        return None
    return dict(zip(compress(encoded.modalities, encoded.present), shares[encoded.present].tolist(), strict=True))


def exploration_to_pb(settings: LoopSettings) -> policy_pb2.Exploration:
    exploration, (low, high) = settings.exploration, settings.reward.range
    return policy_pb2.Exploration(
        strategy=exploration.strategy,
        epsilon=exploration.epsilon,
        temperature=exploration.temperature,
        scale=exploration.scale,
        gamma=exploration.gamma,
        floor=exploration.floor,
        abstain_below=exploration.abstain_below,
        reward_low=low,
        reward_high=high,
    )


def rows_of(array: ArrayT, length: int) -> ArrayT:
    """The array, held against the number of rows it must have."""
    if len(array) != length:
        raise wire.WireError(f"a tensor has {len(array)} rows, expected {length}")
    return array
