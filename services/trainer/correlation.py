"""Does the action follow the state? Equation 17 between who was chosen and what the state says about it.

Shapes: N rows, F features, A actions.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.functional.attribution import modality_correlation
from shared.loop_report import CorrelationFigures

MOST_ACTIONS: Final = 20
FOLDS: Final = 5
# One alone is off by chance as easily as the actions themselves.
PERMUTATIONS: Final = 10


def correlate(action_ids: Sequence[str], features_NF: Tensor, seed: int) -> CorrelationFigures:
    """Of taken actions [N] with the features that they may follow from; `seed` cuts the folds and permutes."""
    generator, taken_N = np.random.default_rng(seed), np.array(action_ids)
    frequent = [action for action, _ in Counter(action_ids).most_common(MOST_ACTIONS)]
    chosen_NA = torch.from_numpy(np.stack([taken_N == action for action in frequent], axis=1)).double()
    folds_N = _folds(taken_N, generator)
    targets = [chosen_NA, *(chosen_NA[_permutation(folds_N, generator)] for _ in range(PERMUTATIONS))]
    scores = ridge_scores(features_NF.double(), torch.cat(targets, dim=1), folds_N).chunk(len(targets), dim=1)
    rho = [_by_action(*pair) for pair in zip(targets, scores, strict=True)]
    shares_A = chosen_NA.mean(0).tolist()
    permuted = [one for of in rho[1:] if (one := _average(of, shares_A)) is not None]
    return CorrelationFigures(
        correlation=_average(rho[0], shares_A),
        permuted=fmean(permuted) if permuted else None,
        by_action={action: None if math.isnan(one) else one for action, one in zip(frequent, rho[0], strict=True)},
    )


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


def _by_action(chosen_NA: Tensor, scores_NA: Tensor) -> list[float]:
    columns = zip(chosen_NA.unbind(1), scores_NA.unbind(1), strict=True)
    return [modality_correlation(chosen_N, scores_N) for chosen_N, scores_N in columns]


def _average(rho_A: Sequence[float], shares_A: Sequence[float]) -> float | None:
    """By the actions' shares; None where an action or its score never varies, for all of them."""
    known = [(one, share) for one, share in zip(rho_A, shares_A, strict=True) if not math.isnan(one)]
    return sum(one * share for one, share in known) / sum(share for _, share in known) if known else None


def _folds(taken_N: NDArray[np.str_], generator: np.random.Generator) -> Tensor:
    """Every fold has each action as often as the others: else the folds' means alone would correlate."""
    order_N = np.lexsort((generator.random(len(taken_N)), taken_N))
    folds_N = np.empty(len(taken_N), np.int64)
    folds_N[order_N] = np.arange(len(taken_N)) % FOLDS
    return torch.from_numpy(folds_N)


def _permutation(folds_N: Tensor, generator: np.random.Generator) -> Tensor:
    """Rows in another order, each within its fold, so that the folds stay as even as they are."""
    folds = folds_N.numpy()
    rows_N = np.empty(len(folds), np.int64)
    rows_N[np.argsort(folds, kind="stable")] = np.lexsort((generator.random(len(folds)), folds))
    return torch.from_numpy(rows_N)
