"""Does the action follow the state? Equation 17 between who was chosen and what the state says about it.

Shapes: N rows, F features, A actions.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.functional.attribution import modality_correlation
from shared.loop_report import CorrelationFigures

MOST_ACTIONS: Final = 20
FOLDS: Final = 5


def correlate(action_ids: Sequence[str], features_NF: Tensor, seed: int) -> CorrelationFigures:
    """Of taken actions [N] with the features that they may follow from; `seed` permutes them and cuts the folds."""
    generator = np.random.default_rng(seed)
    taken_N = np.array(action_ids)
    by_action, correlation = _correlate(taken_N, features_NF.double(), generator)
    _, permuted = _correlate(generator.permutation(taken_N), features_NF.double(), generator)
    return CorrelationFigures(correlation=correlation, permuted=permuted, by_action=by_action)


def ridge_scores(features_NF: Tensor, targets_NA: Tensor, folds_N: Tensor) -> Tensor:
    """Cross-fitted ridge regression, float64 [N, A]: each row's score comes from the folds that it is not in.

    On standardised features, with a penalty as large as the number of features: as if they explained half the variance.
    """
    scores_NA = torch.zeros_like(targets_NA)
    for fold in range(FOLDS):
        held_N = folds_N == fold
        known_NF, mean_A = features_NF[~held_N], targets_NA[~held_N].mean(0)
        centre_F, scale_F = known_NF.mean(0), known_NF.std(0, correction=0)
        scale_F = torch.where(scale_F > 0, scale_F, 1.0)
        x_NF = (known_NF - centre_F) / scale_F
        penalty_FF = x_NF.shape[1] * torch.eye(x_NF.shape[1], dtype=x_NF.dtype)
        weights_FA = torch.linalg.solve(x_NF.mT @ x_NF + penalty_FF, x_NF.mT @ (targets_NA[~held_N] - mean_A))
        scores_NA[held_N] = (features_NF[held_N] - centre_F) / scale_F @ weights_FA + mean_A
    return scores_NA


def _correlate(
    taken_N: NDArray[np.str_], features_NF: Tensor, generator: np.random.Generator
) -> tuple[dict[str, float | None], float | None]:
    """By action, and averaged by the actions' shares; None where an action or its score is constant."""
    frequent = [action for action, _ in Counter(taken_N.tolist()).most_common(MOST_ACTIONS)]
    chosen_NA = torch.from_numpy(np.stack([taken_N == action for action in frequent], axis=1)).double()
    scores_NA = ridge_scores(features_NF, chosen_NA, _folds(taken_N, generator))
    rho = [modality_correlation(*columns) for columns in zip(chosen_NA.unbind(1), scores_NA.unbind(1), strict=True)]
    shares = [0.0 if math.isnan(one) else share for one, share in zip(rho, chosen_NA.mean(0).tolist(), strict=True)]
    by_action = {action: None if math.isnan(one) else one for action, one in zip(frequent, rho, strict=True)}
    known = [share * one for share, one in zip(shares, rho, strict=True) if share > 0]
    return by_action, sum(known) / sum(shares) if known else None


def _folds(taken_N: NDArray[np.str_], generator: np.random.Generator) -> Tensor:
    """Every fold has each action as often as the others: else the folds' means alone would correlate."""
    order_N = np.lexsort((generator.random(len(taken_N)), taken_N))
    folds_N = np.empty(len(taken_N), np.int64)
    folds_N[order_N] = np.arange(len(taken_N)) % FOLDS
    return torch.from_numpy(folds_N)
